"""STAR's genomes as boxes of a cube, and as what decisions come to."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spaces
from spaces import InvalidGenome
from tests.spaces.helpers import draws

SPACES = {
    "backbone": spaces.load("star"),
    "deep": spaces.load("star", layers=12, min_layers=2, levels="featurizers"),
    "limited": spaces.load("star", min_layers=2, parameters=300_000, state_bytes=60_000, levels="operators"),
    "by sharing alone": spaces.load("star", layers=2, parameters=90_000, flops_per_token=200_000),
    "narrow": spaces.load("star", spaces.tokens(32, 6), layers=2),
}


@pytest.mark.parametrize("name", SPACES)
def test_decisions_lead_to_their_genome(name):
    """Those that are asked for are those that are told."""
    space, rng = SPACES[name], np.random.default_rng(0)
    for _ in range(10):
        genome = space.derive(lambda decision: int(rng.integers(len(decision.options))))
        space.check(genome)
        told = space.decisions(genome)
        asked = []
        places = iter([place for _, place in told])
        assert space.derive(lambda decision: asked.append(decision) or next(places)) == genome  # noqa: B023
        assert asked == [decision for decision, _ in told]


@pytest.mark.parametrize("name", SPACES)
@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=20))
@settings(max_examples=20, deadline=None)
def test_any_point_is_a_genome_that_is_a_box(name, point):
    space = SPACES[name]
    genome = space.decode(point)
    space.check(genome)
    assert space.decode(space.encode(genome)) == genome


def test_limits_that_only_sharing_meets_are_those():
    assert SPACES["by sharing alone"]._sampler.shared


@pytest.mark.parametrize("name", ["backbone", "deep", "narrow"])
def test_all_draws_have_a_box_without_limits(name):
    space = SPACES[name]
    for genome in draws(space, 40):
        assert space.decode(space.encode(genome)) == genome


def test_boxes_of_one_liv_are_equal_and_fill_the_cube():
    space = spaces.load("star", layers=1)
    for rank in range(0, space.size, 16):
        low, high = space.box(space.unrank(rank))
        assert np.prod(high - low) == pytest.approx(1 / space.size, rel=1e-9)


def test_random_points_follow_the_law_of_draws():
    space = spaces.load("star", layers=6, min_layers=2)
    rng = np.random.default_rng(1)
    groups = [
        [space.tree(space.decode(point)) for point in rng.random((1500, space.dimensions))],
        [space.tree(genome) for genome in draws(space, 1500)],
    ]
    counts = [
        Counter(
            what
            for tree in trees
            for what in [
                f"{len(tree.rows)} LIVs",
                *[f"{place}: {row[place]}" for row in tree.rows for place in range(5)],
                *[f"taken {layer.taken}" for layer in tree.layers],
            ]
        )
        for trees in groups
    ]
    assert counts[0].keys() == counts[1].keys()
    for what in counts[0]:
        one, two = counts[0][what], counts[1][what]
        assert abs(one - two) < 6 * np.sqrt(one + two), f"{what}: {one} by points, {two} drawn"


def test_what_no_point_decodes_to_is_refused():
    space = spaces.load("star", spaces.tokens(32, 6), layers=1, levels="operators")
    genome = space.parse("31111 | 3=22123")
    with pytest.raises(
        InvalidGenome, match="no point decodes to this genome: it defines a class that the pool lacks"
    ):
        space.box(genome)
