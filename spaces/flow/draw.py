"""Random trees by construction: a choice is made among what fits and leaves enough for what must follow.

What is to follow a node is always possible without changing the shape, at the cost of its joins alone: that floor
is kept in reserve, so that nothing is ever tried and thrown away. The one exception, the first of two branches
that no join can bring together with anything in reach of the second, is drawn once more, with the shape of its
input as its output; `redrawn` counts these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from spaces.flow.reach import Pattern, Reach, features, matches
from spaces.flow.sizes import CHAIN, LEAF, ROUTE, TIED, Option
from spaces.flow.terminal import Scope, Shape, Terminal
from spaces.flow.tree import (
    Fit,
    Node,
    Price,
    branched,
    chained,
    fit,
    leaf,
    minus,
    plus,
    routed,
    times,
    within,
)
from spaces.mutations import shuffled

Tail = tuple[float, float]
"""What must be kept for what follows: tensors of the shape that comes out, and heads that read it."""
NOTHING: Tail = (0, 0)

Order = Callable[[Iterable[Any]], Iterable[Any]]
"""In what order options are tried; the first that fits is taken. Shuffled, all that fit are equally likely."""
Meeting = tuple[Fit, Shape, Price]
Way = tuple[Any, ...]
"""What is chosen of a tree that is to give a shape, by its form: see `Drawer.ways`."""


class Drawer:
    """Draws trees of exactly so many nodes within a budget of parameters, FLOPs and activations.

    Args:
        head: the parameters and FLOPs for one feature, and those for none.
    """

    def __init__(self, reach: Reach, head: tuple[int, int, int]) -> None:
        self.reach, self.sizes, self.head = reach, reach.sizes, head
        self.redrawn = 0

    def reserve(self, numel: int, width: int, tail: Tail) -> Price:
        """What a tail takes behind a tensor of so many elements and features."""
        load, heads = tail
        each, flops, fixed = self.head
        return (heads * (each * width + fixed), heads * flops * width, load * numel, load)

    def floor(self, shape: Shape, n: int, tail: Tail) -> Price:
        """What n nodes and a tail need that keep the shape."""
        load, heads = tail
        return self.reserve(math.prod(shape), features(shape), (load + (self.sizes.joins[n] or 0), heads))

    def affords(self, found: Fit, budget: Price, tail: Tail) -> bool:
        """Whether a budget holds a terminal and what is reserved behind it."""
        (parameters, flops, activations, operators), (load, heads) = found.price, tail
        each, flops_each, fixed = self.head
        width = features(found.out)
        return (
            parameters + heads * (each * width + fixed) <= budget[0]
            and flops + heads * flops_each * width <= budget[1]
            and activations + load * found.numel <= budget[2]
            and operators + load <= budget[3]
        )

    def fitting(
        self, among: list[Terminal], shape: Any, scope: Scope, budget: Price, tail: Tail, order: Order
    ) -> Iterator[Fit]:
        """The terminals that fit, leave enough and are not constant."""
        for each in order(among):
            found = fit(each, shape, scope)
            if found is not None and not found.constant and self.affords(found, budget, tail):
                yield found

    def terminal(
        self,
        among: list[Terminal],
        shape: Any,
        scope: Scope,
        budget: Price,
        tail: Tail,
        rng: np.random.Generator,
    ) -> Fit:
        """One of those that fit, all equally likely."""
        return next(self.fitting(among, shape, scope, budget, tail, partial(shuffled, rng=rng)))

    def free(
        self, shape: Shape, scope: Scope, n: int, budget: Price, tail: Tail, rng: np.random.Generator
    ) -> Node:
        """A tree of n nodes that gives any shape.

        The budget must hold the floor: `joins[n]` and the tail at the shape that comes in.
        """
        option = self.sizes.pick(n, rng)
        if not self.holds(option, shape, budget, tail):
            option = next(o for o in self.sizes.in_order(n, rng) if self.holds(o, shape, budget, tail))
        form, a, b = option
        reach, joins = self.reach, self.sizes.joins
        load, heads = tail
        if form == LEAF:
            return leaf(self.terminal(reach.computations, shape, scope, budget, tail, rng), shape, scope)
        if form == CHAIN:
            first = self.free(shape, scope, a, budget, (load + (joins[b] or 0), heads), rng)
            return chained(first, self.free(first.out, scope, b, minus(budget, first.price), tail, rng))
        if form == ROUTE:
            pre = self.terminal(reach.pres, shape, scope, budget, (load + (joins[a] or 0), heads), rng)
            left = minus(budget, pre.price)
            inner = self.free(pre.out, pre.scope, a, left, tail, rng)
            post = self.terminal(reach.posts, inner.out, pre.scope, minus(left, inner.price), tail, rng)
            return routed(pre, inner, post, shape, scope)
        if form == TIED:
            return self._tied(shape, scope, a, budget, tail, rng)
        return self._two(shape, scope, a, b, budget, tail, rng)

    def holds(self, option: Option, shape: Shape, budget: Price, tail: Tail) -> bool:
        """Whether a budget holds the floor of a form, with parts of its sizes."""
        made = self.sizes.needs(option) + tail[0]
        return made * math.prod(shape) <= budget[2] and made <= budget[3]

    def _tied(
        self, shape: Shape, scope: Scope, n: int, budget: Price, tail: Tail, rng: np.random.Generator
    ) -> Node:
        """A branching of copies of one branch: that is drawn, then the join among those that fit."""
        load, heads = tail
        fork = next(self.forks(shape, scope, n, budget, tail, partial(shuffled, rng=rng)))
        ways = fork.terminal.ways
        left = minus(budget, fork.price)
        branch = self.free(fork.out, scope, n, times(left, 1 / ways), ((load + 1) / ways, heads / ways), rng)
        left = minus(left, times(branch.price, ways))
        join = self.terminal(self.reach.joins[ways], (branch.out,) * ways, scope, left, tail, rng)
        return branched(fork, (branch,), join, shape, scope)

    def forks(
        self, shape: Shape, scope: Scope, n: int, budget: Price, tail: Tail, order: Order
    ) -> Iterator[Fit]:
        """The forks to copies of a branch of n nodes that fit and leave enough."""
        (load, heads), below = tail, self.sizes.joins[n] or 0
        for each in order(self.reach.tied):
            found = fit(each, shape, scope)
            if found and self.affords(found, budget, (load + each.ways * below + 1, heads)):
                yield found

    def _two(
        self, shape: Shape, scope: Scope, a: int, b: int, budget: Price, tail: Tail, rng: np.random.Generator
    ) -> Node:
        """A branching of two branches: the first is free, then the join, then what it wants of the second."""
        load, heads = tail
        kept = load + (self.sizes.joins[b] or 0) + 1
        made = kept + (self.sizes.joins[a] or 0)
        fork = self.terminal(self.reach.two, shape, scope, budget, (made, heads), rng)
        left = minus(budget, fork.price)
        first = self.free(fork.out, scope, a, left, (kept, heads), rng)
        met = self.meet(fork.out, scope, first, b, minus(left, first.price), tail, rng)
        if met is None:
            self.redrawn += 1
            floor = self.reserve(fork.numel, features(fork.out), (kept, heads))
            first = self.toward(fork.out, scope, a, minus(left, floor), fork.out, rng)
            met = self.meet(fork.out, scope, first, b, minus(left, first.price), tail, rng)
            assert met is not None
        return branched(fork, (first, met[0]), met[1], shape, scope)

    def meet(
        self,
        shape: Shape,
        scope: Scope,
        first: Node,
        n: int,
        budget: Price,
        tail: Tail,
        rng: np.random.Generator,
    ) -> tuple[Node, Fit] | None:
        """A second branch of n nodes and its join: evenly among the joins that can be met, then among shapes."""
        met = next(self.meetings(shape, scope, first, n, budget, tail, partial(shuffled, rng=rng)), None)
        if met is None:
            return None
        join, want, left = met
        return self.toward(shape, scope, n, left, want, rng), join

    def meetings(
        self,
        shape: Shape,
        scope: Scope,
        first: Node,
        n: int,
        budget: Price,
        tail: Tail,
        order: Order,
    ) -> Iterator[Meeting]:
        """The joins with a second branch of n nodes, each with the shape it wants of the branch and what is left."""
        for terminal in order(self.reach.joins[2]):
            pattern = terminal.wants(first.out, None)
            if pattern is None:
                continue
            for want in order(self._partners(shape, scope, pattern, n)):
                price = self.reach.price(shape, scope, want, n)
                join = None if price is None else fit(terminal, (first.out, want), scope)
                if price is None or join is None:
                    continue
                kept = self.reserve(join.numel, features(join.out), tail)
                left = minus(minus(budget, join.price), kept)
                if within(price, left):
                    yield join, want, left

    def _partners(self, shape: Shape, scope: Scope, pattern: Pattern, n: int) -> list[Shape]:
        """The shapes of a pattern that one computation gives, or where there are none, one routing around one."""
        if None not in pattern:
            return [pattern]  # type: ignore[list-item]
        found = matches(self.reach.outs(shape), pattern)
        if found or not (n == 5 or n >= 8):
            return found
        return matches(self.reach.around(shape, scope), pattern)

    def toward(
        self, shape: Shape, scope: Scope, n: int, budget: Price, want: Shape, rng: np.random.Generator
    ) -> Node:
        """A tree of n nodes that gives the wanted shape. The budget must hold `reach.price` of it.

        Forms and sizes by the law among those that can, what flows inside evenly among the shapes of known price.
        """
        order = partial(shuffled, rng=rng)
        option = self.sizes.pick(n, rng)
        way = next(self.ways(option, shape, scope, budget, want, order), None)
        if way is None:
            found = (
                (other, way)
                for other in self.sizes.in_order(n, rng)
                for way in self.ways(other, shape, scope, budget, want, order)
            )
            option, way = next(found)
        form, a, b = option
        if form == LEAF:
            return leaf(way[0], shape, scope)
        if form == CHAIN:
            middle, after = way
            first = self.toward(shape, scope, a, minus(budget, after), middle, rng)
            return chained(first, self.toward(middle, scope, b, minus(budget, first.price), want, rng))
        if form == ROUTE:
            pre, post, inner, left = way
            return routed(pre, self.toward(pre.out, pre.scope, a, left, inner, rng), post, shape, scope)
        if form == TIED:
            fork, join, branch, share = way
            return branched(fork, (self.toward(fork.out, scope, a, share, branch, rng),), join, shape, scope)
        fork, join, out, other, left, kept = way
        first = self.toward(fork.out, scope, a, minus(left, kept), out, rng)
        second = self.toward(fork.out, scope, b, minus(left, first.price), other, rng)
        return branched(fork, (first, second), join, shape, scope)

    def ways(
        self, option: Option, shape: Shape, scope: Scope, budget: Price, want: Shape, order: Order
    ) -> Iterator[Way]:
        """What may be chosen of a form and the sizes of its parts so that the wanted shape comes out.

        Of a computation: itself. Of a sequential: the shape between, the price of the second part. Of a routing: pre,
        post, the shape that the inside gives, what is left for it. Of copies: fork, join, the shape of each, its share.
        Of two branches: fork, join, both shapes, what is left for both, the price of the second.
        """
        form, a, b = option
        if form == LEAF:
            leaves = order(self.reach.leaves(shape, want))
            return ((found,) for found in leaves if within(found.price, budget))
        if form == ROUTE:
            return self._routes(shape, scope, a, budget, want, order)
        if form == TIED:
            return self._ties(shape, scope, a, budget, want, order)
        ways = self._chains if form == CHAIN else self._twos
        return ways(shape, scope, a, b, budget, want, order)

    def _chains(
        self, shape: Shape, scope: Scope, a: int, b: int, budget: Price, want: Shape, order: Order
    ) -> Iterator[Way]:
        reach = self.reach
        for middle in order(self._near(shape, want)):
            if middle not in (shape, want) and want not in reach.outs(middle):
                continue
            before = reach.price(shape, scope, middle, a)
            after = None if before is None else reach.price(middle, scope, want, b)
            if before is not None and after is not None and within(plus(before, after), budget):
                yield middle, after

    def _near(self, shape: Shape, want: Shape) -> list[Shape]:
        """The wanted shape, and those that one computation gives."""
        outs = self.reach.outs(shape)
        return list(outs) if want in outs else [want, *outs]

    def _routes(
        self, shape: Shape, scope: Scope, n: int, budget: Price, want: Shape, order: Order
    ) -> Iterator[Way]:
        for pre, inner, last in order(self.reach.routes(shape, scope, want)):
            post = Fit(last, inner, want, pre.scope)
            left = minus(minus(budget, pre.price), post.price)
            price = self.reach.price(pre.out, pre.scope, inner, n)
            if price is not None and within(price, left):
                yield pre, post, inner, left

    def _ties(
        self, shape: Shape, scope: Scope, n: int, budget: Price, want: Shape, order: Order
    ) -> Iterator[Way]:
        reach = self.reach
        for each in order(reach.tied):
            fork = fit(each, shape, scope)
            if fork is None:
                continue
            ways = fork.terminal.ways
            ends = reach.copied(fork.out, ways, want)
            if want not in reach.outs(fork.out):
                ends = [(want, reach.add), *ends]
            for branch, terminal in order(ends):
                join = Fit(terminal, (branch,) * ways, want, scope)
                left = minus(minus(budget, fork.price), join.price)
                share = times(left, 1 / ways)
                price = reach.price(fork.out, scope, branch, n)
                if price is not None and within(price, share):
                    yield fork, join, branch, share

    def _twos(
        self, shape: Shape, scope: Scope, a: int, b: int, budget: Price, want: Shape, order: Order
    ) -> Iterator[Way]:
        reach = self.reach
        for each in order(reach.two):
            fork = fit(each, shape, scope)
            if fork is None:
                continue
            left = minus(budget, fork.price)
            for out in order(self._near(fork.out, want)):
                for terminal in order(reach.joins[2]):
                    other = terminal.wants(out, want)
                    if other is None or terminal.gives((out, other)) != want:
                        continue
                    join = Fit(terminal, (out, other), want, scope)
                    one, two = reach.price(fork.out, scope, out, a), None
                    if one is not None:
                        two = reach.price(fork.out, scope, other, b)
                    rest = minus(left, join.price)
                    if one is not None and two is not None and within(plus(one, two), rest):
                        yield fork, join, out, other, rest, two
