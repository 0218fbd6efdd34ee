"""The rows of a table: which genome each is, which row a genome has, and how far they lie apart."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.description import InvalidTable
from benchmarks.distance import edits, hamming, manhattan, spans
from benchmarks.measured import Measured
from spaces import Genome, ProductSpace
from spaces.catalog.points import Points

Item = Genome | str | int | Mapping[str, Any]
"""What may be looked up: a genome, its text, its rank, or the values of its fields."""

MANY = 1000
"""From how many texts on a look-up pays that knows the texts of all rows."""


class Near(NamedTuple):
    """A row and how far it lies from a genome, see `Table.distances`."""

    row: int
    genome: Genome
    distance: float


class Rows(Measured):
    """Measurements whose rows are genomes: all of a space in the order of their ranks, or those of a list."""

    _asked = 0
    """How many single texts were asked for, up to `MANY`."""

    @functools.cached_property
    def space(self) -> Any:
        """The space whose genomes are the rows: a `ProductSpace`, or where they are listed any `Space`."""
        return self.description.load_space()

    @functools.cached_property
    def _row_of(self) -> dict[str, int]:
        """The row of each text."""
        return {text: row for row, text in enumerate(self._texts.to_pylist())}

    def genome(self, row: int) -> Genome:
        """The genome of a row.

        Raises:
            InvalidTable: there is no such row.
        """
        row = self.rank(row)
        return (
            self.space.parse(self._texts[row].as_py()) if self.description.listed else self.space.unrank(row)
        )

    def rank(self, item: Item) -> int:
        """The row of a genome, of its text, of the values of its fields; a rank is checked and returned.

        Raises:
            InvalidGenome: the text or the values are no genome of the space.
            InvalidTable: no row has that rank, or that genome is not listed.
        """
        if self.description.listed and isinstance(item, Genome | str):
            return self._listed(item)
        if isinstance(item, Genome):
            return self.space.rank(item)
        if isinstance(item, str):
            return self._row_of_text(item)
        if isinstance(item, Mapping) and isinstance(self.space, ProductSpace):
            return self.rank(self.space.genome(**item))
        try:
            rank = -1 if isinstance(item, bool | Mapping) else operator.index(item)
        except TypeError:
            rank = -1
        if not 0 <= rank < len(self):
            raise InvalidTable(f"table {self.name!r} has the rows 0 to {len(self) - 1}, not {item!r}")
        return rank

    def _row_of_text(self, text: str) -> int:
        """The row of a text that is parsed, or, once many have been asked for, found among those of all rows."""
        if self._asked < MANY:
            self._asked += 1
        elif (row := self._row_of.get(text)) is not None:
            return row
        return self.space.rank(self.space.parse(text))

    def _listed(self, item: Genome | str) -> int:
        """The row of a genome or its text, which may be written otherwise than in the list."""
        text = item if isinstance(item, str) else item.text
        row = self._row_of.get(text)
        if row is None:
            row = self._row_of.get(self.space.parse(text).text)
        if row is None:
            near = self.nearest(text, 1)[0]
            raise InvalidTable(
                f"table {self.name!r} has no row of the genome {text!r}; nearest: row {near.row}, {near.genome.text!r}"
            )
        return row

    def _ranks(self, items: np.ndarray | Sequence[Item]) -> np.ndarray:
        """The rows of several items, of the shape of an array of ranks; an Arrow array may hold texts or ranks."""
        if isinstance(items, str | Genome | Mapping):
            raise InvalidTable(
                f"many rows are asked for by a list or an array, not by a {type(items).__name__}: {items!r}"
            )
        if hasattr(items, "to_pylist"):
            items = items.to_pylist()
            items = np.array(items) if all(type(item) is int for item in items) else items
        if isinstance(items, np.ndarray) and np.issubdtype(items.dtype, np.integer):
            if items.size and not (items.min() >= 0 and items.max() < len(self)):
                raise InvalidTable(
                    f"table {self.name!r} has the rows 0 to {len(self) - 1}, not all that are asked"
                )
            return items
        if len(items) >= MANY:
            rows = [*map(self._row_of.get, items)] if all(type(item) is str for item in items) else [None]
            if None not in rows:
                return np.array(rows, dtype=np.int64)
        return np.array([*map(self.rank, items)], dtype=np.int64)

    @functools.cached_property
    def places(self) -> np.ndarray:
        """The place of the value of each field among its choices, of every row, [rows, fields].

        Raises:
            InvalidTable: the space is no product of fields.
        """
        if not isinstance(self.space, ProductSpace):
            raise InvalidTable(f"table {self.name!r}: genomes of {self.space.name!r} have no fields")
        sizes = [len(field.values) for field in self.space.fields.values()]
        if not self.description.listed:
            return np.stack(np.unravel_index(np.arange(len(self)), sizes), axis=1)
        return np.array([self.space.code(text) for text in self._texts.to_pylist()])

    @functools.cached_property
    def _points(self) -> np.ndarray:
        """The coordinates of every row of a table of points, [rows, dimensions]."""
        return np.array([[*self.space.values(self.genome(row)).values()] for row in range(len(self))])

    @functools.cached_property
    def networks(self) -> np.ndarray:
        """A number for the network of each row, [rows] int64: rows of equal digests have that of the first of them.

        They were trained apart, so what was measured of them differs. Digests of all rows take seconds.
        """
        first: dict[str, int] = {}
        digests = (self.genome(row).digest for row in range(len(self)))
        return np.array([first.setdefault(digest, row) for row, digest in enumerate(digests)], dtype=np.int64)

    @property
    def network_count(self) -> int:
        """How many different networks the rows hold."""
        return int((self.networks == np.arange(len(self))).sum())

    def same_network(self, item: Item) -> np.ndarray:
        """The rows that hold the network of one, itself among them, ascending, [n] int64.

        Raises:
            InvalidTable: no such row.
        """
        return np.flatnonzero(self.networks == self.networks[self.rank(item)])

    def neighbours(self, item: Item) -> np.ndarray:
        """The rows that differ from one in the value of one field, ascending, [n] int64.

        Raises:
            InvalidTable: no such row, or the space is no product of fields.
        """
        places = self.places
        return np.flatnonzero((places != places[self.rank(item)]).sum(axis=1) == 1)

    def distances(self, item: Genome | str | int | Mapping[str, Any]) -> np.ndarray:
        """How far each row lies from a genome of the space, which need not have a row, [rows].

        Genomes of a product differ in so many fields, and points by the sum of how far their coordinates do; others by
        so many edits of their texts, token by token, of which those of numbers with a point count by how far (see
        `edits`).

        Raises:
            InvalidGenome: the text or the values are no genome of the space.
            InvalidTable: no row has that rank.
        """
        genome = self._genome_of(item)
        if isinstance(self.space, ProductSpace):
            return hamming(self.places, self.space.code(genome.text))
        if isinstance(self.space, Points):
            return manhattan(self._points, [*self.space.values(genome).values()])
        return edits(self._row_of, genome.text)

    def _genome_of(self, item: Item) -> Genome:
        """A genome of the space, which need not have a row."""
        if isinstance(item, Genome | str):
            return self.space.parse(item if isinstance(item, str) else item.text)
        if isinstance(item, Mapping) and isinstance(self.space, ProductSpace):
            return self.space.genome(**item)
        return self.genome(self.rank(item))

    def nearest_rows(self, item: Item, distances: np.ndarray | None = None) -> np.ndarray:
        """All rows, [rows], nearest first; ties by rank.

        Those of a product that differ in as many fields stand in the order of how far their values are apart.

        Args:
            distances: those of the item, where they are known.

        Raises:
            InvalidGenome, InvalidTable: as `distances`.
        """
        found = self.distances(item) if distances is None else distances
        if not isinstance(self.space, ProductSpace):
            return np.argsort(found, kind="stable")
        code = self.space.code(self._genome_of(item).text)
        return np.lexsort((spans(self.places, code, self.space.fields.values()), found))

    def nearest(self, item: Genome | str | int | Mapping[str, Any], n: int = 10) -> list[Near]:
        """The n rows nearest to a genome, as `nearest_rows` has them; its own row, if it has one, stands first.

        Raises:
            InvalidGenome, InvalidTable: as `distances`, or n is below 1.
        """
        if n < 1:
            raise InvalidTable(f"n = {n}, but it must be at least 1")
        distances = self.distances(item)
        rows = self.nearest_rows(item, distances)[:n].tolist()
        return [Near(row, self.genome(row), distances[row].item()) for row in rows]
