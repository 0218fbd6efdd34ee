"""How a table is written, and what must hold of it."""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, get_args

import numpy as np

from benchmarks.description import TRAIN_TIME, Description, InvalidTable, Metric, Split, Unit
from spaces import ProductSpace
from spaces.errors import suggest

TEXT = "text"
"""The column of the genomes."""

KEY = b"grammar-nas.table"
"""The key of the description in the metadata of the Arrow file."""

CHECKSUM = b"grammar-nas.checksum"
"""The key of the checksum there."""


def of_seed(metric: Metric, seed: int | None) -> str:
    """The column of one training run; None: of their mean."""
    return metric.name if seed is None or metric.seeds == 1 else f"{metric.name}_seed{seed}"


def curve_of(metric: Metric, seed: int) -> str:
    """The column of the curves of one training run."""
    return f"{of_seed(metric, seed)}_curve"


def write(
    path: str | Path,
    description: Description,
    columns: Mapping[str, np.ndarray],
    texts: Sequence[str] = (),
    curves: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Writes a table, whole or not at all; see `Table.write`."""
    import tempfile

    import pyarrow

    texts = _texts(description, texts)
    arrays: dict[str, Any] = {TEXT: texts, **_ends(description, columns, texts)}
    for name, values in _curves(description, curves or {}, len(texts)).items():
        arrays[name] = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(values.ravel()), values.shape[1])
    names = sum(
        metric.seeds + (metric.seeds > 1) + metric.seeds * metric.curve for metric in description.metrics
    )
    if len(arrays) != 1 + names:
        called = [metric.name for metric in description.metrics]
        raise InvalidTable(
            f"table {description.name!r}: a metric is called as the seed or the curve of another: {called}"
        )
    table = pyarrow.table(arrays).combine_chunks()
    told = json.dumps(description.to_dict())
    table = table.replace_schema_metadata({KEY: told, CHECKSUM: checksum(told, table.to_batches()[0])})
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number, made = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise InvalidTable(f"table {description.name!r} cannot be kept in {path.parent}: {error}") from error
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


def checksum(told: str, rows: Any) -> str:
    """32 hexadecimal digits of BLAKE2b over a description and what it is of, a record batch that was read or made."""
    found = blake2b(told.encode(), digest_size=16)
    for name, column in zip(rows.schema.names, rows.columns, strict=True):
        found.update(name.encode())
        column = column.values if hasattr(column, "values") else column
        for buffer in column.buffers()[1:]:
            found.update(buffer)
    return found.hexdigest()


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


def _check_names(description: Description, columns: Mapping[str, np.ndarray]) -> None:
    """Raises InvalidTable where metrics, columns and the objective do not go together, or a split is hidden."""
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
    for metric in description.metrics:
        if metric.direction not in ("min", "max"):
            raise InvalidTable(
                f"{here}: {metric.name!r} has the direction {metric.direction!r}; allowed: min, max"
            )
        if metric.split not in (None, *get_args(Split)):
            known = suggest(str(metric.split), get_args(Split))
            raise InvalidTable(f"{here}: {metric.name!r} has the split {metric.split!r}{known}")
        called = _called(metric.name)
        if called not in (None, metric.split):
            raise InvalidTable(
                f"{here}: {metric.name!r} is called as of the {called} split, but said to be of {metric.split}"
            )
        if metric.name == description.objective and metric.split == "test":
            raise InvalidTable(
                f"{here}: the objective {metric.name!r} is of the test split, which a search must not see"
            )


def _called(name: str) -> str | None:
    """The split of which the name of a metric says that it is."""
    first, *others = name.split("_")
    if first in get_args(Split):
        return None if name == TRAIN_TIME else first
    return next((word for word in others if word in ("valid", "test")), None)


def _ends(
    description: Description, columns: Mapping[str, np.ndarray], texts: Sequence[str]
) -> dict[str, np.ndarray]:
    """The values at the end of training: the mean of each metric, and each seed where there are several.

    Raises:
        InvalidTable: see `Table.write`.
    """
    _check_names(description, columns)
    here, size = f"table {description.name!r}", len(texts)
    arrays: dict[str, np.ndarray] = {}
    for metric in description.metrics:
        values = _numbers(here, metric, columns[metric.name])
        values = values[:, None] if values.ndim == 1 else values
        if metric.seeds < 1 or values.shape != (size, metric.seeds):
            raise InvalidTable(
                f"{here}: {metric.name!r} is {list(values.shape)}, but must be [{size}, {metric.seeds}]: a row for "
                "each genome, a column for each seed"
            )
        _check_values(here, metric, values)
        measured = np.isfinite(values)
        with np.errstate(invalid="ignore"):
            arrays[metric.name] = np.where(measured, values, 0.0).sum(axis=1) / measured.sum(axis=1)
        if metric.seeds > 1:
            arrays |= {of_seed(metric, k): values[:, k] for k in range(metric.seeds)}
    if TRAIN_TIME in arrays:
        times = arrays[TRAIN_TIME]
        wrong = np.flatnonzero((times < 0) | np.isnan(times) & ~np.isnan(arrays[description.objective]))
        if len(wrong):
            raise InvalidTable(
                f"{here}: {TRAIN_TIME!r} must be known, and not negative, wherever the objective is, but is "
                f"{times[wrong[0]]:g} of the genome {texts[wrong[0]]!r}"
            )
    return arrays


def _curves(description: Description, curves: Mapping[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    """The curves of each metric that has some and of each seed, [rows, amounts].

    Raises:
        InvalidTable: see `Table.write`.
    """
    here = f"table {description.name!r}"
    names = [metric.name for metric in description.metrics if metric.curve]
    if set(names) != set(curves):
        raise InvalidTable(
            f"{here}: the metrics with curves are {names}, but curves are given of {list(curves)}"
        )
    axis = description.fidelities
    if (axis is None) != (not names):
        raise InvalidTable(f"{here}: there must be fidelities where metrics have curves, and only there")
    if axis is None:
        return {}
    if axis.unit not in get_args(Unit):
        raise InvalidTable(
            f"{here}: training is counted in {axis.unit!r}{suggest(str(axis.unit), get_args(Unit))}"
        )
    ascending = all(a < b for a, b in itertools.pairwise((0, *axis.amounts)))
    if not axis.amounts or not ascending:
        raise InvalidTable(f"{here}: amounts of training must be positive and ascending, not {axis.amounts}")
    arrays: dict[str, np.ndarray] = {}
    for metric in (metric for metric in description.metrics if metric.curve):
        values = _numbers(here, metric, curves[metric.name])
        wanted = (size, metric.seeds, len(axis.amounts))
        if values.shape != wanted:
            raise InvalidTable(
                f"{here}: the curves of {metric.name!r} are {list(values.shape)}, but must be {list(wanted)}: rows, "
                "seeds and amounts of training"
            )
        _check_values(here, metric, values)
        arrays |= {curve_of(metric, k): np.ascontiguousarray(values[:, k]) for k in range(metric.seeds)}
    return arrays


def _numbers(here: str, metric: Metric, given: Any) -> np.ndarray:
    """Values of a metric as float64.

    Raises:
        InvalidTable: some are no numbers.
    """
    try:
        return np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidTable(f"{here}: {metric.name!r} holds what is no number: {error}") from None


def _check_values(here: str, metric: Metric, values: np.ndarray) -> None:
    """Raises InvalidTable where nothing was measured, or values are infinite or have no logarithm where they should."""
    if not np.isfinite(values).any() or np.isinf(values).any():
        raise InvalidTable(
            f"{here}: {metric.name!r} must be finite in some rows and NaN in all that were not measured"
        )
    if metric.log and np.nanmin(values) <= 0:
        raise InvalidTable(f"{here}: {metric.name!r} has no logarithm in a row of {np.nanmin(values):g}")
