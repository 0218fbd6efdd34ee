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

Files of published studies are described so in `formats/`; `read_file` takes their names.
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
from nas.tables import hpob, nats
from nas.tables.places import free
from nas.tables.rows import Rows
from nas.tables.runs import Runs, runs_along
from nas.types import Direction, InvalidInput
from spaces.errors import suggest
from spaces.lookup import importable, resolve

CLOSE = 1e-6
"""By how much of itself a number may differ from a choice: files hold float32, or few digits."""

FORMATS = {path.stem: path for path in sorted((Path(__file__).parent / "formats").glob("*.toml"))}
"""The descriptions of files of published studies, by name."""


OFFICIAL = {"hpob": hpob.read, "nats-topology": nats.read_topology, "nats-size": nats.read_size}
"""Files of benchmarks that are no tables of rows: each a function of the file and of the part of it that is wanted."""


def read_file(described: str | Path, path: str | Path, file: str | Path | None = None) -> Table:
    """Writes the table that a TOML file describes, and opens it.

    A row is a genome by the values of its fields, or, where `text` names a column, by its text. A space of ranked
    genomes gives a table of all, with those that the file does not have unmeasured; another a table of those listed.

    Args:
        described: a TOML file, see `_file` for its keys; the name of one of `FORMATS`; or one of `OFFICIAL` with the
            part of the file, as "nats-topology:cifar10".
        path: the Arrow file, which must not exist yet.
        file: the measurements; default: where the TOML file says.

    Raises:
        InvalidInput: a key, column, value or genome is wrong; the message tells where.
        InvalidTable: the table contradicts itself, or cannot be written.
    """
    path, name = free(path), str(described)
    official, colon, part = name.partition(":")
    if official in OFFICIAL and file is not None:
        if not colon:
            example = "5971/10093" if name == "hpob" else "cifar10"
            raise InvalidInput(f"format {name!r} lacks the part of the file, as in '{name}:{example}'")
        Table.write(path, *OFFICIAL[official](Path(file), part))
        return Table(path)
    if name not in FORMATS and not name.endswith(".toml"):
        known = [*FORMATS, *OFFICIAL]
        raise InvalidInput(f"unknown format {name!r}{suggest(official, known)}, or a TOML file")
    described = FORMATS.get(name, Path(described))
    keys = keys_of(described)
    importable(described.parent)
    folder = described.parent
    if file is not None:
        folder, keys["file"] = Path(file).parent, Path(file).name
    try:
        made = _file(folder, **call_options(_file, keys, "", given=("folder",)))
    except InvalidInput as error:
        raise InvalidInput(f"{name}: {error}") from None
    Table.write(path, *made)
    return Table(path)


