"""NAS-Bench-Graph: 26,206 graph networks trained on each of nine graphs (Qin et al. 2022).

A row is a genome as it may be written; all 59,049 but those of skips alone stand for one of the trained networks, with
its measurements. On proteins, only networks of four of the operators and skips were trained. Accuracies are means of
runs, as published; that of proteins is presumably the area under the curve, as the graph is used elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import numpy as np

from benchmarks.catalog.package import Package, Source, measured_on
from benchmarks.description import Description, Metric
from spaces.catalog.nasbench_graph import LINKS, OPERATORS, NASBenchGraph

PACKAGE = Package("nas-bench-graph", "1.4.0", "nas_bench_graph")

DATASETS = {
    "arxiv": (128, 40),
    "citeseer": (3703, 6),
    "computers": (767, 10),
    "cora": (1433, 7),
    "cs": (6805, 15),
    "photo": (745, 8),
    "physics": (8415, 5),
    "proteins": (8, 112),
    "pubmed": (500, 3),
}
"""Features of a node and classes, as the graphs are published."""

METRICS = (
    Metric("valid_acc", "max", "percent", split="valid"),
    Metric("test_acc", "max", "percent", split="test"),
    Metric("latency", "min", "seconds"),
    Metric("parameters", "min", "parameters"),
)

THEIRS = {
    "valid_acc": ("valid_perf", 100),
    "test_acc": ("perf", 100),
    "latency": ("latency", 1),
    "parameters": ("para", 1e6),
}
"""The name in the package, and what its values are multiplied by."""


@cache
def _digests() -> list[str]:
    """The network of each genome, by rank."""
    space = NASBenchGraph()
    return [space.unrank(rank).digest for rank in range(space.size)]


def _columns(name: str) -> Mapping[str, np.ndarray]:
    """The package's columns, spread from the networks over all genomes that are written otherwise."""
    base = len(OPERATORS) + 1
    space, digests = NASBenchGraph(), _digests()

    def columns(rows: dict[int, dict[str, Any]]) -> dict[str, np.ndarray]:
        measured = {}
        for code, row in rows.items():
            digits = []
            for _ in range(4):
                code, digit = divmod(code, base)
                digits.append(OPERATORS[digit])
            op4, op3, op2, op1 = digits
            genome = space.genome(links=LINKS[code], op1=op1, op2=op2, op3=op3, op4=op4)
            measured[genome.digest] = [scale * float(row[theirs]) for theirs, scale in THEIRS.values()]
        missing = [np.nan] * len(THEIRS)
        values = np.array([measured.get(digest, missing) for digest in digests])
        return dict(zip(THEIRS, values.T, strict=True))

    return PACKAGE.open(f"light/{name}.bench", columns)


def _source(name: str) -> Source:
    features, classes = DATASETS[name]
    description = Description(
        name=f"nasbench_graph/{name}",
        about=f"{'2,021' if name == 'proteins' else '26,206'} graph networks trained on {name}",
        space="nasbench_graph",
        io={"nodes": {"features": features, "classes": classes}},
        objective="valid_acc",
        metrics=measured_on(name, METRICS),
        source=PACKAGE.source,
        licence="Apache-2.0 (the package)",
        paper="Qin et al. 2022, NAS-Bench-Graph: Benchmarking Graph Neural Architecture Search, arXiv 2206.09166",
    )
    return Source(description, partial(_columns, name))


TABLES = {f"nasbench_graph/{name}": _source(name) for name in DATASETS}
