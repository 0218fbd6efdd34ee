"""Networks of the STAR space: what they share in effect, what they cost, and that they are what their twins are."""

import numpy as np
import pytest
import torch
from torch.nn import functional

import spaces
from predictors.features import Features
from spaces.blocks.base import state_bytes
from spaces.blocks.liv import ChannelMap
from spaces.blocks.measuring import count_flops
from spaces.blocks.operators import backbone_cost
from spaces.blocks.reference.liv import backbone as twin
from spaces.catalog.star import POOL
from spaces.catalog.star.pool import DIGITS
from spaces.cost import COST_NAMES, Cost
from tests.spaces.helpers import refusal

SPACE = spaces.load("star")
FOUR = spaces.load("star", layers=4)
SMALL = spaces.load("star", spaces.tokens(32, 16), layers=5, min_layers=1, context=70, levels="featurizers")


def test_known_models_share_as_they_say():
    whole, keys = SPACE.architecture("transformer++"), SPACE.architecture("kv-sharing transformer")
    saved = SPACE.cost(whole).parameters - SPACE.cost(keys).parameters
    assert saved == 2 * 2 * 128 * 128  # of two of four layers, the projections of keys and values
    assert SPACE.cost(keys).state_bytes * 2 == SPACE.cost(whole).state_bytes == 4 * 2 * 128 * 1024 * 4
    assert SPACE.saved(keys).parameters == saved
    assert SPACE.saved(keys).state_bytes == SPACE.cost(whole).state_bytes - SPACE.cost(keys).state_bytes > 0
    assert SPACE.saved(whole, context=7) == Cost(0, 0, 0, 0)
    weights = SPACE.cost(SPACE.architecture("featurizer-sharing transformer"))
    assert SPACE.cost(whole).parameters - weights.parameters == 3 * (3 + 2 * 3) * 128 * 128
    assert weights.state_bytes == SPACE.cost(whole).state_bytes


@pytest.mark.parametrize("name", SPACE.named)
def test_known_models_at_the_depth_of_the_paper(name):
    paper = spaces.load("star", spaces.tokens(50_257, 768), layers=24, context=4096)
    genome = paper.architecture(name)
    assert len(genome.tree.rows) == 24
    assert paper.cost(genome).parameters > 100e6


def test_unknown_models_are_refused():
    assert "did you mean 'transformer++'?" in refusal(SPACE.architecture, "transformer")


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def check_network(space, genome):
    """Parameters, FLOPs and state are as declared; the network is causal, decodes as it trains, and learns."""
    torch.manual_seed(0)
    model = space.build(genome)
    cost = space.cost(genome)
    assert parameters(model) == cost.parameters
    tokens = torch.randint(space.io.vocab, (1, space.context))
    assert count_flops(model, tokens) == round(cost.flops_per_token * space.context)
    with torch.no_grad():
        whole = model(tokens)
        state = model.init_state(1)
        parts = []
        for part in tokens.split((1, 5, 33, 1, space.context - 40), dim=1):
            y, state = model.step(part, state)
            parts.append(y)
        assert state_bytes(state) == cost.state_bytes
        scale = max(1.0, whole.abs().max().item())
        assert (torch.cat(parts, dim=1) - whole).abs().max() <= 1e-5 * scale
        changed = tokens.clone()
        changed[:, 40] = (changed[:, 40] + 1) % space.io.vocab
        assert (model(changed)[:, :40] - whole[:, :40]).abs().max() <= 1e-5 * scale
    logits = model(tokens[:, :-1])
    functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize(
    "seed", [*range(12), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(12, 60))]
)
def test_random_networks(seed):
    check_network(SMALL, SMALL.sample(np.random.default_rng(seed)))


@pytest.mark.parametrize("number", POOL)
def test_every_class_with_all_sharing(number):
    space = spaces.load("star", spaces.tokens(32, 32), layers=3, context=70)
    digit = DIGITS[number]
    for strategies in ((1, 2), (2, 1), (3, 3), (2, 4)):
        liv = f"{digit}1{strategies[0]}1{strategies[1]}"
        check_network(space, space.parse(f"{liv}-{liv}-{liv}"))


@pytest.mark.parametrize("seed", range(10))
def test_random_backbones_are_their_slow_twins(seed):
    space = spaces.load("star", spaces.tokens(32, 8), layers=3, levels="featurizers")
    genome = space.sample(np.random.default_rng(seed))
    torch.manual_seed(seed)
    body = space.build(genome).body.double()
    for length in (1, 2, 63, 64, 65):
        x = torch.randn(2, length, 8, dtype=torch.float64, requires_grad=True)
        leaves = [x, *body.parameters()]
        ours, theirs = body(x)[0], twin(body, x)
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
        pull = torch.randn_like(ours)
        for a, b in zip(
            torch.autograd.grad(ours, leaves, pull), torch.autograd.grad(theirs, leaves, pull), strict=True
        ):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_shared_features_are_the_same_tensors():
    """Where keys and values are taken, those of the leader alone change what the follower reads."""
    genome = FOUR.parse("11112-91111-11112-91111")
    model = FOUR.build(genome)
    followed = model.body.layers[2]
    assert set(followed.weights) == {"C"}
    assert followed.init_state(1).memory == ()
    weights = model.body.layers[0].weights["B"].weight
    model(torch.randint(256, (1, 9))).sum().backward()
    assert weights.grad is not None


def test_shared_weights_are_the_same_parameters():
    model = FOUR.build(FOUR.parse("11211-91111-11211-91111"))
    first, third = model.body.layers[0], model.body.layers[2]
    assert all(first.weights[letter] is third.weights[letter] for letter in "BCV")
    model = FOUR.build(FOUR.parse("11311-91111-11311-91111"))
    first, third = model.body.layers[0], model.body.layers[2]
    assert [first.weights[letter] is third.weights[letter] for letter in "BCV"] == [True, False, True]


def test_cost_at_another_context():
    genome = SPACE.architecture("transformer++")
    assert SPACE.cost(genome, context=10).state_bytes == 4 * 2 * 128 * 10 * 4
    assert refusal(SPACE.cost, genome, context=0) == "context = 0, but it must be at least 1"
    assert backbone_cost((), 128, 10).parameters == 0


def test_predictors_see_what_is_shared():
    features = Features(FOUR)
    one, other = FOUR.parse("11112-91111-11112-91111"), FOUR.parse("11113-91111-11113-91111")
    rows = features([one, other])
    columns = [place for place, name in enumerate(features.names) if name not in COST_NAMES]
    assert np.isfinite(rows).all()
    assert (rows[0, columns] != rows[1, columns]).any()


def test_at_one_head_grouped_channel_mixing_is_dense():
    """Of 7 channels: it has the same weights and computes the same, so both are one network."""
    dense, grouped = ChannelMap(2, 1, 7, 5).double(), ChannelMap(3, 1, 7, 5).double()
    with torch.no_grad():
        grouped.weight.copy_(dense.weight.T[None])
    x_BLC = torch.randn(2, 4, 7, dtype=torch.float64)
    torch.testing.assert_close(dense(x_BLC), grouped(x_BLC))
    for width, equal in ((7, True), (16, False)):
        space = spaces.load("star", spaces.tokens(11, width), layers=1, levels="featurizers")
        texts = [f"51111 | 5={text}" for text in ("54112:1211", "54113:1211", "54112:1311", "54113:1311")]
        assert len({space.parse(text).digest for text in texts}) == (1 if equal else 4)
