"""The rows of a CSV or Parquet file, with those of a second file joined, lists taken apart, and some of them chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nas.types import InvalidInput
from spaces.errors import nearest, suggest


class Rows:
    """The chosen rows of a file.

    Args:
        where: values of columns by which rows are chosen.

    Raises:
        InvalidInput: it cannot be read, lacks a column, or no row is chosen.
    """

    def __init__(self, path: Path, where: Mapping[str, Any] | None = None) -> None:
        self.name = path.name
        self._rows = _read(path)
        self._lines = np.arange(self._rows.num_rows)
        chosen = np.ones(len(self._lines), dtype=bool)
        for key, value in (where or {}).items():
            chosen &= [found == value for found in self.column(f"where.{key}", key)]
        self._lines = np.flatnonzero(chosen)
        if not len(self._lines):
            raise InvalidInput(
                f"'where' chooses no row of {self.name}" if where else f"{self.name} has no rows"
            )
        self._rows = self._rows.take(self._lines)

    def __len__(self) -> int:
        return self._rows.num_rows

    def join(self, path: Path, on: str) -> None:
        """Puts the columns of these rows beside each row of another file that has the same value in a column.

        Raises:
            InvalidInput: the file cannot be read, a column is missing, no row has the same value, or two of these have
                one.
        """
        import pyarrow

        other = Rows(path)
        values = self.column("join.on", on)
        mine = {value: row for row, value in enumerate(values)}
        found = [mine.get(value, -1) for value in other.column("join.on", on)]
        both = [row for row, place in enumerate(found) if place >= 0]
        if not both:
            raise InvalidInput(f"'join.on' is {on!r}, of which {self.name} and {other.name} share no value")
        for row, value in enumerate(values):
            if mine[value] != row:
                two = f"{self.place(row)} and {self.place(values.index(value, row + 1))}"
                raise InvalidInput(f"'join.on' is {on!r}, but {two} have the same value of it")
        left = self._rows.take([found[row] for row in both])
        right = other._rows.take(both)
        columns = {name: left[name] for name in left.column_names}
        columns |= {name: right[name] for name in right.column_names if name not in columns}
        self._rows, self.name, self._lines = pyarrow.table(columns), other.name, np.array(both)

    def explode(self, lists: Sequence[str], place: str) -> None:
        """Makes a row of each place in columns of lists, counted from 1 in a new column; values of others are repeated.

        Raises:
            InvalidInput: a column is missing, holds no lists, or its lists are of other lengths.
        """
        import pyarrow

        taken = {name: self.column("explode.lists", name) for name in lists}
        for name, values in taken.items():
            if not all(isinstance(value, list) for value in values):
                raise InvalidInput(f"'explode.lists' has {name!r}, a column of {self.name} without lists")
        lengths = [{len(value) for value in row} for row in zip(*taken.values(), strict=True)]
        for row, found in enumerate(lengths):
            if len(found) > 1:
                raise InvalidInput(f"{self.place(row)}: lists of {', '.join(lists)} differ in their lengths")
        rows = [row for row, found in enumerate(lengths) for _ in range(max(found))]
        table = self._rows.take(rows)
        for name, values in taken.items():
            flat = pyarrow.array([each for value in values for each in value])
            table = table.set_column(table.column_names.index(name), name, flat)
        places = pyarrow.array([k + 1 for found in lengths for k in range(max(found))])
        self._rows, self._lines = table.append_column(place, places), self._lines[rows]

    def melt(self, place: str, at: Mapping[str, Mapping[str, str]]) -> None:
        """Makes a row of each place, whole numbers that are the keys of `at`, in columns that stand side by side.

        Args:
            place: the new column of the places.
            at: for each place which column says what each new column holds there; nothing where it names none.

        Raises:
            InvalidInput: a place is no whole number, or a column is missing.
        """
        import pyarrow

        for key in at:
            if not key.isdigit():
                raise InvalidInput(f"'melt.at' has {key!r}, but its keys must be whole numbers")
        new = dict.fromkeys(name for columns in at.values() for name in columns)
        parts = []
        for key, columns in at.items():
            values = {
                name: self.numbers(f"melt.at.{key}.{name}", columns[name])
                if name in columns
                else np.full(len(self), np.nan)
                for name in new
            }
            kept = self._rows.drop_columns([name for name in new if name in self._rows.column_names])
            for name, column in values.items():
                kept = kept.append_column(name, pyarrow.array(column))
            parts.append(kept.append_column(place, pyarrow.array([int(key)] * len(self))))
        self._lines = np.tile(self._lines, len(parts))
        self._rows = pyarrow.concat_tables(parts)

    def place(self, number: int) -> str:
        """Where a chosen row stands in the file."""
        return f"{self.name}, row {self._lines[number] + 1}"

    def column(self, key: str, name: str) -> list[Any]:
        """The values of a column that a key names.

        Raises:
            InvalidInput: there is none.
        """
        if name not in self._rows.column_names:
            known = suggest(name, self._rows.column_names)
            raise InvalidInput(f"'{key}' is {name!r}, a column that {self.name} does not have{known}")
        return self._rows[name].to_pylist()

    def numbers(self, key: str, name: str) -> np.ndarray:
        """The values of a column of numbers, [rows]; NaN where there is none."""
        values = self.column(key, name)
        try:
            return np.array([math.nan if value is None else float(value) for value in values])
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"{self.name}: column {name!r} holds what is no number: {error}") from None

    def values(self, key: str, names: Sequence[str], scale: float) -> list[Any]:
        """What columns say together: the product of their numbers, times a scale, or their texts, joined by "-".

        None where one of them says nothing. A product is whole where all factors are.
        """
        columns = [self.column(key, name) for name in names]
        return [_together(values, scale) for values in zip(*columns, strict=True)]


def _together(values: Sequence[Any], scale: float) -> Any:
    """One value of several; see `Rows.values`."""
    if any(value is None or value != value for value in values):
        return None
    if any(isinstance(value, str) for value in values):
        return "-".join(map(str, values))
    if len(values) == 1 and scale == 1:
        return values[0]
    product = math.prod(values) * scale
    return int(product) if float(product).is_integer() else product


def _read(path: Path) -> Any:
    """A file as an Arrow table."""
    import pyarrow
    from pyarrow import csv, parquet

    if not path.exists():
        near = nearest(path.name, (each.name for each in path.parent.glob("*")))
        hint = f", did you mean {near!r}?" if near else ""
        raise InvalidInput(f"'file' is {path.name!r}, which is not in {path.parent}{hint}")
    try:
        return csv.read_csv(path) if path.suffix == ".csv" else parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise InvalidInput(f"'file' is {path.name!r}, which is no CSV or Parquet file: {error}") from error
