"""How large a random tree is: the exact law of the size, and of the form and the sizes of the parts given the size."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Mapping

import numpy as np

LEAF, CHAIN, ROUTE, TIED, TWO = range(5)
"""Forms, branchings of two different branches apart from those of copies of one."""

Option = tuple[int, int, int]
"""A form and the sizes of its children."""


class Sizes:
    """The law of the branching process whose forms are drawn by weight, by size, up to a limit.

    A computation has 2 nodes, a sequential 1 and its two children, a routing 3 and its child, a branching 3 and
    its one or two. So there are none of 1, 3, 4, 6 and 9 nodes.

    Attributes:
        mass: the probability of each size, [most + 1].
        joins: for each size, the fewest tensors that the joins of a tree of that size must make; None where there
            is no tree. Everything else can be an identity.
    """

    def __init__(self, weights: Mapping[str, float], two_way: float, ways: int, most: int) -> None:
        """`two_way`: the share of the two-way among the forks; `ways`: the fewest of the others, 0 for none."""
        branching = weights["branching"]
        self.weights = {
            LEAF: weights["computation"],
            CHAIN: weights["sequential"],
            ROUTE: weights["routing"],
            TIED: branching * (1 - two_way),
            TWO: branching * two_way,
        }
        self.most, self.ways = most, ways
        mass = np.zeros(most + 1)
        mass[2] = self.weights[LEAF]
        for n in range(5, most + 1):
            pairs = float(mass[2 : n - 2] @ mass[n - 3 : 1 : -1])
            apart = float(mass[2 : n - 4] @ mass[n - 5 : 1 : -1]) if n >= 7 else 0.0
            one = mass[n - 3]
            mass[n] = self.weights[CHAIN] * pairs + self.weights[TWO] * apart
            mass[n] += (self.weights[ROUTE] + self.weights[TIED]) * one
        self.mass = mass
        self.joins: list[int | None] = [None] * (most + 1)
        self._laws: dict[int, list[float]] = {2: [self.weights[LEAF]]}
        for n in range(2, most + 1):
            self.joins[n] = self._fewest_joins(n)
        self._up_to: list[float] = np.cumsum(mass).tolist()

    def _fewest_joins(self, n: int) -> int | None:
        """Each two-way branching adds a leaf: a tree of n nodes has u of them where n = 2 + 2u, up to threes."""
        if self.mass[n] == 0:
            return None
        return (n - 2) * 2 % 3

    def needs(self, option: Option) -> int:
        """The fewest tensors that the joins make in a tree of that form, with children of those sizes."""
        form, a, b = option
        if form == LEAF:
            return 0
        first, second = self.joins[a] or 0, self.joins[b] or 0
        if form == TIED:
            return self.ways * first + 1
        return first + second + (1 if form == TWO else 0)

    def law(self, n: int) -> list[float]:
        """The cumulative probabilities (not scaled) of the forms of n nodes with the sizes of their children.

        In order: sequentials by the size of the first, from 2, two-way branchings likewise, the routing, the
        branching of copies.
        """
        found = self._laws.get(n)
        if found is None:
            mass, weights = self.mass, self.weights
            apart = mass[2 : n - 4] * mass[n - 5 : 1 : -1] if n >= 7 else mass[:0]
            parts = [
                weights[CHAIN] * mass[2 : n - 2] * mass[n - 3 : 1 : -1],
                weights[TWO] * apart,
                np.array([weights[ROUTE], weights[TIED]]) * mass[n - 3],
            ]
            found = self._laws[n] = np.cumsum(np.concatenate(parts)).tolist()
        return found

    def option(self, n: int, place: int) -> Option:
        """The form and the sizes of the children at a place of `law`."""
        if n == 2:
            return (LEAF, 0, 0)
        if place < n - 4:
            return (CHAIN, place + 2, n - 3 - place)
        place -= n - 4
        apart = max(n - 6, 0)
        if place < apart:
            return (TWO, place + 2, n - 5 - place)
        return (ROUTE if place == apart else TIED, n - 3, 0)

    def pick(self, n: int, rng: np.random.Generator) -> Option:
        """A form of n nodes and the sizes of its children, by the law."""
        cumulative = self.law(n)
        return self.option(n, bisect(cumulative, rng.random() * cumulative[-1], 0, len(cumulative) - 1))

    def in_order(self, n: int, rng: np.random.Generator) -> Iterator[Option]:
        """All forms of n nodes in random order; whichever are left out, the first of the others is by the law."""
        weights = np.diff(self.law(n), prepend=0.0)
        with np.errstate(divide="ignore"):
            order = np.argsort(rng.standard_exponential(len(weights)) / weights)
        return (self.option(n, place) for place in order[: np.count_nonzero(weights)].tolist())

    def draw(self, limit: int, rng: np.random.Generator, least: int = 2) -> int:
        """A size from `least` to `limit` by the law."""
        up_to = self._up_to
        low = up_to[least - 1]
        return bisect(up_to, low + rng.random() * (up_to[limit] - low), least, limit)
