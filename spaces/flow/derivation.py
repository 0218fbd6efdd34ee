"""Derivations of trees by decisions: what `Drawer` draws, decided by a point of a cube or read off a tree.

The order is that of the text: the size, form and sizes of the parts, terminals among those that fit; of two branches
the first is free, then come the join, the shape that it wants of the second, and the second towards it.

Two things are not left to the look-ahead alone, so that what it does not see has a box too. One point in `RARE` draws
the second branch freely as well, and then what joins both. One in `RARE` draws the first branch towards the shape of
its input, as `Drawer` does where nothing can meet a first branch; a point comes to the same where it finds itself
there. So a tree that came about by such a turn has a box of its own, where the turn is not needed.

In place of the repair of trees without parameters, the last leaf of a tree that has none so far is one with some, where
one fits. Trees that learn nothing of the input, and copies of copies of a leaf that leave no room for parameters, are
not left out, as they are of draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np

from spaces.flow.deciders import Decider
from spaces.flow.draw import Drawer, Tail, Way
from spaces.flow.reach import features
from spaces.flow.sizes import CHAIN, LEAF, ROUTE, TIED, TWO, Option, Sizes
from spaces.flow.terminal import Scope, Shape, Terminal
from spaces.flow.tree import Fit, Node, Price, branched, chained, leaf, minus, routed, times, within
from spaces.volume import PRECISION

T = TypeVar("T")
K = TypeVar("K")
Branches = tuple[Node, Node, Fit]
"""Two branches, and what joins them."""


class Laws:
    """The laws of `Sizes`, in whole numbers."""

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        self._forms: dict[int, tuple[list[Option], list[int]]] = {}
        self.sizes = lru_cache(2)(self._sizes_up_to)

    def _sizes_up_to(self, most: int) -> tuple[list[int], list[int]]:
        """The sizes of whole trees up to the most, and how likely each is."""
        places, weights = _whole(self._sizes.mass[5 : most + 1])
        return [5 + place for place in places], weights

    def forms(self, n: int) -> tuple[list[Option], list[int]]:
        """The forms of n nodes with the sizes of their parts, and how likely each is."""
        if n not in self._forms:
            places, weights = _whole(np.diff(self._sizes.law(n), prepend=0.0))
            self._forms[n] = [self._sizes.option(n, place) for place in places], weights
        return self._forms[n]


def _whole(law: np.ndarray) -> tuple[list[int], list[int]]:
    """The places of what is possible, and how likely it is in whole numbers, none of them 0."""
    places = np.flatnonzero(law > 0)
    return places.tolist(), [max(1, round(p * 2**PRECISION)) for p in (law[places] / law.sum()).tolist()]


class Spot(NamedTuple):
    """Where a tree is to stand.

    Attributes:
        tail: what is kept for what follows.
        bare: whether nothing so far has parameters and the last leaf of the whole tree is in this one.
    """

    shape: Shape
    scope: Scope
    budget: Price
    tail: Tail
    bare: bool

    def after(self, shape: Shape, price: Price) -> Spot:
        """Where what follows something of that price stands, at the shape that it gave."""
        return self._replace(shape=shape, budget=minus(self.budget, price), bare=self.bare and not price[0])


class Derivation:
    """One derivation, decided by a point or a tree; `tree` is what is to come out, None where a point decides."""

    def __init__(self, drawer: Drawer, laws: Laws, decider: Decider) -> None:
        self._drawer, self._laws, self._decider = drawer, laws, decider
        self._reach, self._joins = drawer.reach, drawer.sizes.joins

    def _form(self, n: int, passes: Callable[[Option], bool], tree: Node | None) -> Option:
        options, weights = self._laws.forms(n)
        left = [k for k, option in enumerate(options) if passes(option)]
        assert left, f"no tree of {n} nodes, where one was known"
        options = [options[k] for k in left]
        return self._decider.pick(options, options, tree and _option(tree), [weights[k] for k in left])

    def _terminal(
        self, among: list[Terminal], shape: object, at: Spot, tail: Tail, wanted: Terminal | None
    ) -> Fit:
        """One of the terminals that fit, as `Drawer.terminal`."""
        return self._fit(list(self._drawer.fitting(among, shape, at.scope, at.budget, tail, iter)), wanted)

    def _fit(self, found: Sequence[Fit], wanted: Terminal | None) -> Fit:
        return self._decider.pick(found, [each.terminal for each in found], wanted)

    def free(self, at: Spot, n: int, tree: Node | None) -> Node:
        """A tree of n nodes that gives any shape, as `Drawer.free`."""
        shape, scope, budget, tail, _ = at
        form, a, b = self._form(n, lambda option: self._drawer.holds(option, shape, budget, tail), tree)
        load, heads = tail
        before, behind = self._joins[a] or 0, self._joins[b] or 0
        first, last = _ends(tree)
        if form == LEAF:
            fits = list(self._drawer.fitting(self._reach.computations, shape, scope, budget, tail, iter))
            return leaf(self._fit(_learning(fits, at), first), shape, scope)
        if form == CHAIN:
            one = self.free(at._replace(tail=(load + behind, heads), bare=False), a, _child(tree, 0))
            return chained(one, self.free(at.after(one.out, one.price), b, _child(tree, 1)))
        if form == ROUTE:
            pre = self._terminal(self._reach.pres, shape, at, (load + before, heads), first)
            inside = at.after(pre.out, pre.price)._replace(scope=pre.scope)
            inner = self.free(inside, a, _child(tree, 0))
            post = self._terminal(
                self._reach.posts, inner.out, inside.after(inner.out, inner.price), tail, last
            )
            return routed(pre, inner, post, shape, scope)
        if form == TIED:
            fork = self._fit(list(self._drawer.forks(shape, scope, a, budget, tail, iter)), first)
            ways = fork.terminal.ways
            left = at.after(fork.out, fork.price)
            each = left._replace(budget=times(left.budget, 1 / ways), tail=((load + 1) / ways, heads / ways))
            inner = self.free(each, a, _child(tree, 0))
            left = left.after(inner.out, times(inner.price, ways))
            join = self._terminal(self._reach.joins[ways], (inner.out,) * ways, left, tail, last)
            return branched(fork, (inner,), join, shape, scope)
        fork = self._terminal(self._reach.two, shape, at, (load + before + behind + 1, heads), first)
        inside = at.after(fork.out, fork.price)
        kept = (load + behind + 1, heads)
        found = self._decider.one_of(
            lambda: self._first_free(inside, kept, a, b, tree),
            lambda: self._first_toward(inside, kept, a, b, tree),
        )
        assert found is not None, "nothing meets a branch of the shape of its input"
        one, two, join = found
        return branched(fork, (one, two), join, shape, scope)

    def _first_free(self, at: Spot, kept: Tail, a: int, b: int, tree: Node | None) -> Branches | None:
        """Two branches, the first of any shape, which leaves what is kept for the second."""
        first = self.free(at._replace(tail=kept, bare=False), a, _child(tree, 0))
        left = at.after(at.shape, first.price)
        return self._decider.one_of(
            lambda: self._second_met(left, first, b, tree), lambda: self._second_free(left, first, b, tree)
        )

    def _first_toward(self, at: Spot, kept: Tail, a: int, b: int, tree: Node | None) -> Branches | None:
        """Two branches, the first of the shape that comes in."""
        floor = self._drawer.reserve(math.prod(at.shape), features(at.shape), kept)
        room = at._replace(budget=minus(at.budget, floor), bare=False)
        first = self._toward(room, a, at.shape, _child(tree, 0))
        return self._second_met(at.after(at.shape, first.price), first, b, tree)

    def _second_met(self, at: Spot, first: Node, n: int, tree: Node | None) -> Branches | None:
        """The second branch towards what a join wants, as `Drawer.meet`; None where no join can have it."""
        found = self._drawer.meetings(at.shape, at.scope, first, n, at.budget, at.tail, iter)
        meetings = _groups(found, lambda meeting: meeting[0].terminal)
        if not meetings:
            return None
        same = self._among(meetings, _ends(tree)[1])
        second = _child(tree, 1)
        join, want, left = self._decider.pick(same, [want for _, want, _ in same], second and second.out)
        return first, self._toward(at._replace(budget=left), n, want, second), join

    def _second_free(self, at: Spot, first: Node, n: int, tree: Node | None) -> Branches | None:
        """The second branch of any shape, then what joins both; None where nothing does."""
        kept = (at.tail[0] + 1, at.tail[1])
        if not within(self._drawer.floor(at.shape, n, kept), at.budget):
            return None
        second = self.free(at._replace(tail=kept), n, _child(tree, 1))
        left = minus(at.budget, second.price)
        outs = (first.out, second.out)
        joins = list(self._drawer.fitting(self._reach.joins[2], outs, at.scope, left, at.tail, iter))
        return (first, second, self._fit(joins, _ends(tree)[1])) if joins else None

    def _toward(self, at: Spot, n: int, want: Shape, tree: Node | None) -> Node:
        """A tree of n nodes that gives the wanted shape, as `Drawer.toward`; of the tail nothing is asked."""
        shape, scope, budget, _, bare = at

        def ways(option: Option) -> Iterator[Way]:
            return self._drawer.ways(option, shape, scope, budget, want, iter)

        known: dict[Option, bool] = {}

        def passes(option: Option) -> bool:
            like = (option[0], self._reach.alike(option[1]), self._reach.alike(option[2]))
            if like not in known:
                known[like] = next(ways(option), None) is not None
            return known[like]

        option = self._form(n, passes, tree)
        form, a, b = option
        first, last = _ends(tree)
        found = list(ways(option))
        if form == LEAF:
            return leaf(self._fit(_learning([fit for (fit,) in found], at), first), shape, scope)
        inner = _child(tree, 0)
        if form == CHAIN:
            middle, after = self._decider.pick(found, [way[0] for way in found], inner and inner.out)
            room = at._replace(budget=minus(budget, after), bare=False)
            one = self._toward(room, a, middle, inner)
            return chained(one, self._toward(at.after(middle, one.price), b, want, _child(tree, 1)))
        if form == ROUTE:
            routes = [(pre.terminal, post.terminal, out) for pre, post, out, _ in found]
            pre, post, out, left = self._decider.pick(found, routes, inner and (first, last, inner.out))
            inside = Spot(pre.out, pre.scope, left, at.tail, bare and not pre.price[0])
            return routed(pre, self._toward(inside, a, out, inner), post, shape, scope)
        same = self._among(_groups(found, lambda way: way[0].terminal), first)
        if form == TIED:
            ends = [(join.terminal, out) for _, join, out, _ in same]
            fork, join, out, share = self._decider.pick(same, ends, inner and (last, inner.out))
            inside = Spot(fork.out, scope, share, at.tail, bare and not fork.price[0])
            return branched(fork, (self._toward(inside, a, out, inner),), join, shape, scope)
        same = self._among(_groups(same, lambda way: way[2]), inner and inner.out)
        fork, join, out, other, left, kept = self._decider.pick(same, [way[1].terminal for way in same], last)
        inside = Spot(fork.out, scope, minus(left, kept), at.tail, False)
        one = self._toward(inside, a, out, inner)
        inside = Spot(fork.out, scope, left, at.tail, bare and not fork.price[0]).after(fork.out, one.price)
        return branched(fork, (one, self._toward(inside, b, other, _child(tree, 1))), join, shape, scope)

    def _among(self, grouped: Mapping[K, list[T]], wanted: K | None) -> list[T]:
        """One of the groups, all equally likely."""
        names = list(grouped)
        return grouped[self._decider.pick(names, names, wanted)]


def _groups(items: Iterable[T], name: Callable[[T], K]) -> dict[K, list[T]]:
    """What has a name in common."""
    found: dict[K, list[T]] = {}
    for item in items:
        found.setdefault(name(item), []).append(item)
    return found


def _learning(found: list[Fit], at: Spot) -> list[Fit]:
    """Those with parameters, where it falls to this leaf to have some and one of them does."""
    return [each for each in found if each.price[0]] or found if at.bare else found


def _option(tree: Node) -> Option:
    """The form of a tree and the sizes of its parts, as in `Sizes`."""
    if tree.form == "computation":
        return (LEAF, 0, 0)
    sizes = [child.size for child in tree.children]
    if tree.form == "routing":
        return (ROUTE, sizes[0], 0)
    if len(sizes) == 1:
        return (TIED, sizes[0], 0)
    return (CHAIN if tree.form == "sequential" else TWO, sizes[0], sizes[1])


def _ends(tree: Node | None) -> tuple[Terminal | None, Terminal | None]:
    """The first and the last terminal of a node."""
    return (tree.terminals[0], tree.terminals[-1]) if tree and tree.terminals else (None, None)


def _child(tree: Node | None, place: int) -> Node | None:
    return tree.children[place] if tree else None
