"""The hybrid space in large numbers: the models are what the genomes say, and train."""

from collections import Counter

import numpy as np
import pytest
import torch

import spaces
from spaces.blocks.base import state_bytes, total_aux_loss
from spaces.derivation import any_within

pytestmark = pytest.mark.slow

SPACE = spaces.load("hybrid")
MODELS = 100
"""Drawn, and as many mutated, for each input and output."""
IOS = [spaces.tokens(256, 128), spaces.tokens(50, 96), spaces.tokens(7, 80), spaces.tokens(11, 33)]


def test_ten_thousand_draws_follow_the_law(monkeypatch):
    """Productions of a nonterminal by weight among those whose least needs fit in what the limits left to the place."""
    engine = SPACE._engine
    wanted, found = Counter(), Counter()
    draw = engine._draw

    def noted(nonterminal, at, budget, random):
        fitting = [table for table in engine.tables[nonterminal, at] if any_within(table.floors, budget)]
        total = sum(table.weight for table in fitting)
        for table in fitting:
            wanted[nonterminal, table.production.name] += table.weight / total
        node = draw(nonterminal, at, budget, random)
        found[nonterminal, node.production.name] += 1
        return node

    monkeypatch.setattr(engine, "_draw", noted)
    rng = np.random.default_rng(3)
    sizes = [SPACE.tree(SPACE.sample(rng)).cost[0] for _ in range(10_000)]
    print(f"nodes: mean {np.mean(sizes):.1f}, most {max(sizes)}")
    places = Counter()
    for (nonterminal, _), number in found.items():
        places[nonterminal] += number
    assert found.keys() == wanted.keys()
    for (nonterminal, name), number in sorted(wanted.items()):
        total = places[nonterminal]
        shares = found[nonterminal, name] / total, number / total
        print(f"{nonterminal} {name}: {shares[0]:.4f} of {total:,}, {shares[1]:.4f} by the law")
        assert abs(shares[0] - shares[1]) < 0.01


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