def keys_of(described: Path) -> dict[str, Any]:
    """What a TOML file says.

    Raises:
        InvalidInput: it cannot be read.
    """
    try:
        return tomllib.loads(described.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"{described}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InvalidInput(f"{described}: not valid TOML: {error}") from None


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
    fields: dict[str, str | dict[str, Any]] | None = None,
    where: dict[str, Any] | None = None,
    join: dict[str, Any] | None = None,
    explode: dict[str, Any] | None = None,
    melt: dict[str, Any] | None = None,
    along: dict[str, Any] | None = None,
    repeats: bool = False,
) -> tuple[Description, dict[str, np.ndarray], Sequence[str], dict[str, np.ndarray]]:
    """The description, the columns, the texts and the curves of a table; the parameters are the keys of the TOML file.

    Args:
        folder: where `file` is looked for.
        options: limits and other options of the space. Where the space has a `schema` (language models have), they are
            the values that the file has of those fields of it that `fields` tells.
        metrics: by name, see `_metric`; `columns` has one for each training run, or a list whose product it is, as
            [["steps", "seconds_per_step"]].
        text: the column of the genomes' texts; without it, `fields` says the columns of fields called otherwise:
            "column", or {columns = ["a", "b"], scale = 2.0}, a product, or {value = 3}.
        where: values of columns by which rows are chosen.
        join: {file = "curves.csv", on = "run"}: a row for each of that file, with the columns of both.
        explode: {lists = ["losses"], place = "epoch"}: a row for each item of columns of lists.
        melt: {place = "epoch", at = {12 = {loss = "loss_12"}, 200 = {loss = "loss_200"}}}: a row for each of columns
            side by side.
        along: {column = "step", unit = "steps"}: rows are of training as it went on, see `runs_along` for more; metrics
            with `curve = true` have curves, and the last row of a run says how it ended.
        repeats: several rows (or, with `along`, runs) may hold one genome, and are training runs of it, in their order.
    """
    found = Rows(folder / file, where or {})
    if join is not None:
        keys = call_options(_joined, join, "join", ("folder",))
        found.join(*_joined(folder, **keys))
    if explode is not None:
        found.explode(**call_options(found.explode, explode, "explode"))
    if melt is not None:
        found.melt(**call_options(found.melt, melt, "melt"))
    told: dict[str, Metric] = {}
    measured: dict[str, np.ndarray] = {}
    for metric, given in metrics.items():
        key = f"metrics.{metric}"
        told[metric], names, scale = _metric(metric, **call_options(_metric, given, key, ("name",)))
        measured[metric] = scale * np.stack(
            [_numbers(found, f"{key}.columns", each) for each in names], axis=1
        )
    description = Description(
        name, about, space, io, objective, (), source, licence, paper, options or {}, True
    )
    cells = _cells(found, description, text, fields or {})
    runs = _runs(found, [*zip(*cells.values(), strict=True)], along)
    first = [rows[0] for rows in runs.rows]
    if schema := _schema(space):
        values = {key: [*dict.fromkeys(column[row] for row in first)] for key, column in cells.items()}
        description = dataclasses.replace(description, options={"values": values})
    bound = description.load_space()
    of: dict[str, list[int]] = {}
    for run, row in enumerate(first):
        of.setdefault(_genome(found, bound, text, cells, row), []).append(run)
    most = max(map(len, of.values()))
    if most > 1 and not repeats:
        one, two = next(same for same in of.values() if len(same) > 1)[:2]
        raise InvalidInput(
            f"{found.place(first[one])} and {found.place(first[two])} are one genome; if they are training runs of it, "
            "say 'repeats = true'"
        )
    texts = sorted(of)
    if ranked := isinstance(bound, spaces.ProductSpace) and not schema:
        texts = [bound.unrank(rank).text for rank in range(bound.size)]
    places = [of.get(each, []) for each in texts]
    columns = {metric: _spread(runs.ends(values), places, most) for metric, values in measured.items()}
    curves = {
        metric: _spread(runs.curves(values), places, most)
        for metric, values in measured.items()
        if told[metric].curve and runs.axis is not None
    }
    description = dataclasses.replace(
        description,
        metrics=tuple(dataclasses.replace(each, seeds=columns[each.name].shape[1]) for each in told.values()),
        listed=not ranked,
        fidelities=runs.axis if curves else None,
    )
    return description, columns, () if ranked else texts, curves


def _joined(folder: Path, file: str, on: str) -> tuple[Path, str]:
    """A second file, and the column that says which of its rows go with which of the first."""
    return folder / file, on


def _runs(found: Rows, genomes: Sequence[Any], along: Mapping[str, Any] | None) -> Runs:
    """The training runs of a file: its rows, or what they tell together."""
    if along is None:
        return Runs([[row] for row in range(len(found))])
    return runs_along(found, genomes, **call_options(runs_along, along, "along", ("found", "genomes")))


