"""Every space of the catalogue in large numbers: draws, mutants and crossings are valid, and none equals its parent."""

from itertools import pairwise

import numpy as np
import pytest

import spaces

NUMBER = 10_000


@pytest.mark.slow
@pytest.mark.parametrize("name", spaces.SPACES)
def test_ten_thousand_draws_mutations_and_crossovers(name):
    space = spaces.load(name)
    rng = np.random.default_rng(0)
    genomes = [space.sample(rng) for _ in range(NUMBER)]
    made = {
        "draws": genomes,
        "mutants": [space.mutate(genome, rng) for genome in genomes],
        "crossings": [space.crossover(a, b, rng) for a, b in pairwise([*genomes, genomes[0]])],
    }
    for kind in ("mutants", "crossings"):
        equal = sum(
            new is not None and new.digest == old.digest for old, new in zip(genomes, made[kind], strict=True)
        )
        print(f"{name}: {equal} of {NUMBER:,} {kind} equal to their parent")
        assert equal == 0
    refused = dict.fromkeys(made, 0)
    for kind, group in made.items():
        for genome in group:
            if genome is not None:
                try:
                    space.check(genome)
                except spaces.InvalidGenome:
                    refused[kind] += 1
    possible = sum(genome is not None for genome in made["crossings"])
    print(f"{name}: invalid {refused}, crossovers possible {possible:,}; drawn again {dict(space.redrawn)}")
    assert set(refused.values()) == {0}
    # Many draws of einspace are too small to have anything to exchange, or would lose all parameters by it.
    assert possible > 0.2 * NUMBER
