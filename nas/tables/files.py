"""A table from a CSV or Parquet file of measurements, which a few lines of TOML describe.

name = "mine/svm"
file = "runs.csv"                          # beside this one
space = "my_space:svm"                     # known by name, or a user's own
io = {vector = {features = 8}}
objective = "valid_error"
[fields]                                   # where a column is called otherwise than the field of the space
log_c = "C"
[metrics.valid_error]
columns = ["error_1", "error_2"]           # a training run each; default: one, called as the metric
direction = "min"
split = "valid"
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

import spaces
from benchmarks import Description, Metric, Table
from nas.options import call_options
from nas.tables.places import free
from nas.types import Direction, InvalidInput
from spaces.errors import suggest
from spaces.lookup import importable

CLOSE = 1e-6
"""By how much of itself a number may differ from a choice: files hold float32, or few digits."""


def read_file(described: str | Path, path: str | Path) -> Table:
    """Writes the table that a TOML file describes, and opens it.

    A row is a genome by the values of its fields, or, where `text` names a column, by its text. A space of ranked
    genomes gives a table of all, with those that the file does not have unmeasured; another a table of those listed.

    Args:
        described: a TOML file, see `_file` for its keys.
        path: the Arrow file, which must not exist yet.

    Raises:
        InvalidInput: a key, column, value or genome is wrong; the message tells where.
        InvalidTable: the table contradicts itself, or cannot be written.
    """
    described, path = Path(described), free(path)
    try:
        keys = tomllib.loads(described.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"{described}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InvalidInput(f"{described}: not valid TOML: {error}") from None
    importable(described.parent)
    try:
        description, columns, texts = _file(
            described.parent, **call_options(_file, keys, "", given=("folder",))
        )
    except InvalidInput as error:
        raise InvalidInput(f"{described}: {error}") from None
    Table.write(path, description, columns, texts)
    return Table(path)


def _file(
    folder: Path,
    name: str,
    file: str,
    space: str,
    io: dict[str, dict[str, int]],
    objective: str,
    metrics: dict[str, dict[str, Any]],
    about: str = "",
    source: str = "",
    licence: str = "",
    paper: str = "",
    options: dict[str, Any] | None = None,
    text: str | None = None,
    fields: dict[str, str] | None = None,
    where: dict[str, Any] | None = None,
    repeats: bool = False,
) -> tuple[Description, dict[str, np.ndarray], Sequence[str]]:
    """The description, the columns and the texts of a table; the parameters are the keys of the TOML file.

    Args:
        folder: where `file` is looked for.
        options: limits and other options of the space.
        text: the column of the genomes' texts; without it, `fields` says the columns of fields called otherwise.
        where: values of columns by which rows are chosen.
        repeats: several rows may hold one genome, and are training runs of it, in their order.
    """
    found = _File(folder / file, where or {})
    told: dict[str, Metric] = {}
    measured: dict[str, np.ndarray] = {}
    for metric, given in metrics.items():
        key = f"metrics.{metric}"
        told[metric], names, scale = _metric(metric, **call_options(_metric, given, key, ("name",)))
        measured[metric] = scale * np.stack([found.numbers(f"{key}.columns", each) for each in names], axis=1)
    description = Description(
        name, about, space, io, objective, (), source, licence, paper, options or {}, True
    )
    bound = description.load_space()
    genomes = _genomes(found, bound, text, fields or {})
    runs: dict[str, list[int]] = {}
    for number, genome in enumerate(genomes):
        runs.setdefault(genome.text, []).append(number)
    most = max(map(len, runs.values()))
    if most > 1 and not repeats:
        first, second = next(numbers for numbers in runs.values() if len(numbers) > 1)[:2]
        raise InvalidInput(
            f"{found.place(first)} and {found.place(second)} are one genome; if they are training runs of it, say "
            "'repeats = true'"
        )
    texts = sorted(runs)
    if ranked := isinstance(bound, spaces.ProductSpace):
        texts = [bound.unrank(rank).text for rank in range(bound.size)]
    places = [runs.get(each, []) for each in texts]
    columns = {metric: _spread(values, places, most) for metric, values in measured.items()}
    described = tuple(
        dataclasses.replace(metric, seeds=columns[metric.name].shape[1]) for metric in told.values()
    )
    description = dataclasses.replace(description, metrics=described, listed=not ranked)
    return description, columns, () if ranked else texts


def _genomes(
    found: _File, space: spaces.Space, text: str | None, fields: Mapping[str, str]
) -> list[spaces.Genome]:
    """The genome of each row, by its text or the values of its fields.

    Raises:
        InvalidInput: a row holds no genome of the space, or the space has no fields.
    """
    if text is not None:
        genomes = []
        for number, written in enumerate(found.column("text", text)):
            try:
                genomes.append(space.parse(str(written)))
            except spaces.InvalidGenome as error:
                raise InvalidInput(f"{found.place(number)}: {error}") from None
        return genomes
    if not isinstance(space, spaces.ProductSpace):
        raise InvalidInput(
            f"missing key 'text': genomes of {space.name!r} have no fields that could be columns"
        )
    for key in fields:
        if key not in space.fields:
            raise InvalidInput(f"unknown key 'fields.{key}'{suggest(key, space.fields)}")
    columns = []
    for key, choice in space.fields.items():
        values = found.column(f"fields.{key}", fields.get(key, key))
        columns.append(
            [_choice(key, choice.values, value, found, number) for number, value in enumerate(values)]
        )
    return [
        space.genome(**dict(zip(space.fields, values, strict=True))) for values in zip(*columns, strict=True)
    ]


def _choice(key: str, allowed: Sequence[Any], value: Any, found: _File, number: int) -> Any:
    """The choice that a value of a file is, or all but is."""
    for choice in allowed:
        if choice == value and isinstance(choice, bool) == isinstance(value, bool):
            return choice
    if isinstance(value, float):
        for choice in allowed:
            if isinstance(choice, int | float) and math.isclose(choice, value, rel_tol=CLOSE):
                return choice
    raise InvalidInput(
        f"{found.place(number)}: {key} = {value!r}{suggest(str(value), list(map(str, allowed)))}"
    )


def _spread(values: np.ndarray, runs: Sequence[Sequence[int]], most: int) -> np.ndarray:
    """Measurements [rows of the file, columns] as those of each genome, [rows, most * columns]; NaN where none is."""
    spread = np.full((len(runs), most, values.shape[1]), np.nan)
    for place, numbers in enumerate(runs):
        spread[place, : len(numbers)] = values[list(numbers)]
    return spread.reshape(len(runs), -1)


def _metric(
    name: str,
    direction: Direction,
    columns: tuple[str, ...] | None = None,
    unit: str = "",
    split: Literal["train", "valid", "test"] | None = None,
    log: bool = False,
    scale: float = 1.0,
) -> tuple[Metric, Sequence[str], float]:
    """A metric, the columns of its training runs, and what their values are multiplied by."""
    return Metric(name, direction, unit, split, log=log), columns or (name,), scale


class _File:
    """The chosen rows of a CSV or Parquet file.

    Raises:
        InvalidInput: it cannot be read as one, or no row is chosen.
    """

    def __init__(self, path: Path, where: Mapping[str, Any]) -> None:
        import pyarrow
        from pyarrow import csv, parquet

        self.name = path.name
        try:
            self._rows = csv.read_csv(path) if path.suffix == ".csv" else parquet.read_table(path)
        except (OSError, pyarrow.ArrowException) as error:
            raise InvalidInput(
                f"'file' is {self.name!r}, which is no CSV or Parquet file: {error}"
            ) from error
        self._lines = np.arange(self._rows.num_rows)
        chosen = np.ones(len(self._lines), dtype=bool)
        for key, value in where.items():
            chosen &= [found == value for found in self.column(f"where.{key}", key)]
        self._lines = np.flatnonzero(chosen)
        if not len(self._lines):
            raise InvalidInput(
                f"'where' chooses no row of {self.name}" if where else f"{self.name} has no rows"
            )

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
        return self._rows[name].take(self._lines).to_pylist()

    def numbers(self, key: str, name: str) -> np.ndarray:
        """The values of a column of numbers; NaN where there is none."""
        values = self.column(key, name)
        try:
            return np.array([math.nan if value is None else float(value) for value in values])
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"{self.name}: column {name!r} holds what is no number: {error}") from None
