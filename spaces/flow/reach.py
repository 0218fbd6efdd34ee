"""Looking ahead: what fits at a shape, and which shapes can be had from it, for how much.

All of it follows from the grammar alone, so what was asked for last is remembered.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

from spaces.flow.grammar import FlowGrammar
from spaces.flow.sizes import Sizes
from spaces.flow.terminal import Scope, Shape, Terminal
from spaces.flow.tree import Fit, Price, fit, given, plus, times

Pattern = tuple[int | None, ...]
"""A shape with None where any size will do."""
Route = tuple[Fit, Shape, Terminal]
"""A routing around one computation: the pre, what the computation gives, the post."""

MOST = 2_048
"""How many answers to each question are remembered: those that were asked for last."""


def features(shape: Shape) -> int:
    """What the head reads, after the mean over all positions: the channels of an image, else the last axis."""
    return shape[0] if len(shape) == 3 else shape[-1]


def matches(shapes: Iterable[Shape], pattern: Pattern) -> list[Shape]:
    """The shapes of a pattern."""
    rank = len(pattern)
    known = [(place, size) for place, size in enumerate(pattern) if size is not None]
    found = [shape for shape in shapes if len(shape) == rank]
    for place, size in known:
        found = [shape for shape in found if shape[place] == size]
    return found


class Reach:
    """The look-ahead of a grammar: which shapes computations and routings around one give, and safe prices of shapes.

    Its questions are remembered methods:

    - `outs(shape)`: the shapes that one computation gives, constant ones left out, with their numbers of elements.
    - `copied(shape, ways, want)`: with which join so many copies of a branch, one computation each, give a shape;
      every pair of what the computation gives and the join.
    - `cheapest(shape, want)`: the price of the cheapest computation that gives a shape, which one does.
    - `routes(shape, scope, want)`: the routings around one computation that give a shape.
    - `around(shape, scope)`: the shapes that a routing around one computation gives.
    - `route_price(shape, scope, want)`: the price of the cheapest of `routes`; None where there is none.
    """

    def __init__(self, grammar: FlowGrammar, sizes: Sizes) -> None:
        self.grammar, self.sizes = grammar, sizes
        terminals = grammar.terminals
        self.computations, self.pres, self.posts = (
            list(terminals[kind].values()) for kind in ("computation", "pre", "post")
        )
        self.copying = [post for post in self.posts if not post.view]
        forks = terminals["fork"].values()
        self.two, self.tied = [t for t in forks if t.ways == 2], [t for t in forks if t.ways > 2]
        self.add = terminals["join"]["add"]
        self.joins = {
            fork.ways: [join for join in terminals["join"].values() if join.ways in (1, fork.ways)]
            for fork in forks
        }
        """By number of branches."""
        self.outs = lru_cache(MOST)(self._outs)
        self.copied = lru_cache(MOST)(self._copied)
        self.cheapest = lru_cache(MOST)(self._cheapest)
        self.routes = lru_cache(MOST)(self._routes)
        self.around = lru_cache(MOST)(self._around)
        self.route_price = lru_cache(MOST)(self._route_price)

    @property
    def memory(self) -> dict[str, tuple[int, int]]:
        """For each question, how many answers are remembered, and how often one had to be found."""
        names = ("outs", "copied", "cheapest", "routes", "around", "route_price")
        infos = {name: getattr(self, name).cache_info() for name in names}
        return {name: (info.currsize, info.misses) for name, info in infos.items()}

    def leaves(self, shape: Shape, want: Shape) -> list[Fit]:
        """The computations that give a shape, constant ones left out."""
        return [
            found
            for each in self.computations
            if given(each, shape, None) == want and not (found := Fit(each, shape, want, None)).constant
        ]

    def _outs(self, shape: Shape) -> dict[Shape, int]:
        found = {}
        for each in self.computations:
            out = given(each, shape, None)
            if out is not None and out not in found and not (each.constant and each.constant(shape)):
                found[out] = math.prod(out)
        return found

    def _copied(self, shape: Shape, ways: int, want: Shape) -> list[tuple[Shape, Terminal]]:
        return [
            (branch, join)
            for branch in self.outs(shape)
            for join in self.joins[ways]
            if given(join, (branch,) * ways, None) == want
        ]

    def _cheapest(self, shape: Shape, want: Shape) -> Price:
        return min([each.price for each in self.leaves(shape, want)])

    def _routes(self, shape: Shape, scope: Scope, want: Shape) -> list[Route]:
        found = []
        wanted = math.prod(want)
        for pre in self.pres:
            between = given(pre, shape, scope)
            if between is None:
                continue
            inside = scope if pre.opens is None else pre.opens(shape)
            for inner, numel in self.outs(between).items():
                for post in self.posts if numel == wanted else self.copying:
                    if given(post, inner, inside) == want:
                        found.append((Fit(pre, shape, between, inside), inner, post))
        return found

    def _around(self, shape: Shape, scope: Scope) -> list[Shape]:
        outs = {
            given(post, inner, pre.scope): None
            for each in self.pres
            if (pre := fit(each, shape, scope))
            for inner in self.outs(pre.out)
            for post in self.posts
        }
        outs.pop(None, None)
        return list(outs)  # type: ignore[arg-type]

    def _route_price(self, shape: Shape, scope: Scope, want: Shape) -> Price | None:
        prices = [
            plus(self.cheapest(pre.out, inner), plus(pre.price, Fit(post, inner, want, pre.scope).price))
            for pre, inner, post in self.routes(shape, scope, want)
        ]
        return min(prices, default=None)

    def price(self, shape: Shape, scope: Scope, want: Shape, n: int) -> Price | None:
        """What a tree of exactly n nodes that makes one shape of another can do with; None where none is known.

        Known are trees of identities around nothing, around one computation, or around one routing of one.
        """
        sizes = self.sizes
        joins = sizes.joins[n] if n >= 2 else None
        if joins is None:
            return None
        if want == shape:
            return _sums(joins, shape)
        if want in self.outs(shape):
            once = self.cheapest(shape, want)
            beside = sizes.joins[n - 3]
            if n == 2 or beside == 0:
                return once
            if beside is not None:
                return plus(once, _sums(beside, want))
            # of 7 and 12 nodes, whose branchings leave no room beside them
            return plus(times(once, joins + 1), _sums(joins, want))
        rest = 0 if n == 5 else sizes.joins[n - 6] if n >= 8 else None
        if rest is None:
            return None
        price = self.route_price(shape, scope, want)
        return None if price is None else plus(price, _sums(rest, want))

    @staticmethod
    def alike(n: int) -> int:
        """A number of nodes of which `price` says the same as of n: what it adds around one computation or routing are
        joins, which are as many for every third number."""
        return n if n < 16 else 16 + (n - 16) % 3


def _sums(number: int, shape: Shape) -> Price:
    """The price of so many joins that each make a tensor of the shape."""
    return (0, 0, number * math.prod(shape), number) if number else (0, 0, 0, 0)
