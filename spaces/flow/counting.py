"""How many trees a flow grammar has of each number of nodes: exact for few, estimated for many.

The shapes that flow are part of what is counted, and of many nodes there are too many of them for a table. What is
counted are the trees of all shapes that fit, before the limits on cost; equal networks count as often as they can be
written.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from spaces.errors import InvalidSpace
from spaces.flow.reach import Reach
from spaces.flow.sizes import CHAIN, LEAF, ROUTE, TIED, TWO
from spaces.flow.terminal import Scope, Shape, Terminal
from spaces.flow.tree import given

MOST = 20_000
"""How many triples of a shape, its scope and a number of nodes an exact count may hold."""


class Counts:
    """The exact number of trees by the shapes that go in and come out: a dynamic program over nodes.

    Raises:
        InvalidSpace: more than `MOST` states are reached.
    """

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._known: dict[tuple[Shape, Scope, int], Counter[Shape]] = {}

    def trees(self, shape: Shape, scope: Scope, n: int) -> Counter[Shape]:
        """The number of trees of exactly n nodes, by the shape that comes out."""
        key = (shape, scope, n)
        found = self._known.get(key)
        if found is None:
            if len(self._known) == MOST:
                raise InvalidSpace(f"more than {MOST:,} shapes are reached, too many to count exactly")
            found = self._known[key] = Counter()
            for number, out in self._of(shape, scope, n):
                found[out] += number
        return found

    def _of(self, shape: Shape, scope: Scope, n: int) -> list[tuple[int, Shape]]:
        reach = self._reach
        if n == 2:
            return [(1, out) for _, out in _fitting(reach.computations, shape, scope)]
        found: list[tuple[int, Shape]] = []
        for a in range(2, n - 2):  # sequentials
            for between, first in self.trees(shape, scope, a).items():
                found += [(first * k, out) for out, k in self.trees(between, scope, n - 1 - a).items()]
        if n < 5:
            return found
        for pre, between in _fitting(reach.pres, shape, scope):
            inside = scope if pre.opens is None else pre.opens(shape)
            for inner, number in self.trees(between, inside, n - 3).items():
                found += [(number, out) for _, out in _fitting(reach.posts, inner, inside)]
        for fork, between in _fitting(reach.tied, shape, scope):
            for inner, number in self.trees(between, scope, n - 3).items():
                joins = _fitting(reach.joins[fork.ways], (inner,) * fork.ways, scope)
                found += [(number, out) for _, out in joins]
        for _, between in _fitting(reach.two, shape, scope):
            for a in range(2, n - 4):
                firsts, seconds = (self.trees(between, scope, size) for size in (a, n - 3 - a))
                for one, first in firsts.items():
                    for two, second in seconds.items():
                        joins = _fitting(reach.joins[2], (one, two), scope)
                        found += [(first * second, out) for _, out in joins]
        return found


def estimated(
    reach: Reach, shape: Shape, n: int, draws: int, rng: np.random.Generator
) -> tuple[float, float]:
    """The number of trees of exactly n nodes as log10, and the standard error of the number relative to it.

    After Knuth 1975, "Estimating the efficiency of backtrack programs": a random derivation, which may come to a dead
    end, is one over its probability, and a dead end 0; the mean of that is the number, without bias. As it is of few
    large values, the error is a good one only where it is small.

    Returns:
        -inf and inf where all draws come to a dead end.
    """
    logs = np.array([_weight(reach, shape, None, n, rng)[1] for _ in range(draws)])
    top = logs.max()
    if top == -math.inf:
        return -math.inf, math.inf
    scaled = np.exp(logs - top)
    mean = scaled.mean()
    error = scaled.std(ddof=1) / math.sqrt(draws) / mean
    return float((top + math.log(mean)) / math.log(10)), float(error)


def _weight(
    reach: Reach, shape: Shape, scope: Scope, n: int, rng: np.random.Generator
) -> tuple[Shape, float]:
    """The shape that a random tree gives, and the log of one over its probability; -inf at a dead end."""
    sizes = reach.sizes
    law = np.diff(sizes.law(n), prepend=0.0)
    place = int(rng.choice(len(law), p=law / law.sum()))
    weight = -math.log(law[place] / law.sum())
    form, a, b = sizes.option(n, place)

    def one(among: list[Terminal], at: object) -> tuple[Terminal, Shape] | None:
        nonlocal weight
        fits = _fitting(among, at, scope)
        if not fits:
            return None
        weight += math.log(len(fits))
        return fits[int(rng.random() * len(fits))]

    if form == LEAF:
        found = one(reach.computations, shape)
        assert found is not None
        return found[1], weight
    if form == CHAIN:
        between, first = _weight(reach, shape, scope, a, rng)
        if first == -math.inf:
            return between, first
        out, second = _weight(reach, between, scope, b, rng)
        return out, weight + first + second
    opener = one({ROUTE: reach.pres, TIED: reach.tied, TWO: reach.two}[form], shape)
    assert opener is not None  # identities and clones fit everywhere
    terminal, between = opener
    if form == ROUTE and terminal.opens is not None:
        scope = terminal.opens(shape)
    outs = []
    for size in (a, b) if form == TWO else (a,):
        out, inner = _weight(reach, between, scope, size, rng)
        weight += inner
        if weight == -math.inf:
            return out, weight
        outs.append(out)
    if form == ROUTE:
        closer = one(reach.posts, outs[0])
    else:
        branches = tuple(outs) if form == TWO else (outs[0],) * terminal.ways
        closer = one(reach.joins[terminal.ways], branches)
    return (outs[0], -math.inf) if closer is None else (closer[1], weight)


def _fitting(among: list[Terminal], shape: object, scope: Scope) -> list[tuple[Terminal, Shape]]:
    """The terminals that fit, with what they give."""
    return [(each, out) for each in among if (out := given(each, shape, scope)) is not None]
