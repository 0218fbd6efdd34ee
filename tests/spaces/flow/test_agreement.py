import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import spaces
from tests.spaces.flow.agreement import agree

IMAGES = [(3, 32, 32), (1, 9, 15), (4, 7, 1), (3, 48, 64)]
NAMES = ["einspace", "einspace_loose"]


def follow(name, image, draws, seed=0, **limits):
    """Draws, and each mutated five times, hold what they say."""
    space = spaces.load(name, spaces.image(*image, classes=7), **limits)
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        genome = space.sample(rng)
        agree(space, genome)
        for _ in range(5):
            genome = space.mutate(genome, rng)
            space.check(genome)
        agree(space, genome)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("image", IMAGES, ids=str)
def test_trees_say_what_their_modules_do(name, image):
    follow(name, image, draws=40, nodes=40, operators=48)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("image", IMAGES, ids=str)
@pytest.mark.parametrize("seed", [1, 2])
def test_large_trees_say_what_their_modules_do(name, image, seed):
    follow(name, image, draws=125, seed=seed, nodes=200, operators=100)


def test_flops_are_those_that_torch_counts():
    space = spaces.load(
        "einspace", spaces.image(3, 12, 8, classes=5), nodes=40, operators=48, flops=10_000_000
    )
    rng = np.random.default_rng(2)
    for _ in range(100):
        genome = space.sample(rng)
        model = space.build(genome).eval()
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            model(torch.randn(1, 3, 12, 8))
        assert counter.get_total_flops() == space.cost(genome).flops_per_token, genome.text