def _cells(
    found: Rows, description: Description, text: str | None, fields: Mapping[str, str | Mapping[str, Any]]
) -> dict[str, list[Any]]:
    """What each row says of its genome: its text, or a value for each field.

    Raises:
        InvalidInput: the space has no fields, a field is unknown, or a column is missing.
    """
    if text is not None:
        return {"text": found.column("text", text)}
    if schema := _schema(description.space):
        known: Sequence[str] = [*schema]
        asked = [key for key in known if key in fields]
    else:
        space = description.load_space()
        if not isinstance(space, spaces.ProductSpace):
            raise InvalidInput(
                f"missing key 'text': genomes of {space.name!r} have no fields that could be columns"
            )
        known = asked = [*space.fields]
    for key in fields:
        if key not in known:
            raise InvalidInput(f"unknown key 'fields.{key}'{suggest(key, known)}")
    cells = {}
    for key in asked:
        given = fields.get(key, key)
        spec = {"columns": [given]} if isinstance(given, str) else given
        columns, scale, value = _field(**call_options(_field, spec, f"fields.{key}"))
        cells[key] = found.values(f"fields.{key}", columns, scale) if columns else [value] * len(found)
    return cells


def _schema(space: str) -> Mapping[str, str]:
    """The fields that the genomes of a space may have, whose values are those of each file; nothing of other spaces."""
    schema: Mapping[str, str] = getattr(
        resolve(space, spaces.SPACES, "space", spaces.InvalidSpace), "schema", {}
    )
    return schema


def _field(
    columns: tuple[str, ...] = (), scale: float = 1.0, value: bool | int | float | str | None = None
) -> tuple[tuple[str, ...], float, Any]:
    """The columns whose product a field is, times a scale; or its value in all rows."""
    return columns, scale, value


def _genome(
    found: Rows, space: spaces.Space, text: str | None, cells: Mapping[str, Sequence[Any]], row: int
) -> str:
    """The text of the genome of a row.

    Raises:
        InvalidInput: it holds none.
    """
    try:
        if text is not None:
            return space.parse(str(cells["text"][row])).text
        assert isinstance(space, spaces.ProductSpace)
        values = {
            key: _choice(key, choice.values, cells[key][row], found, row)
            for key, choice in space.fields.items()
        }
        return space.genome(**values).text
    except spaces.InvalidGenome as error:
        raise InvalidInput(f"{found.place(row)}: {error}") from None


def _choice(key: str, allowed: Sequence[Any], value: Any, found: Rows, row: int) -> Any:
    """The choice that a value of a file is, or all but is."""
    for choice in allowed:
        if choice == value and isinstance(choice, bool) == isinstance(value, bool):
            return choice
    if isinstance(value, float):
        for choice in allowed:
            if isinstance(choice, int | float) and math.isclose(choice, value, rel_tol=CLOSE):
                return choice
    raise InvalidInput(f"{found.place(row)}: {key} = {value!r}{suggest(str(value), list(map(str, allowed)))}")


def _spread(values: np.ndarray, runs: Sequence[Sequence[int]], most: int) -> np.ndarray:
    """Measurements [runs, columns, ...] as those of each genome, [rows, most * columns, ...]; NaN where none is."""
    spread = np.full((len(runs), most, *values.shape[1:]), np.nan)
    for place, numbers in enumerate(runs):
        spread[place, : len(numbers)] = values[list(numbers)]
    return spread.reshape(len(runs), -1, *values.shape[2:])


def _metric(
    name: str,
    direction: Direction,
    columns: tuple[str | tuple[str, ...], ...] | None = None,
    unit: str = "",
    split: Literal["train", "valid", "test"] | None = None,
    data: str = "",
    log: bool = False,
    scale: float = 1.0,
    curve: bool = False,
) -> tuple[Metric, Sequence[str | Sequence[str]], float]:
    """A metric, for each of its training runs a column or those whose product it is, and a factor."""
    return Metric(name, direction, unit, split, log=log, curve=curve, data=data), columns or (name,), scale


def _numbers(found: Rows, key: str, names: str | Sequence[str]) -> np.ndarray:
    """The numbers of a column, or the products of several, [rows]."""
    factors = [found.numbers(key, name) for name in ([names] if isinstance(names, str) else names)]
    return np.prod(factors, axis=0) if factors else np.full(len(found), math.nan)
