"""How many backbones there are, and which number each of them has.

A group is bound by its first member to a class and a strategy. What may follow some LIVs depends only on how many
groups each class has bound, whatever their names, and on which classes are still to be defined: a dynamic program over
that numbers the backbones. One over what groups are bound to in the end counts them, which takes less. The numbers are
of texts, each of which is a genome: networks that differ in the names of their groups alone have one for every name.
"""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from math import comb, prod

from spaces.catalog.star.backbone import Row

Class = tuple[int, int, int]
"""How many groups of each kind a class has bound, and in how many ways it may be defined; 1 once it is in use."""
State = tuple[tuple[Class, int], ...]
"""How many classes are alike, sorted."""
Chunk = tuple[int, ...]
"""The class of a LIV, or the group and the strategy of one kind of sharing."""


def count(depths: Iterable[int], meanings: Sequence[int], groups: int, strategies: Sequence[int]) -> int:
    """The number of texts of valid backbones.

    Every group is of one class and strategy, or has no members. So a backbone is counted by summing over what each
    group is of: given that, the LIVs are independent of each other, and a class offers (groups + those bound to it)
    choices for each kind of sharing. What binds groups that then have no member is left out again by inclusion and
    exclusion: over a group, sum of N(bound to t) - (number of t - 1) N(bound to nothing); over a class of m meanings,
    m N(it may occur) - (m - 1) N(it does not occur).

    Args:
        depths: how many LIVs a backbone may have.
        meanings: for each class, how many definitions it may have, that of the pool included.
        groups: of each kind of sharing.
        strategies: for each of the two kinds of sharing, how many there are beside none.
    """
    # By how many groups of each kind are bound, and how many choices a LIV has: the signed number of ways.
    ways: dict[tuple[int, int, int], int] = {(0, 0, 0): 1}
    for number in meanings:
        following: dict[tuple[int, int, int], int] = {}
        for (first, second, choices), sign in ways.items():
            for f in range(groups - first + 1):
                for s in range(groups - second + 1):
                    bound = comb(groups - first, f) * strategies[0] ** f
                    bound *= sign * comb(groups - second, s) * strategies[1] ** s
                    offered = choices + (groups + f) * (groups + s)
                    for total, factor in ((offered, number), (choices, 1 - number)):
                        if factor:
                            key = (first + f, second + s, total)
                            following[key] = following.get(key, 0) + bound * factor
        ways = following
    unbound = [1 - len(meanings) * number for number in strategies]
    numbers = list(depths)
    return sum(
        sign
        * unbound[0] ** (groups - first)
        * unbound[1] ** (groups - second)
        * sum(choices**depth for depth in numbers)
        for (first, second, choices), sign in ways.items()
    )


class Ranks:
    """The backbones of a space, numbered by depth, then in the order of their digits, then by what defines classes.

    Args:
        depths: how many LIVs a backbone may have, ascending.
        meanings: by class, how many definitions it may have, that of the pool included; none: it is never used.
        groups: of each kind of sharing.
        strategies: for each of the two kinds of sharing, how many there are beside none.
    """

    def __init__(
        self, depths: Iterable[int], meanings: Mapping[int, int], groups: int, strategies: Sequence[int]
    ) -> None:
        self.depths, self.groups, self.strategies = list(depths), groups, strategies
        self.meanings = {kind: number for kind, number in sorted(meanings.items()) if number}
        self._following: list[dict[State, int]] = [{} for _ in range(self.depths[-1] + 1)]
        start = _Prefix(self).state
        self._smaller = list(accumulate([self.following(start, d) for d in self.depths], initial=0))

    @property
    def total(self) -> int:
        return self._smaller[-1]

    def rank(self, rows: Sequence[Row], definitions: Mapping[int, int]) -> int:
        """The number of a backbone, from 0 to `total` - 1.

        Args:
            definitions: by class in use, the number of its definition, from 0.
        """
        rank, prefix = self._smaller[self.depths.index(len(rows))], _Prefix(self)
        for left, row in zip(range(len(rows) - 1, -1, -1), rows, strict=True):
            for chunk in (row[:1], row[1:3], row[3:]):
                options = prefix.options(left)
                rank += sum(list(options.values())[: list(options).index(chunk)])
                prefix.add(chunk)
        number = 0
        for kind in sorted(prefix.used):
            number = number * self.meanings[kind] + definitions[kind]
        return rank + number

    def unrank(self, rank: int) -> tuple[tuple[Row, ...], dict[int, int]]:
        """The rows of a number, and by class in use the number of its definition."""
        place = bisect(self._smaller, rank) - 1
        rank -= self._smaller[place]
        rows, prefix = [], _Prefix(self)
        for left in range(self.depths[place] - 1, -1, -1):
            row: Row = ()
            for _ in range(3):
                options = prefix.options(left)
                before = list(accumulate(options.values(), initial=0))
                part = bisect(before, rank) - 1
                rank -= before[part]
                chunk = list(options)[part]
                prefix.add(chunk)
                row += chunk
            rows.append(row)
        definitions = {}
        for kind in sorted(prefix.used, reverse=True):
            rank, definitions[kind] = divmod(rank, self.meanings[kind])
        return tuple(rows), definitions

    def following(self, state: State, left: int) -> int:
        """In how many ways so many LIVs may follow, with definitions for the classes that they are first of."""
        if not left:
            return 1
        known = self._following[left].get(state)
        if known is None:
            free = [self.groups - sum(kind[k] * number for kind, number in state) for k in (0, 1)]
            known = 0
            for kind, number in state:
                first, second, meanings = kind
                for f, firsts in ((0, self.groups + first), (1, free[0] * self.strategies[0])):
                    for s, seconds in ((0, self.groups + second), (1, free[1] * self.strategies[1])):
                        if ways := number * meanings * firsts * seconds:
                            after = _replaced(state, kind, (first + f, second + s, 1))
                            known += ways * self.following(after, left - 1)
            self._following[left][state] = known
        return known


