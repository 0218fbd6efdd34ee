"""Draws and changes of the numbers of a backbone; what they break of sharing groups is repaired afterwards."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spaces.catalog.star.backbone import FIELDS, GROUPS, SHARING, Definitions, Row
from spaces.catalog.star.pool import POOL, variants

RATE = 0.1
"""The probability that the mutation of all numbers changes one of them."""

Genes = tuple[Sequence[Row], Definitions]
"""The LIVs of a genome, and the classes that it defines."""
Change = Callable[[Genes, np.random.Generator], Genes | None]
"""A change; None where it cannot be made."""

Bound = dict[tuple[int, int], tuple[int, int]]
"""The class and the strategy of each group that has members, by the place of the group among the fields."""

MOST = tuple(FIELDS.values())


@dataclass(frozen=True)
class Changes:
    """The changes of a space.

    Attributes:
        unavailable: the classes that are in no genome but where it defines them.
        width: of the space.
        levels: which the space searches.
        least, most: how many LIVs a backbone may have.
    """

    unavailable: Collection[int]
    width: int
    levels: str
    least: int
    most: int

    @property
    def named(self) -> Mapping[str, Change]:
        changes: dict[str, Change] = {"mutate": self.mutate, "change": self.change, "swap": self.swap}
        if self.least < self.most:
            changes |= {"insert": self.insert, "delete": self.delete, "duplicate": self.duplicate}
        if self.levels != "backbone":
            changes |= {"operator": self.operator}
        return changes

    def mutate(self, genes: Genes, rng: np.random.Generator) -> Genes:
        """Each number becomes another with a probability of 10 %, as in the paper."""
        rows, defined = list(genes[0]), genes[1]
        for place in np.flatnonzero(rng.random(len(rows) * len(FIELDS)) < RATE).tolist():
            self._move(rows, place, defined, rng)
        return rows, defined

    def change(self, genes: Genes, rng: np.random.Generator) -> Genes:
        """One number becomes another."""
        rows, defined = list(genes[0]), genes[1]
        self._move(rows, int(rng.random() * len(rows) * len(FIELDS)), defined, rng)
        return rows, defined

    def swap(self, genes: Genes, rng: np.random.Generator) -> Genes | None:
        """Two unequal LIVs change places."""
        rows = list(genes[0])
        pairs = [(i, j) for i in range(len(rows)) for j in range(i) if rows[i] != rows[j]]
        if not pairs:
            return None
        i, j = pairs[int(rng.random() * len(pairs))]
        rows[i], rows[j] = rows[j], rows[i]
        return rows, genes[1]

    def insert(self, genes: Genes, rng: np.random.Generator) -> Genes | None:
        """One more LIV."""
        rows, defined = genes
        if len(rows) == self.most:
            return None
        kinds = self._kinds(defined)
        row = share([kinds[int(rng.random() * len(kinds))]], rng)
        place = int(rng.random() * (len(rows) + 1))
        return (*rows[:place], *row, *rows[place:]), defined

    def delete(self, genes: Genes, rng: np.random.Generator) -> Genes | None:
        """One LIV less."""
        rows, defined = genes
        if len(rows) == self.least:
            return None
        place = int(rng.random() * len(rows))
        return (*rows[:place], *rows[place + 1 :]), defined

    def duplicate(self, genes: Genes, rng: np.random.Generator) -> Genes | None:
        """A LIV twice, one after the other, in the same groups."""
        rows, defined = genes
        if len(rows) == self.most:
            return None
        place = int(rng.random() * len(rows))
        return (*rows[: place + 1], *rows[place:]), defined

    def operator(self, genes: Genes, rng: np.random.Generator) -> Genes | None:
        """One number in the definition of one class that is in use."""
        rows, defined = genes
        used = sorted({row[0] for row in rows})
        number = used[int(rng.random() * len(used))]
        here = defined[number] if number in defined else POOL[number].definition
        found = variants(here, self.width, featurizers=self.levels == "featurizers")
        if not found:
            return None
        return rows, {**defined, number: found[int(rng.random() * len(found))]}

    def cross(self, a: Genes, b: Genes, rng: np.random.Generator) -> Genes:
        """The first with the numbers between two points from the second.

        A class that the second defines comes along where the first has no LIV of it.
        """
        first = [number for row in a[0] for number in row]
        second = [number for row in b[0] for number in row]
        most = min(len(first), len(second))
        start, end = sorted((int(rng.random() * (most + 1)), int(rng.random() * (most + 1))))
        mixed = first[:start] + second[start:end] + first[end:]
        of_first = {row[0] for row in a[0]}
        defined = {**{key: own for key, own in b[1].items() if key not in of_first}, **a[1]}
        return [
            tuple(mixed[place : place + len(FIELDS)]) for place in range(0, len(mixed), len(FIELDS))
        ], defined

    def _kinds(self, defined: Definitions) -> list[int]:
        return [number for number in POOL if number not in self.unavailable or number in defined]

    def _move(self, rows: list[Row], place: int, defined: Definitions, rng: np.random.Generator) -> None:
        """Another number, all equally likely, in a place of the backbone."""
        number, field = divmod(place, len(FIELDS))
        row = rows[number]
        if field == 0:
            values = [kind for kind in self._kinds(defined) if kind != row[0]]
            value = values[int(rng.random() * len(values))] if values else row[0]
        else:
            value = 1 + (row[field] + int(rng.random() * (MOST[field] - 1))) % MOST[field]
        rows[number] = (*row[:field], value, *row[field + 1 :])


def share(kinds: Sequence[int], rng: np.random.Generator) -> tuple[Row, ...]:
    """LIVs of these classes, with strategies drawn evenly and groups evenly among those that can hold the LIV."""
    chances = iter(rng.random(4 * len(kinds)).tolist())
    bound: Bound = {}
    return tuple([row_of(kind, bound, chances) for kind in kinds])


def bound_by(rows: Sequence[Row]) -> Bound:
    """What the groups of LIVs are of."""
    return {
        (place, row[place]): (row[0], row[strategy])
        for row in rows
        for place, strategy in SHARING
        if row[strategy] != 1
    }


def row_of(kind: int, bound: Bound, chances: Iterator[float]) -> Row:
    """One LIV, for four random numbers; what its groups are of from now on is added to `bound`."""
    row = [kind]
    for place, strategy_place in SHARING:
        strategy, chance = 1 + int(next(chances) * MOST[strategy_place]), next(chances)
        groups: Sequence[int] = range(1, GROUPS + 1)
        if strategy != 1:
            here = (kind, strategy)
            free = [group for group in groups if bound.get((place, group), here) == here]
            groups, strategy = (free, strategy) if free else (groups, 1)
        group = groups[int(chance * len(groups))]
        if strategy != 1:
            bound[place, group] = here
        row += [group, strategy]
    return tuple(row)
