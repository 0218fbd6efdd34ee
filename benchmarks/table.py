"""Tables: one row for each genome of a finite space, in the order of its ranks, or for each genome of a list.

Metrics are columns, and where they were measured along training, curves. A table is one Arrow file that describes
itself and is mapped into memory, so that opening it reads next to nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks import writing
from benchmarks.description import TRAIN_TIME, Description, InvalidTable
from benchmarks.filters import matching
from benchmarks.measured import Curve
from benchmarks.pool import Pool
from benchmarks.rows import Item, Rows
from spaces import Genome

if TYPE_CHECKING:
    import pyarrow


class Best(NamedTuple):
    """A row and its value of a metric."""

    genome: Genome
    value: float


class Table(Rows):
    """A table that was written by `write`: measurements with genomes as their rows."""

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
    def candidates(self) -> Any:
        """What a search proposes from: `space`, or, where genomes are listed, a `Pool` of them."""
        return Pool(self) if self.description.listed else self.space

    def curve(self, item: Item, metric: str | None = None, seed: int | None = None) -> Curve:
        """A metric of one row along training, where it was measured; a mean over seeds, unless one is named.

        Raises:
            InvalidTable: no such row, metric or seed, or the metric was measured at the end only.
        """
        return self.curve_of(self.rank(item), metric, seed)

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
