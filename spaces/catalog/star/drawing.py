"""The graph of a backbone: LIVs, the sums of their residual branches, and what they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spaces.blocks.operators import Layer, Operator
from spaces.catalog.star.pool import FEATURIZER
from spaces.fields import Choice, Real, choice
from spaces.graph import Graph

TOKEN_MIXINGS = ("diagonal", "low_rank", "scaled_toeplitz", "semi_separable")
_NAMES = {
    "sparsity": ("none", "banded"),
    "nonlinearity": ("none", "softmax", "relu", "swish"),
    "channel_mixing": ("diagonal", "dense", "grouped"),
    "featurizer_token_mixing": TOKEN_MIXINGS,
    "featurizer_channel_mixing": ("diagonal", "dense", "grouped"),
}
_CHOICES: dict[str, Choice | Real] = {
    **{key: choice(*names) for key, names in _NAMES.items()},
    "featurizer_token_mixing": choice("diagonal", "scaled_toeplitz"),
    "expansion": choice(*FEATURIZER["expansion factor"], ordered=True),
    "repeat": choice(*FEATURIZER["repeat factor"], ordered=True),
    "differential": choice(False, True),
}
OPERATORS: Mapping[str, Mapping[str, Choice | Real]] = dict.fromkeys(TOKEN_MIXINGS, _CHOICES)
"""What stands in a graph, and the choices of each."""

PORTS = {letter: port for port, letter in enumerate("ABCKTV", start=1)}
"""The port of each letter of features that are taken; that of weights is `len(PORTS)` more. Port 0 is the input."""


def draw(layers: Sequence[Layer]) -> Graph:
    """The graph. Equal plans have equal graphs, and unequal ones unequal graphs."""
    names = ["input"]
    choices: list[Mapping[str, Any]] = [{}]
    edges: list[tuple[int, int, int]] = []
    before = 0
    places = []
    for number, layer in enumerate(layers):
        place = len(names)
        places.append(place)
        names += [TOKEN_MIXINGS[layer.operator.token_mixing - 1], "add"]
        choices += [_choices(layer.operator), {}]
        edges.append((before, place, 0))
        edges += [(places[layer.leader], place, PORTS[letter]) for letter in layer.taken]
        edges += [
            (places[owner], place, len(PORTS) + PORTS[letter])
            for letter, owner in zip(layer.weights, layer.owners, strict=True)
            if owner != number
        ]
        edges += [(before, place + 1, 0), (place, place + 1, 0)]
        before = place + 1
    edges.append((before, len(names), 0))
    sources, targets, ports = np.array(edges, dtype=np.int32).T
    return Graph((*names, "output"), (*choices, {}), sources, targets, ports)


def _choices(operator: Operator) -> dict[str, Any]:
    named = {key: names[getattr(operator, key) - 1] for key, names in _NAMES.items()}
    return {
        **named,
        "expansion": operator.expansion,
        "repeat": operator.repeat,
        "differential": operator.differential,
    }
