"""Tables: one row for each genome of a finite space, in the order of its ranks, or for each genome of a list.

Metrics are columns, and where they were measured along training, curves. A table is one Arrow file that describes
itself and is mapped into memory, so that opening it reads next to nothing.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks import writing
from benchmarks.description import TRAIN_TIME, Description, InvalidTable
from benchmarks.distance import edits, hamming, manhattan, spans
from benchmarks.filters import matching
from benchmarks.measured import Curve, Measured
from benchmarks.pool import Pool
from spaces import Genome, ProductSpace
from spaces.catalog.points import Points

if TYPE_CHECKING:
    import pyarrow

Item = Genome | str | int | Mapping[str, Any]
"""What may be looked up: a genome, its text, its rank, or the values of its fields."""

MANY = 1000
"""From how many texts on a look-up pays that knows the texts of all rows."""


class Best(NamedTuple):
    """A row and its value of a metric."""

    genome: Genome
    value: float


class Near(NamedTuple):
    """A row and how far it lies from a genome, see `Table.distances`."""

    row: int
    genome: Genome
    distance: float


class Table(Measured):
    """A table that was written by `write`: measurements with genomes as their rows."""

    _asked = 0
    """How many single texts were asked for, up to `MANY`."""

    @staticmethod
    def write(
        path: str | Path,
        description: Description,
        columns: Mapping[str, np.ndarray],
        texts: Sequence[str] = (),
        curves: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Writes a table, whole or not at all.

        Args:
            columns: for each metric its values at the end of training, [rows] or [rows, seeds], in the order of the
                ranks of the space; NaN: was not measured.
            texts: where the description says that genomes are listed, that of each row.
            curves: for each metric with curves its values along training, [rows, seeds, amounts]; NaN as above.

        Raises:
            InvalidTable: the description contradicts itself, columns and metrics do not match, not every genome has a
                row, values cannot be, a search would be after a test metric, or the file cannot be written.
        """
        writing.write(path, description, columns, texts, curves)

    @functools.cached_property
    def space(self) -> Any:
        """The space whose genomes are the rows: a `ProductSpace`, or where they are listed any `Space`."""
        return self.description.load_space()

    @functools.cached_property
    def candidates(self) -> Any:
        """What a search proposes from: `space`, or, where genomes are listed, a `Pool` of them."""
        return Pool(self) if self.description.listed else self.space

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

    def curve(self, item: Item, metric: str | None = None, seed: int | None = None) -> Curve:
        """A metric of one row along training, where it was measured; a mean over seeds, unless one is named.

        Raises:
            InvalidTable: no such row, metric or seed, or the metric was measured at the end only.
        """
        return self.curve_of(self.rank(item), metric, seed)

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

    def query(
        self, item: Item, metric: str | None = None, seed: int | None = None, fidelity: int | None = None
    ) -> float:
        """One value; see `rank` and `column` for what is taken and raised."""
        return float(self.column(metric, seed, fidelity)[self.rank(item)])

    def query_many(
        self,
        items: np.ndarray | Sequence[Item],
        metric: str | None = None,
        seed: int | None = None,
        fidelity: int | None = None,
    ) -> np.ndarray:
        """The values of several rows, [n] float64: arrays of ranks and many texts at once, other items one by one.

        Raises:
            InvalidTable, InvalidGenome: as `rank` and `column`.
        """
        return self.column(metric, seed, fidelity)[self._ranks(items)]

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

    def rows(
        self, items: np.ndarray | Sequence[Item], seed: int | None = None, fidelity: int | None = None
    ) -> pyarrow.Table:
        """The rows of several items as an Arrow table: `row`, `text` and every metric, as `query_many` gives it.

        Args:
            seed, fidelity: as of `row`.

        Raises:
            InvalidTable, InvalidGenome: as `rank` and `column`.
        """
        import pyarrow

        ranks = self._ranks(items).reshape(-1)
        columns: dict[str, Any] = {"row": ranks, "text": self._texts.take(pyarrow.array(ranks))}
        for name, known in self._known(seed).items():
            if self.is_known(name, fidelity):
                columns[name] = self.column_after(name, known, fidelity)[ranks]
        return pyarrow.table(columns)

    def row(self, item: Item, seed: int | None = None, fidelity: int | None = None) -> dict[str, float]:
        """All metrics of a row at the end of training, or those known after an amount of it.

        Args:
            seed: of one training run, for metrics that have it; else means over seeds.
            fidelity: leaves out metrics of a split of the data that were measured at the end only.

        Raises:
            InvalidTable: no such row or fidelity, or no metric has such a seed.
        """
        rank = self.rank(item)
        found = {}
        for name, known in self._known(seed).items():
            if self.is_known(name, fidelity):
                after = fidelity if self.metrics[name].curve else None
                found[name] = float(self.column(name, known, after)[rank])
        if fidelity is not None and TRAIN_TIME in self.metrics:
            found[TRAIN_TIME] = self.seconds(rank, fidelity, seed)
        return found

    def seconds(self, item: Item, fidelity: int | None = None, seed: int | None = None) -> float:
        """How long training took, to its end or to an amount; NaN where that was not measured.

        Where no curve tells, time is in proportion to the amount. Where the table has no "train_time", all training
        takes a second.

        Raises:
            InvalidTable: no such row or fidelity.
        """
        metric = self.metrics.get(TRAIN_TIME)
        if metric is None:
            whole = 1.0
        else:
            known = seed if seed is None or seed < metric.seeds else None
            if metric.curve and fidelity is not None:
                return self.query(item, TRAIN_TIME, known, fidelity)
            whole = self.query(item, TRAIN_TIME, known)
        return whole if fidelity is None else whole * fidelity / float(self.lengths[self.rank(item)])

    def filter(self, *conditions: str, fidelity: int | None = None) -> np.ndarray:
        """The rows that meet all conditions, ascending, [n] int64.

        Args:
            conditions: as "valid_acc > 90" or "lr_schedule == cosine": a metric, or a field of a product space, one of
                <, <=, >, >=, ==, !=, and a value. What was not measured meets no condition.
            fidelity: metrics are those after so much training (see `row`); None: at its end.

        Raises:
            InvalidTable: a condition is not understood, or names what is not there, or was not measured then.
        """
        chosen = np.ones(len(self), dtype=bool)
        for condition in conditions:
            chosen &= matching(self, condition, fidelity)
        return np.flatnonzero(chosen)

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

    def best(
        self,
        metric: str | None = None,
        n: int = 1,
        fidelity: int | None = None,
        among: np.ndarray | Sequence[Item] | None = None,
    ) -> list[Best]:
        """The n best rows that were measured, best first; ties by rank.

        Args:
            among: only of these rows, as `filter` gives them.

        Raises:
            InvalidTable, InvalidGenome: no such metric, fidelity or row, or n is below 1.
        """
        if n < 1:
            raise InvalidTable(f"n = {n}, but it must be at least 1")
        column, losses = self.column(metric, None, fidelity), self.losses(metric, fidelity)
        rows = np.arange(len(self)) if among is None else self._ranks(among)
        rows = rows[np.isfinite(losses[rows])]
        order = rows[np.argsort(losses[rows], kind="stable")[:n]].tolist()
        return [Best(self.genome(rank), float(column[rank])) for rank in order]

    def place(self, item: Item, metric: str | None = None, fidelity: int | None = None) -> int:
        """How a row is placed among all, from 1; equal values share the better place.

        Raises:
            InvalidTable, InvalidGenome: as `rank` and `column`.
        """
        losses = self.losses(metric, fidelity)
        return 1 + int((losses < losses[self.rank(item)]).sum())

    def regret(self, ranks: np.ndarray | Sequence[Item], metric: str | None = None) -> np.ndarray:
        """How far rows are from the best: (loss - best) / (median - best), of the shape of `ranks`.

        0 is the best row, 1 the median of those that were measured; a row that was not counts as the worst. Metrics
        that span decades are compared by their logarithms. Where the median is the best, the worst stands in for it.

        Raises:
            InvalidTable, InvalidGenome: as `rank` and `column`.
        """
        return self.regret_of(self.losses(metric)[self._ranks(ranks)], metric)
