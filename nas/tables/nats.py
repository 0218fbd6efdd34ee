"""NATS-Bench and NAS-Bench-201 (Dong et al. 2021, arXiv 2009.00437; Dong and Yang 2020) as their authors publish them.

A file holds all cells ("meta_archs") and for each ("arch2infos", by its number) and each schedule ("12", "200", ...; in
NAS-Bench-201 "less" and "full") the runs on each data set. It is a pickle packed with bzip2, of NATS-Bench also a
folder with a pickle for each cell ("NATS-...-simple"), of NAS-Bench-201 a file of torch. Only plain values are opened.
Written after the published structure, and not tried on the files themselves, which could not be had.
"""

from __future__ import annotations

import bz2
import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import Description, Fidelities, Metric
from benchmarks.plain import PlainUnpickler
from nas.types import Direction, InvalidInput
from spaces.errors import suggest

ABOUT = "cells or widths on one image set: cifar10, cifar100 or imagenet16-120"
SOURCE = "NATS-Bench"
PAPER = "Dong et al. 2021, NATS-Bench: Benchmarking NAS Algorithms for Architecture Topology and Size, arXiv 2009.00437"

DATASETS = {
    "cifar10": (("cifar10-valid", "x-valid"), ("cifar10", "ori-test"), 32, 10),
    "cifar100": (("cifar100", "x-valid"), ("cifar100", "x-test"), 32, 100),
    "imagenet16-120": (("ImageNet16-120", "x-valid"), ("ImageNet16-120", "x-test"), 16, 120),
}
"""Where runs were validated, and tested, as the files call it; height and width, and classes."""

Rows = tuple[Description, dict[str, np.ndarray], Sequence[str], dict[str, np.ndarray]]


def read_topology(path: Path, part: str) -> Rows:
    """What a table of cells is written of, from a file of NATS-Bench's topology space or of NAS-Bench-201."""
    return _read(path, part, "nasbench201")


def read_size(path: Path, part: str) -> Rows:
    """What a table of widths is written of, from a file of NATS-Bench's size space."""
    return _read(path, part, "nats_size")


def _read(path: Path, part: str, space: str) -> Rows:
    """The accuracies, times and sizes of all runs on one image set, each schedule a fidelity of its own.

    Raises:
        InvalidInput: the image set is unknown, or the file is not as published.
    """
    if part not in DATASETS:
        raise InvalidInput(f"unknown image set {part!r}{suggest(part, DATASETS)}")
    validated, tested, side, classes = DATASETS[part]
    description = Description(
        name=f"{'nats-topology' if space == 'nasbench201' else 'nats-size'}/{part}",
        about=f"{'cells' if space == 'nasbench201' else 'widths'} trained on {part}, by several schedules",
        space=space,
        io={"image": {"channels": 3, "height": side, "width": side, "classes": classes}},
        objective="valid_acc",
        metrics=(),
        source=f"{SOURCE}, {path.name}",
        licence="MIT",
        paper=PAPER,
    )
    bound: Any = description.load_space()
    found: dict[str, dict[tuple[int, int, int], float]] = {}
    try:
        for text, runs in _cells(path):
            rank = bound.rank(bound.parse(text))
            for metric, run, epochs, value in _measured(runs, validated, tested):
                found.setdefault(metric, {})[rank, run, epochs] = value
    except FileNotFoundError as error:
        raise InvalidInput(f"there is no file {error.filename}") from error
    except (
        OSError,
        EOFError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        pickle.UnpicklingError,
    ) as error:
        raise InvalidInput(f"{path} is not as published: {type(error).__name__}: {error}") from error
    if "valid_acc" not in found:
        raise InvalidInput(f"{path} has no run on {part} with a validation")
    amounts = sorted({epochs for _, _, epochs in found["valid_acc"]})
    units = {
        "valid_acc": "percent",
        "test_acc": "percent",
        "train_time": "seconds",
        "parameters": "parameters",
    }
    metrics, columns, curves = [], {}, {}
    for name in (name for name in (*units, "latency") if name in found):
        once = name in ("parameters", "latency")
        seeds = 1 if once else 1 + max(run for _, run, _ in found[name])
        values = np.full((bound.size, seeds, len(amounts)), np.nan)
        for (rank, run, epochs), value in found[name].items():
            if epochs in amounts and run < seeds:
                values[rank, run, amounts.index(epochs)] = value
        split: Any = name.partition("_")[0] if name.endswith("_acc") else None
        better: Direction = "max" if name.endswith("_acc") else "min"
        data = part if split else ""
        along = not once and len(amounts) > 1
        metrics.append(Metric(name, better, units.get(name, "seconds"), split, seeds, curve=along, data=data))
        columns[name] = values[:, :, -1]
        if along:
            curves[name] = values
    axis = Fidelities("epochs", tuple(amounts), resumable=False) if curves else None
    return replace(description, metrics=tuple(metrics), fidelities=axis), columns, (), curves


def _measured(
    runs: Mapping[str, Any], validated: tuple[str, str], tested: tuple[str, str]
) -> Iterator[tuple[str, int, int, float]]:
    """Metric, place of the run, epochs of its schedule and value, of all runs of a cell."""
    for state in runs.values():
        results, seeds = state["all_results"], state["dataset_seed"]
        for metric, (data, split) in (("valid_acc", validated), ("test_acc", tested)):
            for run, seed in enumerate(sorted(seeds.get(data, ()))):
                result = results[data, seed]
                epochs = int(result["epochs"])
                last = f"{split}@{epochs - 1}"
                if last in result["eval_acc1es"]:
                    yield metric, run, epochs, float(result["eval_acc1es"][last])
                if metric == "valid_acc":
                    if result["train_times"]:
                        yield "train_time", run, epochs, float(sum(result["train_times"].values()))
                    yield "parameters", 0, epochs, round(1e6 * float(result["params"]))
                    if result["latency"] and min(result["latency"]) > 0:
                        yield "latency", 0, epochs, float(np.mean(result["latency"]))


def _cells(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The text of each cell and its runs by schedule."""
    if path.is_dir():
        texts = _unpacked(path / "meta.pickle.pbz2")["meta_archs"]
        for number, text in enumerate(texts):
            cell = path / f"{number:06d}.pickle.pbz2"
            if cell.exists():
                yield text, _unpacked(cell)
        return
    found = _torch(path) if path.suffix == ".pth" else _unpacked(path)
    for number, runs in found["arch2infos"].items():
        yield found["meta_archs"][number], runs


def _unpacked(path: Path) -> Any:
    with bz2.open(path) as file:
        return PlainUnpickler(file).load()


def _torch(path: Path) -> Any:
    """A file of torch, of which weights and plain values alone are opened."""
    import torch

    return torch.load(path, map_location="cpu", weights_only=True)
