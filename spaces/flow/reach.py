"""Looking ahead: what fits at a shape, and which shapes can be had from it, for how much.

All of it follows from the grammar alone, so it is remembered; when a memory is full, it is emptied and filled anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from spaces.flow.grammar import FlowGrammar, Scope, Shape, Terminal
from spaces.flow.sizes import Sizes
from spaces.flow.tree import Fit, Price, fit, given, plus, times

Pattern = tuple[int | None, ...]
"""A shape with None where any size will do."""
Route = tuple[Fit, Shape, Terminal]
"""A routing around one computation: the pre, what the computation gives, the post."""

MOST = {"menus": 8_000, "outs": 8_000, "prices": 16_000, "routes": 8_000, "around": 1_000, "copied": 2_000}
"""How many entries each memory may have."""


class Memory(dict[Any, Any]):
    """A dictionary that is emptied when it is full, counted in `emptied`."""

    def __init__(self, most: int) -> None:
        self.most, self.emptied = most, 0

    def keep(self, key: Any, value: Any) -> Any:
        if len(self) >= self.most:
            self.clear()
            self.emptied += 1
        self[key] = value
        return value


class Menu:
    """The terminals of a kind that fit at a shape, but for constant ones.

    Attributes:
        fits: all of them.
        most: the largest of their prices, part by part.
        numel, width: the largest number of elements and of features.
    """

    __slots__ = ("fits", "most", "numel", "width")

    def __init__(self, fits: list[Fit]) -> None:
        self.fits = fits
        prices = [each.price for each in fits]
        self.most: Price = tuple(map(max, zip(*prices, strict=True))) if fits else (0, 0, 0, 0)
        self.numel = max([each.numel for each in fits], default=0)
        self.width = max([features(each.out) for each in fits], default=0)


def features(shape: Shape) -> int:
    """What the head reads, after the mean over all positions: the channels of an image, else the last axis."""
    return shape[0] if len(shape) == 3 else shape[-1]


def matches(shapes: Iterable[Shape], pattern: Pattern) -> list[Shape]:
    """The shapes of a pattern."""
    free = [place for place, size in enumerate(pattern) if size is None]
    found = []
    for shape in shapes:
        if len(shape) == len(pattern):
            wild = list(shape)
            for place in free:
                wild[place] = None  # type: ignore[call-overload]
            if tuple(wild) == pattern:
                found.append(shape)
    return found


class Reach:
    """The look-ahead of a grammar: menus, joins, routings around one computation, and safe prices of shapes."""

    def __init__(self, grammar: FlowGrammar, sizes: Sizes) -> None:
        self.grammar, self.sizes = grammar, sizes
        terminals = grammar.terminals
        self._kinds = {kind: list(group.values()) for kind, group in terminals.items()}
        self.add = terminals["join"]["add"]
        self._kinds["two"] = [t for t in terminals["fork"].values() if t.ways == 2]
        self._kinds["tied"] = [t for t in terminals["fork"].values() if t.ways > 2]
        self._joins = {
            fork.ways: [join for join in terminals["join"].values() if join.ways in (1, fork.ways)]
            for fork in terminals["fork"].values()
        }
        self._menus = Memory(MOST["menus"])
        self._outs = Memory(MOST["outs"])
        self._prices = Memory(MOST["prices"])
        self._routes = Memory(MOST["routes"])
        self._around = Memory(MOST["around"])
        self._copied = Memory(MOST["copied"])

    @property
    def memory(self) -> dict[str, tuple[int, int]]:
        """For each memory, how many entries it has and how often it was emptied."""
        held = {
            "menus": self._menus,
            "outs": self._outs,
            "prices": self._prices,
            "routes": self._routes,
            "around": self._around,
            "copied": self._copied,
        }
        return {name: (len(each), each.emptied) for name, each in held.items()}

    def menu(self, kind: str, shape: Shape, scope: Scope = None) -> Menu:
        """What fits, of "computation", "pre", "post", or of the forks "two" or "tied"."""
        key = (kind, shape, scope)
        found = self._menus.get(key)
        if found is None:
            fits = [each for t in self._kinds[kind] if (each := fit(t, shape, scope)) and not each.constant]
            found = self._menus.keep(key, Menu(fits))
        return found

    def joins(self, ways: int) -> list[Terminal]:
        """The joins of so many branches."""
        return self._joins[ways]

    def outs(self, shape: Shape) -> dict[Shape, int]:
        """The shapes that one computation gives, with their numbers of elements."""
        found = self._outs.get(shape)
        if found is None:
            found = {}
            for each in self._kinds["computation"]:
                out = each.gives(shape)
                if out is not None and out not in found and not (each.constant and each.constant(shape)):
                    found[out] = math.prod(out)
            self._outs.keep(shape, found)
        return found

    def copied(self, shape: Shape, ways: int) -> dict[Shape, list[tuple[Shape, Terminal]]]:
        """What so many copies of a branch give: by shape, what one computation gives in each, and the join."""
        key = (shape, ways)
        found = self._copied.get(key)
        if found is None:
            found = {}
            for branch in self.outs(shape):
                for join in self._joins[ways]:
                    out = join.gives((branch,) * ways)
                    if out is not None:
                        found.setdefault(out, []).append((branch, join))
            self._copied.keep(key, found)
        return found

    def cheapest(self, shape: Shape, want: Shape) -> Price:
        """The price of the cheapest computation that gives a shape, which one does."""
        key = (shape, want)
        found = self._prices.get(key)
        if found is None:
            fits = [each for each in self.menu("computation", shape).fits if each.out == want]
            found = self._prices.keep(key, min([each.price for each in fits]))
        return found

    def routes(self, shape: Shape, scope: Scope, want: Shape) -> list[Route]:
        """The routings around one computation that give a shape."""
        key = (shape, scope, want)
        found = self._routes.get(key)
        if found is None:
            found = []
            wanted = math.prod(want)
            for pre in self.menu("pre", shape, scope).fits:
                for inner, numel in self.outs(pre.out).items():
                    for post in self._kinds["post"]:
                        if numel != wanted and post.view:
                            continue
                        if given(post, inner, pre.scope) == want:
                            found.append((pre, inner, post))
            self._routes.keep(key, found)
        return found

    def around(self, shape: Shape, scope: Scope) -> list[Shape]:
        """The shapes that a routing around one computation gives."""
        key = (shape, scope)
        found = self._around.get(key)
        if found is None:
            posts = self._kinds["post"]
            outs = {
                given(post, inner, pre.scope): None
                for pre in self.menu("pre", shape, scope).fits
                for inner in self.outs(pre.out)
                for post in posts
            }
            outs.pop(None, None)
            found = self._around.keep(key, list(outs))
        return found

    def route_price(self, shape: Shape, scope: Scope, want: Shape) -> Price | None:
        """The price of the cheapest routing around one computation that gives a shape; None where there is none."""
        key = (shape, scope, want)
        if key in self._prices:
            return self._prices[key]
        prices = [
            plus(self.cheapest(pre.out, inner), plus(pre.price, Fit(post, inner, want, pre.scope).price))
            for pre, inner, post in self.routes(shape, scope, want)
        ]
        return self._prices.keep(key, min(prices, default=None))

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


def _sums(number: int, shape: Shape) -> Price:
    """The price of so many joins that each make a tensor of the shape."""
    return (0, 0, number * math.prod(shape), number) if number else (0, 0, 0, 0)
