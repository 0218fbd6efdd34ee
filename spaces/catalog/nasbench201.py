"""The NAS-Bench-201 cell (Dong and Yang 2020, arXiv 2001.00326): 15,625 cells of four nodes, in a fixed network.

Genomes are written as the benchmark writes them, "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|...|": one group for
each node but the first, in it one operator for each earlier node, whose number stands after "~". Equal digests compute
equal functions: dead edges and zeros are cut, identities spliced, sums sorted; 5,425 networks are left of 15,625. Two
poolings of one sum count as two, and nothing is made of pooling being linear.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from spaces.cells import Cell
from spaces.cost import Cost
from spaces.errors import InvalidGenome, InvalidSpace, suggest
from spaces.fields import Choice, Real, choice
from spaces.genome import Genome, shorten
from spaces.graph import Graph
from spaces.io import IO, ImageIO, image
from spaces.product import Code, ProductSpace

if TYPE_CHECKING:
    from torch import nn

    from spaces.networks.supernet import Mixture, Supernet

OPERATORS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""Source and target of each edge, in the order in which they are written."""

CHANNELS = (16, 32, 64)
"""Of the three stages; the next stage has half the height and width."""
CELLS = 5
"""Cells in a stage."""

NAMED = {"resnet": ("nor_conv_3x3", "none", "nor_conv_3x3", "skip_connect", "none", "skip_connect")}


