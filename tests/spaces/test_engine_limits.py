"""Draws within limits: met exactly, by the law among what fits, with no place favoured."""

import collections
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spaces
from spaces import Grammar, InvalidSpace, child, choice, many
from spaces.blocks.costs import frame
from spaces.cost import Cost
from tests.spaces.grammars import FREE


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([16, 24, 64, 96]),
    st.integers(20_000, 300_000),
    st.integers(500, 100_000),
    st.integers(4, 40),
    st.integers(0, 1000),
)
def test_limits_hold_for_draws_mutants_and_crossings(width, parameters, state_bytes, nodes, seed):
    limits = {"parameters": parameters, "state_bytes": state_bytes, "flops_per_token": 2 * parameters}
    try:
        space = spaces.load("hybrid", spaces.tokens(64, width), nodes=nodes, context=128, **limits)
    except InvalidSpace:
        return
    rng = np.random.default_rng(seed)
    genomes = [space.sample(rng) for _ in range(10)]
    for mutation in space.mutations.values():
        genomes += [new for genome in genomes[:10] if (new := mutation(genome, rng)) is not None]
    genomes += [
        new for a in genomes[:10] for b in genomes[:3] if (new := space.crossover(a, b, rng)) is not None
    ]
    for genome in genomes:
        space.check(genome)
        cost = space.cost(genome)
        assert cost.parameters <= parameters
        assert cost.state_bytes <= state_bytes
        assert cost.flops_per_token <= 2 * parameters
        assert genome.text.count("(") <= nodes


def test_the_law_of_what_fits():
    """What does not fit leaves the weights of the rest as they are, and so do choices that do not fit."""
    grammar = Grammar("law", start="model")

    @grammar.production(
        "model", weight=3, cost=lambda at, context, n: Cost(n, 0, 0, 0), build=lambda at, n: None
    )
    def some(n=choice(1, 2, 300, 400)): ...

    @grammar.production("model", weight=1, cost=lambda at, context: Cost(50, 0, 0, 0), build=lambda at: None)
    def one(): ...

    @grammar.production("model", weight=9, cost=lambda at, context: Cost(200, 0, 0, 0), build=lambda at: None)
    def none(): ...

    space = spaces.GrammarSpace(grammar, spaces.tokens(4, 4), parameters=frame(4, 4).parameters + 100)
    rng = np.random.default_rng(0)
    counts = collections.Counter(space.sample(rng).text for _ in range(8000))
    expected = {"some(n=1)": 3000, "some(n=2)": 3000, "one()": 2000}
    assert counts.keys() == expected.keys()
    assert (
        sum((counts[text] - n) ** 2 / n for text, n in expected.items()) < 13.8
    )  # chi-square, 2 degrees, p = .001


def test_no_place_of_a_list_is_favoured_under_a_tight_limit():
    """The mean cost of the first layer of four equals that of the last, within four standard errors."""
    space = spaces.load("hybrid", spaces.tokens(64, 64), parameters=120_000, context=128)
    rng = np.random.default_rng(0)
    difference = []
    for _ in range(4000):
        layers = space.tree(space.sample(rng)).children[0]
        if len(layers) >= 4:
            difference.append(layers[0].cost[2] - layers[-1].cost[2])
    assert len(difference) > 500
    assert abs(np.mean(difference)) < 4 * np.std(difference) / math.sqrt(len(difference))


def test_where_children_trade_limits_every_order_is_drawn():
    """Room for one branch of parameters and one of state: which of them comes first is chance."""
    grammar = Grammar("two", start="model")

    @grammar.production("model")
    def stack(layers=many("layer", 2, 2)): ...

    @grammar.production("layer", cost=lambda at, context: Cost(100, 100, 0, 0), build=lambda at: None)
    def heavy(): ...

    @grammar.production("layer", cost=lambda at, context: Cost(0, 0, 0, 100), build=lambda at: None)
    def stateful(): ...

    around = frame(4, 4)
    space = spaces.GrammarSpace(
        grammar, spaces.tokens(4, 4), parameters=around.parameters + 100, state_bytes=100
    )
    rng = np.random.default_rng(0)
    drawn = {space.sample(rng).text for _ in range(50)}
    assert drawn == {"stack(layers=[heavy(), stateful()])", "stack(layers=[stateful(), heavy()])"}


def trade(limit):
    """A space where every leaf trades parameters against state, in 100 ways."""
    grammar = Grammar("g", start="model")

    @grammar.production("model", **FREE)
    def pair(a=child("x"), b=child("x")): ...

    @grammar.production("x", cost=lambda at, context, i: Cost(10 * i, 0, 0, 10 * (99 - i)))
    def leaf(i=choice(*range(100))): ...

    around = spaces.blocks.costs.frame(16, 16)
    return spaces.GrammarSpace(
        grammar, spaces.tokens(16, 16), parameters=around.parameters + limit, state_bytes=1980 - limit + 10
    )


@pytest.mark.parametrize("limit", [0, 500, 1000, 1235, 1980])
def test_limits_that_trade_against_each_other_are_met_exactly(limit):
    space = trade(limit)
    rng = np.random.default_rng(0)
    for _ in range(50):
        genome = space.sample(rng)
        space.check(genome)
        space.check(space.mutations["resample"](genome, rng))


def test_no_list_is_favoured():
    grammar = Grammar("g", start="model")

    @grammar.production("model", **FREE)
    def two(a=many("x", 0, 5), b=many("x", 0, 5)): ...

    @grammar.production("x", **FREE)
    def leaf(): ...

    space = spaces.GrammarSpace(grammar, spaces.tokens(), nodes=6)
    rng = np.random.default_rng(0)
    lengths = np.array(
        [[len(group) for group in space.tree(space.sample(rng)).children] for _ in range(4000)]
    )
    difference = lengths[:, 0] - lengths[:, 1]
    assert abs(difference.mean()) < 4 * difference.std() / math.sqrt(len(difference))


def test_too_deep_is_an_error_and_no_crash():
    grammar = Grammar("g", start="model")

    @grammar.production("model", weight=1000, **FREE)
    def chain(body=child("model")): ...

    @grammar.production("model", **FREE)
    def end(): ...

    rng = np.random.default_rng(0)
    for nodes in (160, 5000):
        space = spaces.GrammarSpace(grammar, spaces.tokens(), nodes=nodes, operators=nodes)
        with pytest.raises(InvalidSpace, match=r"nests more than 150 .*, too deep to be read; lower 'nodes'"):
            [space.sample(rng) for _ in range(50)]
    with pytest.raises(spaces.InvalidGenome, match="more than 150 productions stand in one another"):
        space.parse("chain(body=" * 2000)


def test_operators_with_children_count_against_their_limit():
    grammar = Grammar("g", start="model")

    @grammar.production("model", "x", weight=2)
    def stack(layers=many("x", 1, 2), repeat=choice(1, 12)): ...

    @grammar.production("x", **FREE)
    def op(extra=many("e", 0, 1)): ...

    @grammar.production("e", **FREE)
    def extra(): ...

    space = spaces.GrammarSpace(grammar, spaces.tokens(), operators=8)
    with pytest.raises(spaces.InvalidGenome, match="144 operators, more than the limit of 8"):
        space.parse("stack(layers=[stack(layers=[op(extra=[])], repeat=12)], repeat=12)")
