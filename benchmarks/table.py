"""Tables: one row for each genome of a finite space, in the order of its ranks, or for each genome of a list.

Metrics are columns. A table is one Arrow file that describes itself and is mapped into memory, so that opening it reads
next to nothing.
"""

from __future__ import annotations

import functools
import json
import operator
import os
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.description import TRAIN_TIME, Description, InvalidTable, Metric
from spaces import Genome, ProductSpace
from spaces.errors import suggest

Item = Genome | str | int | Mapping[str, Any]
"""What may be looked up: a genome, its text, its rank, or the values of its fields."""

TEXT = "text"
"""The column of the genomes."""

MANY = 1000
"""From how many texts on a look-up pays that knows the texts of all rows."""

KEY = b"grammar-nas.table"
"""The key of the description in the metadata of the Arrow file."""


class Best(NamedTuple):
    """A row and its value of a metric."""

    genome: Genome
    value: float


class Table:
    """A table that was written by `write`.

    Raises:
        InvalidTable: the file is no table, or a damaged one.
    """

    def __init__(self, path: str | Path) -> None:
        import pyarrow

        self.path = Path(path)
        try:
            with pyarrow.memory_map(str(path)) as source:
                reader = pyarrow.ipc.open_file(source)
                self._rows = reader.get_batch(0)
            self._texts = self._rows.column(TEXT)
            described = json.loads(reader.schema.metadata[KEY])
            metrics = tuple(Metric(**metric) for metric in described.pop("metrics"))
            self.description = Description(**described, metrics=metrics)
        except (OSError, KeyError, TypeError, ValueError, pyarrow.ArrowException) as error:
            raise InvalidTable(f"{path} is no table: {type(error).__name__}: {error}") from error
        self.name = self.description.name
        self.metrics: Mapping[str, Metric] = {metric.name: metric for metric in metrics}
        self._columns: dict[tuple[str | None, int | None], np.ndarray] = {}

    @staticmethod
    def write(
        path: str | Path,
        description: Description,
        columns: Mapping[str, np.ndarray],
        texts: Sequence[str] = (),
    ) -> None:
        """Writes a table, whole or not at all.

        Args:
            columns: for each metric its values, [rows] or [rows, seeds], in the order of the ranks of the space;
                NaN: was not measured.
            texts: where the description says that genomes are listed, that of each row.

        Raises:
            InvalidTable: the description contradicts itself, columns and metrics do not match, not every genome has a
                row, values cannot be, or the file cannot be written.
        """
        import pyarrow

        texts = _texts(description, texts)
        arrays = {TEXT: texts, **_checked(description, columns, len(texts))}
        table = pyarrow.table(arrays).combine_chunks()
        table = table.replace_schema_metadata({KEY: json.dumps(asdict(description))})
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            number, made = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        except OSError as error:
            raise InvalidTable(
                f"table {description.name!r} cannot be kept in {path.parent}: {error}"
            ) from error
        try:
            with os.fdopen(number, "wb") as file:
                with pyarrow.ipc.new_file(file, table.schema) as writer:
                    writer.write_table(table)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(made, 0o644)
            os.replace(made, path)
        except BaseException:
            os.unlink(made)
            raise

    def __repr__(self) -> str:
        return f"Table({self.name!r}, {len(self):,} rows, {', '.join(self.metrics)})"

    def __len__(self) -> int:
        return self._rows.num_rows

    def __reduce__(self) -> tuple[type[Table], tuple[Path]]:
        return Table, (self.path,)

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

    def column(self, metric: str | None = None, seed: int | None = None) -> np.ndarray:
        """The values of all rows by rank, [rows] float64, read-only and not copied.

        Args:
            metric: None: the objective.
            seed: of one training run, NaN where it was not measured; None: the mean over those that were.

        Raises:
            InvalidTable: no such metric or seed.
        """
        column = self._columns.get((metric, seed))
        if column is None:
            known = self.metric(metric)
            name = known.name
            if seed is not None and known.seeds > 1:
                name = f"{name}_seed{seed}"
            if seed is not None and not 0 <= seed < known.seeds:
                has = f"seeds 0 to {known.seeds - 1}" if known.seeds > 1 else "one value a row, seed 0"
                raise InvalidTable(f"table {self.name!r}: {known.name!r} has {has}, not {seed}")
            column = self._columns[metric, seed] = self._values(name)
        return column

    def _values(self, name: str) -> np.ndarray:
        """A column of the file where it lies; by way of its buffer, as pyarrow's own way imports pandas."""
        return np.frombuffer(self._rows.column(name).buffers()[1], dtype=np.float64, count=len(self))

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
            return self.space.rank(self.space.parse(item))
        if isinstance(item, Mapping) and not self.description.listed:
            return self.space.rank(self.space.genome(**item))
        try:
            rank = -1 if isinstance(item, bool | Mapping) else operator.index(item)
        except TypeError:
            rank = -1
        if not 0 <= rank < len(self):
            raise InvalidTable(f"table {self.name!r} has the rows 0 to {len(self) - 1}, not {item!r}")
        return rank

    def _listed(self, item: Genome | str) -> int:
        """The row of a genome or its text, which may be written otherwise than in the list."""
        text = item if isinstance(item, str) else item.text
        row = self._row_of.get(text)
        if row is None:
            row = self._row_of.get(self.space.parse(text).text)
        if row is None:
            raise InvalidTable(f"table {self.name!r} has no row of the genome {text!r}")
        return row

    def query(self, item: Item, metric: str | None = None, seed: int | None = None) -> float:
        """One value; see `rank` and `column` for what is taken and raised."""
        return float(self.column(metric, seed)[self.rank(item)])

    def query_many(
        self, items: np.ndarray | Sequence[Item], metric: str | None = None, seed: int | None = None
    ) -> np.ndarray:
        """The values of several rows, [n] float64: arrays of ranks and many texts at once, other items one by one.

        Raises:
            InvalidTable, InvalidGenome: as `rank` and `column`.
        """
        return self.column(metric, seed)[self._ranks(items)]

    def _ranks(self, items: np.ndarray | Sequence[Item]) -> np.ndarray:
        """The rows of several items, of the shape of an array of ranks; an Arrow array may hold texts or ranks."""
        if hasattr(items, "to_pylist"):
            items = items.to_pylist()
            items = np.array(items) if all(type(item) is int for item in items) else items
        if isinstance(items, np.ndarray) and np.issubdtype(items.dtype, np.integer):
            if items.size and not (items.min() >= 0 and items.max() < len(self)):
                raise InvalidTable(
                    f"table {self.name!r} has the rows 0 to {len(self) - 1}, not all that are asked"
                )
            return items
        known = self._row_of if len(items) >= MANY else {}
        rows = [known.get(item) if isinstance(item, str) else None for item in items]
        return np.array(
            [self.rank(item) if row is None else row for item, row in zip(items, rows, strict=True)],
            dtype=np.int64,
        )

    def row(self, item: Item) -> dict[str, float]:
        """All metrics of a row, means over seeds."""
        rank = self.rank(item)
        return {name: float(self.column(name)[rank]) for name in self.metrics}

    def losses(self, metric: str | None = None) -> np.ndarray:
        """A metric turned so that lower is better, [rows]; where it spans decades, its log10. NaN is infinite."""
        known = self.metric(metric)
        values = self.column(metric)
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.log10(values) if known.log else values
        return np.where(np.isnan(values), np.inf, values if known.direction == "min" else -values)

    def best(self, metric: str | None = None, n: int = 1) -> list[Best]:
        """The n best rows, best first; ties by rank.

        Raises:
            InvalidTable: no such metric, or n is below 1.
        """
        if n < 1:
            raise InvalidTable(f"n = {n}, but it must be at least 1")
        column = self.column(metric)
        order = np.argsort(self.losses(metric), kind="stable")[:n].tolist()
        return [Best(self.genome(rank), float(column[rank])) for rank in order]

    def place(self, item: Item, metric: str | None = None) -> int:
        """How a row is placed among all, from 1; equal values share the better place."""
        losses = self.losses(metric)
        return 1 + int((losses < losses[self.rank(item)]).sum())

    def regret(self, ranks: np.ndarray | Sequence[Item], metric: str | None = None) -> np.ndarray:
        """How far rows are from the best: (loss - best) / (median - best), of the shape of `ranks`.

        0 is the best row, 1 the median of those that were measured; a row that was not counts as the worst. Metrics
        that span decades are compared by their logarithms. Where the median is the best, the worst stands in for it.

        Raises:
            InvalidTable, InvalidGenome: as `rank` and `column`.
        """
        return self.regret_of(self.losses(metric)[self._ranks(ranks)], metric)

    def regret_of(self, losses: np.ndarray, metric: str | None = None) -> np.ndarray:
        """The regret of losses (see `regret` and `losses`), of their shape; an infinite one counts as the worst."""
        known = self.losses(metric)
        measured = known[np.isfinite(known)]
        best, median, worst = measured.min(), np.median(measured), measured.max()
        scale = (median - best) or (worst - best) or 1.0
        return (np.minimum(losses, worst) - best) / scale


