"""STAR within limits on costs."""

import itertools

import numpy as np
import pytest

import spaces
from spaces.catalog.star import POOL
from spaces.catalog.star.backbone import check, repaired
from spaces.catalog.star.budget import Budget
from spaces.catalog.star.pool import DIGITS, operator
from spaces.pareto import at_most, lowest
from tests.spaces.helpers import draws, refusal

SPACE = spaces.load("star")


@pytest.mark.parametrize(
    "limits",
    [
        {"parameters": 400_000},
        {"state_bytes": 40_000},
        {"flops_per_token": 900_000},
        {"parameters": 300_000, "state_bytes": 60_000, "flops_per_token": 700_000},
    ],
)
@pytest.mark.parametrize("levels", ["backbone", "featurizers"])
def test_limits_hold(limits, levels):
    space = spaces.load("star", min_layers=2, levels=levels, **limits)
    rng = np.random.default_rng(3)
    genomes = draws(space, 200)
    for a, b in itertools.pairwise(genomes):
        for genome in (a, space.mutate(a, rng), space.crossover(a, b, rng) or a):
            space.check(genome)
            cost = space.cost(genome)
            assert all(getattr(cost, key) <= limit for key, limit in limits.items())
    assert space.rejected
    assert len({len(genome.tree.rows) for genome in genomes}) > 3


def test_what_breaks_a_limit_is_refused():
    space = spaces.load("star", parameters=800_000)
    message = "the genome has 869,504 parameters, more than the limit of 800,000"
    assert refusal(space.parse, SPACE.architecture("transformer++").text) == message
    shared = space.architecture("featurizer-sharing transformer")
    assert space.cost(shared).parameters < 800_000
    assert refusal(space.architecture, "transformer++") == (
        f"space 'star': architecture 'transformer++' does not fit, even in its smallest version: {message}"
    )


def test_what_is_never_undercut_is_found():
    """Every sum of three classes' costs is at least one of the floors of three, and every floor is such a sum."""
    budget = spaces.load("star", layers=3, parameters=10**7)._budget
    each = list(budget.alone.values())
    sums = {
        tuple(map(sum, zip(*three, strict=True)))
        for three in itertools.combinations_with_replacement(each, 3)
    }
    least = {
        one for one in sums if not any(other != one and np.all(np.less_equal(other, one)) for other in sums)
    }
    assert set(budget.floor(3)) == least


# Limits that nothing meets but by sharing


def test_the_cheapest_backbones_are_found():
    """Of all that three LIVs of three classes can share in one group, in three resources."""
    limits = {"parameters": 10**9, "flops_per_token": 10**9, "state_bytes": 10**9}
    classes = {kind: operator(POOL[kind].definition, 16) for kind in (1, 6, 8)}
    budget = Budget(classes, spaces.tokens(2, 16), 70, limits)
    rows = itertools.product(classes, (1,), (1, 2, 3), (1,), (1, 2, 3, 4))
    found = set()
    for three in itertools.product(list(rows), repeat=3):
        if repaired(three) == three:
            found.add(tuple(map(sum, zip(*budget.costs(three), strict=True))))
    front = budget.shared(3)[3]
    assert list(front) == lowest(found)
    assert all(tuple(map(sum, zip(*budget.costs(rows), strict=True))) == cost for cost, rows in front.items())


def test_nothing_undercuts_the_cheapest_backbones():
    space = spaces.load("star", layers=12, min_layers=12, parameters=10**9, state_bytes=10**9)
    front = space._sampler._budget.shared(12)[12]
    for rows in front.values():
        check(rows)
    for genome in draws(space, 500):
        cost = tuple(map(sum, zip(*space._budget.costs(genome.tree.rows), strict=True)))
        assert any(at_most(least, cost) for least in front)


@pytest.mark.parametrize("levels", ["backbone", "operators"])
def test_limits_that_only_sharing_meets(levels):
    least = min(SPACE.cost(genome).parameters for genome in cheapest(SPACE))
    tight = spaces.load("star", parameters=least, levels=levels)
    assert {tight.cost(genome).parameters for genome in draws(tight, 5)} == {least}
    space = spaces.load("star", parameters=least + 50_000, levels=levels)
    assert not space._budget.room(8, space._budget.nothing)
    genomes = draws(space, 40)
    for genome in genomes:
        space.check(genome)
    assert len({genome.digest for genome in genomes}) > 35
    assert len({row[0] for genome in genomes for row in genome.tree.rows}) > 4
    assert refusal(spaces.load, "star", parameters=least - 1, levels=levels) == (
        "space 'star': no 8 LIVs of the pool, whatever they share, at width 128 and a vocabulary of 256, meet "
        f"parameters = {least - 1:,}"
    )


def cheapest(space):
    """The cheapest backbones in parameters of eight LIVs of one class, found by trying each class."""
    return [space.parse("-".join([f"{DIGITS[kind]}1212"] * 8)) for kind in POOL]
