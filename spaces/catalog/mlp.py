"""Two-layer perceptrons with their training: the grid of FCNet (Klein and Hutter 2019, arXiv 1905.04970).

62,208 joint choices of an architecture and of how it is trained, named as in the benchmark. Training is part of the
genome, so the graph ends in a node for it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spaces.cost import Cost
from spaces.errors import InvalidSpace
from spaces.fields import Choice, Real, choice
from spaces.genome import Genome
from spaces.graph import Graph
from spaces.io import IO, VectorIO, vector
from spaces.product import ProductSpace, chain

if TYPE_CHECKING:
    from torch import nn

UNITS = (16, 32, 64, 128, 256, 512)
DROPOUT = (0.0, 0.3, 0.6)

FIELDS: Mapping[str, Choice] = {
    "activation_fn_1": choice("relu", "tanh"),
    "activation_fn_2": choice("relu", "tanh"),
    "batch_size": choice(8, 16, 32, 64, ordered=True),
    "dropout_1": choice(*DROPOUT, ordered=True),
    "dropout_2": choice(*DROPOUT, ordered=True),
    "init_lr": choice(0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, ordered=True),
    "lr_schedule": choice("cosine", "const"),
    "n_units_1": choice(*UNITS, ordered=True),
    "n_units_2": choice(*UNITS, ordered=True),
}

NODES = {
    "hidden_1": ("n_units_1", "activation_fn_1", "dropout_1"),
    "hidden_2": ("n_units_2", "activation_fn_2", "dropout_2"),
    "training": ("batch_size", "init_lr", "lr_schedule"),
}
"""The nodes of the graph, and the fields of each."""


class MLP(ProductSpace):
    """The space of perceptrons and their training.

    Raises:
        InvalidSpace: the input and output are not vectors.
    """

    training = NODES["training"]
    """The fields that say how a genome is trained, which only the table follows."""

    def __init__(self, io: IO | None = None) -> None:
        io = vector(features=9) if io is None else io
        if not isinstance(io, VectorIO):
            raise InvalidSpace(f"space 'mlp' reads vectors, but it was given {io}")
        super().__init__("mlp", FIELDS, io)
        self.io: VectorIO = io

    def __reduce__(self) -> tuple[type[MLP], tuple[IO]]:
        return MLP, (self.io,)

    @property
    def operators(self) -> dict[str, dict[str, Choice | Real]]:
        return {node: {key: self.fields[key] for key in keys} for node, keys in NODES.items()}

    def at(self, io: IO) -> MLP:
        return MLP(io)

    def graph(self, genome: Genome) -> Graph:
        values = self.values(genome)
        return chain([(node, {key: values[key] for key in keys}) for node, keys in NODES.items()])

    def cost(self, genome: Genome, context: int | None = None) -> Cost:
        """The parameters, and the FLOPs of one sample."""
        values = self.values(genome)
        sizes: list[Any] = [self.io.features, values["n_units_1"], values["n_units_2"], self.io.outputs]
        weights = sum(a * b for a, b in itertools.pairwise(sizes))
        parameters = weights + sum(sizes[1:])
        return Cost(parameters, parameters, 2 * weights, 0)

    def build(self, genome: Genome) -> nn.Module:
        from spaces.networks.perceptron import Perceptron

        values = self.values(genome)
        layers = [tuple(values[key] for key in NODES[node]) for node in ("hidden_1", "hidden_2")]
        return Perceptron(self.io.features, layers, self.io.outputs)