class NASBench201(ProductSpace):
    """The space of cells, in the network that the benchmark trained.

    Raises:
        InvalidSpace: the input and output are not those of image classification.
    """

    named = tuple(NAMED)

    def __init__(self, io: IO | None = None) -> None:
        io = image() if io is None else io
        if not isinstance(io, ImageIO):
            raise InvalidSpace(f"space 'nasbench201' reads images, but it was given {io}")
        super().__init__("nasbench201", {f"edge_{s}to{t}": choice(*OPERATORS) for s, t in EDGES}, io)
        self.io: ImageIO = io
        self._cell = functools.lru_cache(maxsize=self.size)(self._make_cell)

    def __reduce__(self) -> tuple[type[NASBench201], tuple[IO]]:
        return NASBench201, (self.io,)

    @property
    def operators(self) -> dict[str, dict[str, Choice | Real]]:
        return {name: {} for name in OPERATORS if name not in ("none", "skip_connect")}

    def at(self, io: IO) -> NASBench201:
        return NASBench201(io)

    def spell(self, code: Code) -> str:
        edges = [f"{OPERATORS[place]}~{source}|" for place, (source, _) in zip(code, EDGES, strict=True)]
        return "+".join("|" + "".join(edges[a:b]) for a, b in ((0, 1), (1, 3), (3, 6)))

    def code(self, text: str) -> Code:
        groups = text.strip().split("+")
        edges = [group.strip("|").split("|") for group in groups]
        if [len(group) for group in edges] != [1, 2, 3]:
            raise InvalidGenome(
                f"{shorten(text)} is no cell: expected |a~0|+|b~0|c~1|+|d~0|e~1|f~2| with six operators"
            )
        code = []
        for (source, target), edge in zip(EDGES, [edge for group in edges for edge in group], strict=True):
            name, mark, number = edge.partition("~")
            if not mark or number != str(source):
                raise InvalidGenome(
                    f"node {target}: {edge!r} should end in '~{source}', the node it comes from"
                )
            if name not in OPERATORS:
                raise InvalidGenome(
                    f"edge {source} to {target}: unknown operator {name!r}{suggest(name, OPERATORS)}"
                )
            code.append(OPERATORS.index(name))
        return tuple(code)

    def architecture(self, name: str) -> Genome:
        if name not in NAMED:
            return super().architecture(name)
        return self._genome(tuple(OPERATORS.index(operator) for operator in NAMED[name]))

    def unique_string(self, genome: Genome) -> str:
        """The string by which the benchmark tells isomorphic cells: 6,466 of them, as published.

        Other than the digest it tells apart some equal networks (a sum of zeros is not taken for zero) and merges some
        that differ (an output that is used twice is written as two operators).
        """
        written = {0: "0"}
        edges = list(zip(EDGES, self.values(genome).values(), strict=True))
        for node in (1, 2, 3):
            terms = []
            for (source, target), operator in edges:
                if target != node:
                    continue
                if operator == "none" or written[source] == "#":
                    terms.append("#")
                elif operator == "skip_connect":
                    terms.append(written[source])
                else:
                    terms.append(f"({written[source]})@{operator}")
            written[node] = "+".join(sorted(terms))
        return written[3]

    def _make_cell(self, code: Code) -> Cell:
        edges = [(s, t, OPERATORS[place]) for (s, t), place in zip(EDGES, code, strict=True)]
        return Cell(edges, identity="skip_connect", nothing="none")

    def canonical(self, code: Code) -> str:
        return self._cell(code).text

    def graph(self, genome: Genome) -> Graph:
        return self._cell(self._code_of(genome)).graph()

    def cost(self, genome: Genome, context: int | None = None) -> Cost:
        """The parameters of the network as built, dead edges included, and the FLOPs of one image."""
        operators = self.values(genome).values()
        height, width = self.io.height, self.io.width
        parameters = 2 * CHANNELS[0]
        flops = 0
        before = self.io.channels

        def conv(taps: int, inputs: int, outputs: int) -> int:
            nonlocal flops
            weights = taps * inputs * outputs
            flops += 2 * weights * height * width
            return weights

        parameters += conv(9, before, CHANNELS[0])
        for stage, channels in enumerate(CHANNELS):
            if stage:  # a residual block that halves height and width
                height, width = -(-height // 2), -(-width // 2)
                parameters += conv(9, channels // 2, channels) + conv(9, channels, channels) + 4 * channels
                parameters += conv(1, channels // 2, channels)
            for operator in [*operators] * CELLS:
                if operator in ("nor_conv_1x1", "nor_conv_3x3"):
                    taps = 9 if operator == "nor_conv_3x3" else 1
                    parameters += conv(taps, channels, channels) + 2 * channels
        flops += 2 * CHANNELS[-1] * self.io.classes
        parameters += 2 * CHANNELS[-1] + (CHANNELS[-1] + 1) * self.io.classes
        return Cost(parameters, parameters, flops, 0)

    def build(self, genome: Genome) -> nn.Module:
        from spaces.networks.cell import CellBlock

        values = self.values(genome).values()
        edges = [(s, t, operator) for (s, t), operator in zip(EDGES, values, strict=True)]
        return self._network(lambda channels: CellBlock(edges, channels))

    def supernet(self, mixture: Mixture = "softmax") -> Supernet:
        """The network in which every edge of the cell is a mixture of all operators."""
        from spaces.networks.supernet import Architecture, MixedCell, Supernet

        architecture = Architecture(len(EDGES), len(OPERATORS), mixture)
        network = self._network(lambda channels: MixedCell(EDGES, OPERATORS, channels, architecture))
        return Supernet(network, {"cell": architecture})

    def discretised(self, scores: Mapping[str, np.ndarray]) -> Genome:
        """The genome of the architecture of a supernet: the best operator of each edge.

        Args:
            scores: {"cell": of each operator on each edge, [6, 5]}; greater is better.
        """
        return self._genome(tuple(np.asarray(scores["cell"]).argmax(axis=1).tolist()))

    def _network(self, make: Callable[[int], nn.Module]) -> nn.Module:
        """The network of cells; each is made for so many channels."""
        from spaces.networks.cell import CellNetwork

        stages = [[make(channels) for _ in range(CELLS)] for channels in CHANNELS]
        return CellNetwork(stages, self.io.channels, self.io.classes, CHANNELS)