def _texts(description: Description, texts: Sequence[str]) -> list[str]:
    """The genomes of all rows.

    Raises:
        InvalidTable: see `Table.write`.
    """
    space = description.load_space()
    if not description.listed:
        assert isinstance(space, ProductSpace), "the description has seen to that"
        return [space.unrank(rank).text for rank in range(space.size)]
    here = f"table {description.name!r}"
    if not texts:
        raise InvalidTable(f"{here} lists its genomes, but was given none")
    for text in texts:
        written = space.parse(text).text
        if written != text:
            raise InvalidTable(f"{here}: the genome {text!r} must be listed as it is written: {written!r}")
    if len(set(texts)) < len(texts):
        twice = next(text for text, number in Counter(texts).items() if number > 1)
        raise InvalidTable(f"{here}: the genome {twice!r} stands in more than one row")
    return list(texts)


def _checked(description: Description, columns: Mapping[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    """The columns of the file: the mean of each metric, and each seed where there are several.

    Raises:
        InvalidTable: see `Table.write`.
    """
    here = f"table {description.name!r}"
    names = [metric.name for metric in description.metrics]
    if TEXT in names:
        raise InvalidTable(f"{here}: a metric cannot be called {TEXT!r}")
    if len(set(names)) < len(names) or set(names) != set(columns):
        raise InvalidTable(
            f"{here}: the metrics are {names}, but the columns {list(columns)}; they must be the same"
        )
    if description.objective not in names:
        raise InvalidTable(
            f"{here}: no metric for the objective {description.objective!r}{suggest(description.objective, names)}"
        )
    arrays: dict[str, np.ndarray] = {}
    for metric in description.metrics:
        if metric.direction not in ("min", "max"):
            raise InvalidTable(
                f"{here}: {metric.name!r} has the direction {metric.direction!r}; allowed: min, max"
            )
        try:
            values = np.asarray(columns[metric.name], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InvalidTable(f"{here}: {metric.name!r} holds what is no number: {error}") from None
        values = values[:, None] if values.ndim == 1 else values
        if metric.seeds < 1 or values.shape != (size, metric.seeds):
            raise InvalidTable(
                f"{here}: {metric.name!r} is {list(values.shape)}, but must be [{size}, {metric.seeds}]: a row for "
                "each genome, a column for each seed"
            )
        measured = np.isfinite(values)
        if not measured.any() or np.isinf(values).any():
            raise InvalidTable(
                f"{here}: {metric.name!r} must be finite in some rows and NaN in all that were not measured"
            )
        if metric.log and values[measured].min() <= 0:
            raise InvalidTable(
                f"{here}: {metric.name!r} has no logarithm in a row of {values[measured].min():g}"
            )
        with np.errstate(invalid="ignore"):
            arrays[metric.name] = np.where(measured, values, 0.0).sum(axis=1) / measured.sum(axis=1)
        if metric.seeds > 1:
            arrays |= {f"{metric.name}_seed{k}": values[:, k] for k in range(metric.seeds)}
    if TRAIN_TIME in arrays:
        timed = np.isfinite(arrays[TRAIN_TIME]) | np.isnan(arrays[description.objective])
        if not timed.all() or np.nanmin(arrays[TRAIN_TIME]) < 0:
            raise InvalidTable(
                f"{here}: {TRAIN_TIME!r} must be known, and not negative, wherever the objective is"
            )
    if len(arrays) != sum(1 if metric.seeds == 1 else 1 + metric.seeds for metric in description.metrics):
        raise InvalidTable(f"{here}: a metric is called as the seed of another: {names}")
    return arrays
