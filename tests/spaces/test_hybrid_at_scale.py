"""The hybrid space in large numbers: the models are what the genomes say, and train."""

import numpy as np
import pytest
import torch

import spaces
from spaces.blocks.base import state_bytes, total_aux_loss

pytestmark = pytest.mark.slow

SPACE = spaces.load("hybrid")
MODELS = 100
"""Drawn, and as many mutated, for each input and output."""
IOS = [spaces.tokens(256, 128), spaces.tokens(50, 96), spaces.tokens(7, 80), spaces.tokens(11, 33)]


@pytest.mark.parametrize("io", IOS, ids=str)
def test_models_on_the_meta_device_are_what_the_genomes_say(io, monkeypatch):
    # Which rows an expert gets depends on values, which tensors without data lack; the form for export does not.
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    space = SPACE.at(io)
    rng = np.random.default_rng(1)
    drawn = [space.sample(rng) for _ in range(MODELS)]
    mutated = []
    for genome in drawn:
        for _ in range(5):
            genome = space.mutate(genome, rng)
        mutated.append(genome)
    tokens = torch.zeros(2, 5, dtype=torch.int64, device="meta")
    for genome in drawn + mutated:
        with torch.device("meta"), torch.no_grad():
            model = space.build(genome)
            logits, state = model.step(tokens, model.init_state(2))
        assert logits.shape == (2, 5, io.vocab)
        cost = space.cost(genome, context=5)
        assert sum(parameter.numel() for parameter in model.parameters()) == cost.parameters
        assert state_bytes(state) == 2 * cost.state_bytes


def test_models_run_forward_and_backward():
    space = spaces.load("hybrid", spaces.tokens(64, 64), context=64, parameters=1_000_000, operators=24)
    rng = np.random.default_rng(2)
    causes = []
    for number in range(300):
        torch.manual_seed(number)
        model = space.build(space.sample(rng)).train()
        tokens = torch.randint(64, (2, 65))
        loss = torch.nn.functional.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        auxiliary = total_aux_loss(model)
        (loss if auxiliary is None else loss + auxiliary).backward()
        if not loss.isfinite():
            causes.append("output")
        if not all(p.grad is None or p.grad.isfinite().all() for p in model.parameters()):
            causes.append("gradient")
    assert causes == []
