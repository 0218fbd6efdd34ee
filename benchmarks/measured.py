"""What stands in the file of a table: its description, its columns and its curves, by the numbers of rows."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import writing
from benchmarks.description import TRAIN_TIME, Description, Fidelities, InvalidTable, Metric
from spaces.errors import nearest, suggest


class Curve(NamedTuple):
    """A metric along training: after which amounts it was measured, [n] int64, and what was, [n]."""

    amounts: np.ndarray
    values: np.ndarray


class Measured:
    """Metrics of rows, mapped into memory from a file that `writing.write` wrote.

    Args:
        objective: what a search on it is after, where not what its description says; a metric of the test split has to
            be asked for here, as none is searched on by default.

    Attributes:
        checksum: of the description and all values, as they were written; see `verify`.

    Raises:
        InvalidTable: the file is no table, or a damaged one, or has no such metric.
    """

    def __init__(self, path: str | Path, objective: str | None = None) -> None:
        import pyarrow

        self.path = Path(path)
        try:
            with pyarrow.memory_map(str(path)) as source:
                reader = pyarrow.ipc.open_file(source)
                self._rows = reader.get_batch(0)
            self._texts = self._rows.column(writing.TEXT)
            told = reader.schema.metadata
            self._told, self.checksum = told[writing.KEY].decode(), told[writing.CHECKSUM].decode()
            self.description = Description.from_dict(json.loads(self._told))
        except FileNotFoundError:
            near = nearest(self.path.name, (each.name for each in self.path.parent.glob("*.arrow")))
            hint = f", did you mean {near!r}?" if near else ""
            raise InvalidTable(f"there is no file {path}{hint}") from None
        except (OSError, KeyError, TypeError, ValueError, pyarrow.ArrowException) as error:
            raise InvalidTable(f"{path} is no table: {type(error).__name__}: {error}") from error
        self.name = self.description.name
        self.metrics: Mapping[str, Metric] = {metric.name: metric for metric in self.description.metrics}
        self._columns: dict[tuple[str | None, int | None, int | None], np.ndarray] = {}
        if objective is not None:
            self.metric(objective)
            self.description = dataclasses.replace(self.description, objective=objective)
        self._searched = objective

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {len(self):,} rows, {', '.join(self.metrics)})"

    def verify(self) -> None:
        """Reads the whole file.

        Raises:
            InvalidTable: it is not what was written.
        """
        found = writing.checksum(self._told, self._rows)
        if found != self.checksum:
            raise InvalidTable(f"{self.path} has the checksum {found}, but was written with {self.checksum}")

    def __len__(self) -> int:
        return self._rows.num_rows

    def __reduce__(self) -> tuple[type[Measured], tuple[Path, str | None]]:
        return type(self), (self.path, self._searched)

    @property
    def objective(self) -> Metric:
        """The metric that a search is after."""
        return self.metrics[self.description.objective]

    def metric(self, name: str | None = None) -> Metric:
        """A metric by name; None: the objective.

        Raises:
            InvalidTable: there is none of that name.
        """
        if name is None:
            return self.objective
        if name not in self.metrics:
            raise InvalidTable(f"table {self.name!r} has no metric {name!r}{suggest(name, self.metrics)}")
        return self.metrics[name]

    @property
    def fidelities(self) -> Fidelities | None:
        """How far trainings had come when they were measured; None: only at their end."""
        return self.description.fidelities

    def column(
        self, metric: str | None = None, seed: int | None = None, fidelity: int | None = None
    ) -> np.ndarray:
        """The values of all rows by rank, [rows] float64, read-only; not copied, but for means along training.

        Args:
            metric: None: the objective.
            seed: of one training run, NaN where it was not measured; None: the mean over those that were.
            fidelity: after this amount of training; None: at the end of training.

        Raises:
            InvalidTable: no such metric, seed or fidelity.
        """
        key = (metric, seed, fidelity)
        column = self._columns.get(key)
        if column is None:
            known = self.metric(metric)
            self._check_seed(known, seed)
            if fidelity is None:
                column = self._buffer(writing.of_seed(known, seed))
            else:
                place = self._amount(known, fidelity)
                column = _mean([curves[:, place] for curves in self._curves(known, seed)])
            self._columns[key] = column
        return column

    def curve_of(self, row: int, metric: str | None = None, seed: int | None = None) -> Curve:
        """A metric of a row along training, where it was measured; a mean over seeds, unless one is named.

        Raises:
            InvalidTable: no such metric or seed, or the metric was measured at the end only.
        """
        known = self.metric(metric)
        self._check_seed(known, seed)
        axis = self._axis(known)
        values = _mean([curves[row] for curves in self._curves(known, seed)])
        measured = ~np.isnan(values)
        return Curve(np.array(axis.amounts)[measured], values[measured])

    def _check_seed(self, metric: Metric, seed: int | None) -> None:
        if seed is not None and not 0 <= seed < metric.seeds:
            has = f"seeds 0 to {metric.seeds - 1}" if metric.seeds > 1 else "one value a row, seed 0"
            raise InvalidTable(f"table {self.name!r}: {metric.name!r} has {has}, not {seed}")

    def _known(self, seed: int | None) -> dict[str, int | None]:
        """For each metric the seed that tells of a training run: that one where the metric has it, else none.

        Raises:
            InvalidTable: no metric has it.
        """
        if seed is not None:
            self._check_seed(max(self.metrics.values(), key=lambda metric: metric.seeds), seed)
        return {
            name: seed if seed is None or seed < metric.seeds else None
            for name, metric in self.metrics.items()
        }

    def _axis(self, metric: Metric) -> Fidelities:
        """The fidelities of a metric.

        Raises:
            InvalidTable: it has none.
        """
        if not metric.curve or self.fidelities is None:
            having = [each.name for each in self.metrics.values() if each.curve]
            raise InvalidTable(
                f"table {self.name!r}: {metric.name!r} was measured at the end of training only; along it: "
                f"{', '.join(having) or 'none'}"
            )
        return self.fidelities

    def _amount(self, metric: Metric, fidelity: int) -> int:
        """The place of an amount of training.

        Raises:
            InvalidTable: nothing was measured then; the message tells what is nearest.
        """
        axis = self._axis(metric)
        place = int(np.searchsorted(axis.amounts, fidelity))
        if place == len(axis.amounts) or axis.amounts[place] != fidelity:
            near = " or ".join(map(str, axis.amounts[max(0, place - 1) : place + 1]))
            raise InvalidTable(
                f"table {self.name!r}: {metric.name!r} was not measured after {fidelity} {axis.unit}; nearest: {near}, "
                f"of {len(axis.amounts)} from {axis.amounts[0]} to {axis.amounts[-1]}"
            )
        return place

    def _curves(self, metric: Metric, seed: int | None) -> list[np.ndarray]:
        """The curves of all rows, [rows, amounts] of one seed or of each."""
        seeds = range(metric.seeds) if seed is None else (seed,)
        return [self._buffer(writing.curve_of(metric, k)).reshape(len(self), -1) for k in seeds]

    def _buffer(self, name: str) -> np.ndarray:
        """A column of the file where it lies; by way of its buffer, as pyarrow's own way imports pandas."""
        column = self._rows.column(name)
        column = column.values if hasattr(column, "values") else column
        return np.frombuffer(column.buffers()[1], dtype=np.float64, count=len(column))

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """The last amount of training of each row after which anything was measured, [rows].

        Raises:
            InvalidTable: nothing was measured along training.
        """
        curves = [metric for metric in self.metrics.values() if metric.curve]
        axis = self._axis(curves[0] if curves else self.objective)
        measured = np.zeros((len(self), len(axis.amounts)), dtype=bool)
        for metric in curves:
            for each in self._curves(metric, None):
                measured |= ~np.isnan(each)
        last = len(axis.amounts) - 1 - measured[:, ::-1].argmax(axis=1)
        return np.array(axis.amounts)[last]

    def is_known(self, metric: str, fidelity: int | None) -> bool:
        """Whether a metric is known after an amount of training: it has a curve, or is no matter of training."""
        known = self.metrics[metric]
        return fidelity is None or known.curve or known.split is None

    def column_after(self, metric: str, seed: int | None = None, fidelity: int | None = None) -> np.ndarray:
        """As `column`, of a metric that is known then (see `is_known`); without a curve a time is in proportion to it.

        Raises:
            InvalidTable: no such seed or fidelity, or the metric was measured at the end of training only.
        """
        if fidelity is None or self.metrics[metric].curve or not self.is_known(metric, fidelity):
            return self.column(metric, seed, fidelity)
        ends = self.column(metric, seed)
        return ends * fidelity / self.lengths if metric == TRAIN_TIME else ends

    def losses(self, metric: str | None = None, fidelity: int | None = None) -> np.ndarray:
        """A metric turned so that lower is better, [rows]; where it spans decades, its log10. NaN is infinite."""
        return self.loss_of(self.column(metric, None, fidelity), metric)

    def loss_of(self, values: Any, metric: str | None = None) -> Any:
        """Values of a metric turned as by `losses`, of their shape."""
        known = self.metric(metric)
        values = np.asarray(values, dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.log10(values) if known.log else values
        return np.where(np.isnan(values), np.inf, values if known.direction == "min" else -values)

    def quantile(self, value: float, metric: str | None = None) -> float:
        """The share of the measured rows that are at least as good as a value: 0 is better than all, 1 the worst."""
        losses = self.losses(metric)
        measured = losses[np.isfinite(losses)]
        return float((measured <= self.loss_of(value, metric)).mean())

    def value_at(self, share: float, metric: str | None = None) -> float:
        """The value that a share of the measured rows reach or better; the inverse of `quantile`.

        Args:
            share: 0 is the best row, 0.5 the median, 1 the worst.

        Raises:
            InvalidTable: no such metric, or no such share.
        """
        if not 0 <= share <= 1:
            raise InvalidTable(f"share = {share:g}, but it must be from 0 to 1")
        column, losses = self.column(metric), self.losses(metric)
        order = np.argsort(losses, kind="stable")[: int(np.isfinite(losses).sum())]
        return float(column[order[max(0, math.ceil(share * len(order)) - 1)]])

    def regret_of(self, losses: np.ndarray, metric: str | None = None) -> np.ndarray:
        """The regret of losses (see `regret` and `losses`), of their shape; an infinite one counts as the worst."""
        known = self.losses(metric)
        measured = known[np.isfinite(known)]
        best, median, worst = measured.min(), np.median(measured), measured.max()
        scale = (median - best) or (worst - best) or 1.0
        return (np.minimum(losses, worst) - best) / scale


def _mean(values: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of what was measured, elementwise, read-only; NaN where nothing was."""
    if len(values) == 1:
        return values[0]
    measured = [~np.isnan(each) for each in values]
    with np.errstate(invalid="ignore"):
        mean = np.sum([np.nan_to_num(each) for each in values], axis=0) / np.sum(measured, axis=0)
    mean.flags.writeable = False
    return mean
