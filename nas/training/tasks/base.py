"""What a training task is: data, a loss to train on, and metrics of a trained model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from nas.types import Direction, Split
from spaces.io import IO


class Task(Protocol):
    """Data and how to learn from it.

    A task is pickled to each worker once, with its data as numpy arrays, and only read from then on.
    """

    metrics: Mapping[str, Direction]
    """What `evaluate` measures on the validation split, and which way each is better, e.g. {"valid_bpb": "min"}."""
    units: Mapping[str, str] = {}
    """What each of these is told in, where it has a unit, e.g. {"valid_bpb": "bits per byte"}."""
    tokens_per_step: int
    """Tokens (or samples, where there are no tokens) that one optimiser step learns from."""
    steps_per_epoch: int | None = None
    """Optimiser steps in one pass over the training split; None: the task has no epochs."""
    tokens_per_validation: int | None = None
    """Tokens (or samples) that `evaluate` reads of the validation split; None: a dry run validates to find out."""

    fingerprint: str
    """Changes with the data, so that a campaign never goes on with other data than it began with."""

    def io(self, width: int) -> IO:
        """The input and output that a space must be bound to, with a residual stream of `width` features."""

    def train_batches(self, seed: int) -> Iterator[Any]:
        """Batches of the training split on the CPU, without end; equal seeds give equal batches."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """The loss to minimise, mean nats over the batch, float32; moves the batch to the model's device."""

    def evaluate(self, model: nn.Module, split: Split) -> dict[str, float]:
        """The metrics on a held-out split, names prefixed by it; the same data for every model."""
