"""A table of random numbers over the cells of NAS-Bench-201."""

import dataclasses

import numpy as np

from benchmarks import Description, Fidelities, Metric

ROWS = 15_625

DESCRIPTION = Description(
    name="made-up/cells",
    about="cells that nobody trained",
    space="nasbench201",
    io={"image": {"channels": 1, "height": 4, "width": 4, "classes": 2}},
    objective="valid_acc",
    metrics=(
        Metric("valid_acc", "max", "percent", split="valid", seeds=2),
        Metric("test_acc", "max", "percent", split="test"),
        Metric("loss", "min", "nats", split="valid", log=True),
        Metric("train_time", "min", "seconds"),
    ),
    source="made up 1",
    licence="none",
    paper="none",
)


def columns(size=ROWS):
    rng = np.random.default_rng(0)
    accuracy = rng.uniform(0, 100, (size, 2))
    accuracy[::7, 1] = np.nan
    accuracy[::91] = np.nan
    return {
        "valid_acc": accuracy,
        "test_acc": rng.uniform(0, 100, size),
        "loss": 10 ** rng.uniform(-3, 3, size),
        "train_time": rng.uniform(1, 100, size),
    }


AMOUNTS = (1, 12, 200)

CURVED = dataclasses.replace(
    DESCRIPTION,
    name="made-up/curves",
    metrics=tuple(
        dataclasses.replace(metric, curve=metric.name in ("valid_acc", "train_loss"))
        for metric in (*DESCRIPTION.metrics, Metric("train_loss", "min", "nats", split="train"))
    ),
    fidelities=Fidelities("epochs", AMOUNTS),
)


def curves(size=ROWS):
    """Accuracies that end where `columns` says, and losses that some rows have for a part of their training."""
    ends = columns(size)["valid_acc"]
    losses = np.random.default_rng(1).uniform(1, 2, (size, 1, len(AMOUNTS)))
    losses[::13, :, 1:] = np.nan
    return {"valid_acc": np.stack([ends / 4, ends / 2, ends], axis=2), "train_loss": losses}


def curved_columns(size=ROWS):
    return {**columns(size), "train_loss": np.random.default_rng(2).uniform(1, 2, size)}
