"""Perceptrons: linear layers with an activation and dropout after each but the last."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}


class Perceptron(nn.Sequential):
    """Layers of (units, activation, share of units dropped) from [N, features] to [N, outputs]."""

    def __init__(self, features: int, layers: Iterable[tuple[int, str, float]], outputs: int) -> None:
        modules: list[nn.Module] = []
        for units, activation, dropout in layers:
            modules += [nn.Linear(features, units), ACTIVATIONS[activation](), nn.Dropout(dropout)]
            features = units
        super().__init__(*modules, nn.Linear(features, outputs))
