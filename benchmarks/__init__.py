"""Tabular benchmarks: what real training runs measured, as one table for each task, queried in microseconds.

`import benchmarks` and queries load numpy and pyarrow, and nothing of torch, ray, networkx or rich.
"""

from __future__ import annotations

from benchmarks.catalog import TABLES, load
from benchmarks.description import Description, Fidelities, InvalidTable, Metric
from benchmarks.measured import Curve
from benchmarks.stacking import check_comparable, stack
from benchmarks.table import Table

__all__ = [
    "TABLES",
    "Curve",
    "Description",
    "Fidelities",
    "InvalidTable",
    "Metric",
    "Table",
    "check_comparable",
    "load",
    "stack",
]