class _Prefix:
    """The first chunks of a backbone, and what may follow them."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self.used: set[int] = set()
        self._bound: tuple[dict[int, Chunk], dict[int, Chunk]] = ({}, {})
        """By kind of sharing and group: its class and strategy."""
        self._row: list[tuple[Chunk, int]] = []
        """The chunks of the LIV that is under way, and how many groups each binds."""

    @property
    def state(self) -> State:
        return _state(self._class(kind) for kind in self._ranks.meanings)

    def _class(self, kind: int) -> Class:
        first, second = [sum(there[0] == kind for there in bound.values()) for bound in self._bound]
        return first, second, 1 if kind in self.used else self._ranks.meanings[kind]

    def add(self, chunk: Chunk) -> None:
        """One more chunk, which is among the options."""
        kind = self._row[0][0][0] if self._row else chunk[0]
        if not self._row:
            self._row = [(chunk, 0)]
            return
        self._row.append((chunk, self._sharing(kind, len(self._row) - 1)[chunk]))
        if len(self._row) == 3:
            for bound, ((group, strategy), new) in zip(self._bound, self._row[1:], strict=True):
                if new:
                    bound[group] = (kind, strategy)
            self.used.add(kind)
            self._row = []

    def options(self, left: int) -> dict[Chunk, int]:
        """What the next chunk may be, in order, and how many backbones have it where so many LIVs follow this one."""
        state = self.state
        settled = prod([self._ranks.meanings[kind] for kind in self.used])

        def number(kind: int, binds: Sequence[int]) -> int:
            """How many go on with a LIV of a class that binds so many groups, or any for the kinds that are left."""
            if len(binds) < 2:
                ways = Counter(self._sharing(kind, len(binds)).values())
                return sum(times * number(kind, (*binds, new)) for new, times in ways.items())
            here = self._class(kind)
            after = _replaced(state, here, (here[0] + binds[0], here[1] + binds[1], 1))
            return settled * here[2] * self._ranks.following(after, left)

        if not self._row:
            alike: dict[Class, int] = {}
            classes = {kind: self._class(kind) for kind in self._ranks.meanings}
            for kind, here in classes.items():
                if here not in alike:
                    alike[here] = number(kind, ())
            return {(kind,): alike[here] for kind, here in classes.items()}
        kind, binds = self._row[0][0][0], [new for _, new in self._row[1:]]
        return {chunk: number(kind, (*binds, new)) for chunk, new in self._sharing(kind, len(binds)).items()}

    def _sharing(self, kind: int, place: int) -> dict[Chunk, int]:
        """The groups and strategies that a class may have, and whether that binds the group, 0 or 1."""
        bound = self._bound[place]
        found: dict[Chunk, int] = {}
        for group in range(1, self._ranks.groups + 1):
            for strategy in range(1, self._ranks.strategies[place] + 2):
                there = bound.get(group)
                if strategy == 1 or there in (None, (kind, strategy)):
                    found[group, strategy] = int(strategy != 1 and there is None)
        return found


def _state(classes: Iterable[Class]) -> State:
    return tuple(sorted(Counter(classes).items()))


def _replaced(state: State, before: Class, after: Class) -> State:
    """The state with one class that is not as it was."""
    if before == after:
        return state
    numbers = Counter(dict(state))
    numbers[before] -= 1
    numbers[after] += 1
    return tuple(sorted((+numbers).items()))
