"""Tabular benchmarks: what real training runs measured, as one table for each task, queried in microseconds.

`import benchmarks` and queries load numpy and pyarrow, and nothing of torch, ray, networkx or rich.
"""

from __future__ import annotations

from benchmarks.catalog import TABLES, load
from benchmarks.description import Description, InvalidTable, Metric
from benchmarks.table import Table

__all__ = ["TABLES", "Description", "InvalidTable", "Metric", "Table", "load"]
