import functools
from collections import Counter

import numpy as np
import pytest

import spaces
from spaces.flow.sizes import CHAIN, LEAF, ROUTE, TIED, TWO, Sizes
from tests.spaces.flow.law import shares

WEIGHTS = {"computation": 0.4, "sequential": 0.3, "branching": 0.2, "routing": 0.1}
SIZES = Sizes(WEIGHTS, 1 / 4, 4, 60)


@functools.cache
def probability(n):
    """Of a tree of n nodes, by adding up all its parts."""
    if n == 2:
        return WEIGHTS["computation"]
    if n < 5:
        return 0.0
    two = WEIGHTS["branching"] / 4
    tied = WEIGHTS["branching"] - two
    total = (WEIGHTS["routing"] + tied) * probability(n - 3)
    total += sum(WEIGHTS["sequential"] * probability(a) * probability(n - 1 - a) for a in range(2, n - 2))
    return total + sum(two * probability(a) * probability(n - 3 - a) for a in range(2, n - 4))


@functools.cache
def joins(n):
    """The fewest joins of a tree of n nodes, by trying all its parts; None where there is none."""
    if n < 5:
        return 0 if n == 2 else None
    found = [joins(a) + joins(n - 1 - a) for a in range(2, n - 2) if None not in (joins(a), joins(n - 1 - a))]
    found += [
        joins(a) + joins(n - 3 - a) + 1 for a in range(2, n - 4) if None not in (joins(a), joins(n - 3 - a))
    ]
    if joins(n - 3) is not None:
        found += [joins(n - 3), 4 * joins(n - 3) + 1]
    return min(found, default=None)


def test_the_table_is_that_of_the_branching_process():
    for n in range(61):
        assert SIZES.mass[n] == pytest.approx(probability(n), rel=1e-12)
        assert SIZES.joins[n] == (joins(n) if n >= 2 else None)
    assert [n for n in range(2, 61) if not SIZES.mass[n]] == [3, 4, 6, 9]


def test_options_are_those_of_the_law():
    for n in (5, 7, 8, 12, 30):
        law = np.diff(SIZES.law(n), prepend=0.0)
        total = 0.0
        for place, weight in enumerate(law):
            form, a, b = SIZES.option(n, place)
            parts = {CHAIN: 1 + a + b, TWO: 3 + a + b, ROUTE: 3 + a, TIED: 3 + a}
            assert parts[form] == n
            share = {CHAIN: 0.3, TWO: 0.05, ROUTE: 0.1, TIED: 0.15}[form]
            assert weight == pytest.approx(share * probability(a) * (probability(b) if b else 1))
            total += weight
        assert total == pytest.approx(probability(n))
    assert SIZES.option(2, 0) == (LEAF, 0, 0)


def test_picks_and_orders_follow_the_law():
    rng = np.random.default_rng(0)
    law = np.diff(SIZES.law(12), prepend=0.0)
    picked = Counter(SIZES.pick(12, rng) for _ in range(20_000))
    first = Counter(next(SIZES.in_order(12, rng)) for _ in range(20_000))
    for place, weight in enumerate(law / law.sum()):
        for counts in (picked, first):
            assert counts[SIZES.option(12, place)] / 20_000 == pytest.approx(weight, abs=0.015)
    assert sorted(SIZES.in_order(12, rng)) == sorted(
        SIZES.option(12, place) for place, weight in enumerate(law) if weight
    )
    drawn = Counter(SIZES.draw(20, rng, least=5) for _ in range(20_000))
    shares = SIZES.mass[5:21] / SIZES.mass[5:21].sum()
    for n, share in enumerate(shares, start=5):
        assert drawn[n] / 20_000 == pytest.approx(share, abs=0.015)


@pytest.mark.parametrize("weights", [None, {"computation": 3, "branching": 2}])
def test_draws_follow_the_law(weights):
    unlimited = dict.fromkeys(("parameters", "activations", "operators"))
    space = spaces.load("einspace", spaces.image(3, 32, 32), weights=weights, **unlimited)
    rng = np.random.default_rng(3)
    roots = [space.tree(space.sample(rng, size=60)) for _ in range(1500)]
    for name, (found, wanted) in shares(space._drawer.sizes, roots).items():
        assert found == pytest.approx(wanted, abs=0.02), name
