"""Perceptrons with their training: the grid of HPOBench (Eggensperger et al. 2021, arXiv 2109.06716).

30,000 joint choices of depth, width, and how a perceptron is trained, named as in the benchmark. Training is part of
the genome, so the graph ends in a node for it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING

from spaces.cost import Cost
from spaces.errors import InvalidSpace
from spaces.fields import Choice, Real, choice
from spaces.genome import Genome
from spaces.graph import Graph
from spaces.io import IO, VectorIO, vector
from spaces.product import ProductSpace, chain

if TYPE_CHECKING:
    from torch import nn

# In single precision, as the benchmark's own configurations.
SMALL_ALPHA = (1e-8, 7.742637e-8, 5.994842e-7, 4.641589e-6, 3.5938137e-5)
ALPHA = (*SMALL_ALPHA, 2.7825593e-4, 2.1544348e-3, 1.6681006e-2, 1.2915497e-1, 1.0)
SMALL_RATE = (1e-5, 3.5938137e-5, 1.2915497e-4, 4.641589e-4, 1.6681006e-3)
LEARNING_RATE = (*SMALL_RATE, 5.9948424e-3, 2.1544347e-2, 7.742637e-2, 2.7825594e-1, 1.0)

FIELDS: Mapping[str, Choice] = {
    "alpha": choice(*ALPHA, ordered=True),
    "batch_size": choice(4, 6, 10, 16, 25, 40, 64, 101, 161, 256, ordered=True),
    "depth": choice(1, 2, 3, ordered=True),
    "learning_rate_init": choice(*LEARNING_RATE, ordered=True),
    "width": choice(16, 25, 40, 64, 101, 161, 256, 406, 645, 1024, ordered=True),
}


class HPOBenchMLP(ProductSpace):
    """The space of perceptrons of equal layers and their training.

    Raises:
        InvalidSpace: the input and output are not vectors.
    """

    training = ("alpha", "batch_size", "learning_rate_init")
    """The fields that say how a genome is trained, which only the tables follow."""

    def __init__(self, io: IO | None = None) -> None:
        io = vector(features=14, outputs=2) if io is None else io
        if not isinstance(io, VectorIO):
            raise InvalidSpace(f"space 'hpobench_mlp' reads vectors, but it was given {io}")
        super().__init__("hpobench_mlp", FIELDS, io)
        self.io: VectorIO = io

    def __reduce__(self) -> tuple[type[HPOBenchMLP], tuple[IO]]:
        return HPOBenchMLP, (self.io,)

    @property
    def operators(self) -> dict[str, dict[str, Choice | Real]]:
        return {
            "hidden": {"width": FIELDS["width"]},
            "training": {key: FIELDS[key] for key in self.training},
        }

    def at(self, io: IO) -> HPOBenchMLP:
        return HPOBenchMLP(io)

    def graph(self, genome: Genome) -> Graph:
        values = self.values(genome)
        layers = [("hidden", {"width": values["width"]})] * values["depth"]
        return chain([*layers, ("training", {key: values[key] for key in self.training})])

    def cost(self, genome: Genome, context: int | None = None) -> Cost:
        """The parameters, and the FLOPs of one sample."""
        values = self.values(genome)
        sizes = [self.io.features, *[values["width"]] * values["depth"], self.io.outputs]
        weights = sum(a * b for a, b in itertools.pairwise(sizes))
        parameters = weights + sum(sizes[1:])
        return Cost(parameters, parameters, 2 * weights, 0)

    def build(self, genome: Genome) -> nn.Module:
        from spaces.networks.perceptron import Perceptron

        values = self.values(genome)
        return Perceptron(
            self.io.features, [(values["width"], "relu", 0.0)] * values["depth"], self.io.outputs
        )
