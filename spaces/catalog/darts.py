"""The DARTS space (Liu et al. 2019, arXiv 1806.09055): a normal and a reduction cell, in the network for CIFAR.

A cell has two inputs, the outputs of the two cells before it, and four nodes; each is the sum of two operators on
different inputs or earlier nodes, and all four are concatenated. Genomes are written as the authors published theirs,
`Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=range(2, 6), reduce=[...], reduce_concat=range(2, 6))`: two
operators a node with what they read, where 0 and 1 are the inputs and 2 is the first node.

There are 1,037,664,180 genomes of each cell, 1.08e18 of both. Equal digests are equal networks up to the order of
channels: skips are spliced into the sums that they lead to (where they halve the image they are operators), and nodes
may be listed in another order, as the concatenation is read through 1x1 convolutions and a linear layer, whose weights
take any order. Two poolings of one sum count as two.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np
from annotated_types import Ge

from spaces.cells import Cell, Drawing
from spaces.cost import Cost
from spaces.errors import InvalidGenome, InvalidSpace
from spaces.fields import Choice, Real, choice, spell
from spaces.genome import Genome, shorten
from spaces.graph import Graph
from spaces.io import IO, ImageIO, image
from spaces.product import Code, ProductSpace

if TYPE_CHECKING:
    from torch import nn

    from spaces.networks.supernet import Mixture, Supernet

CELLS = ("normal", "reduce")
NODES = (2, 3, 4, 5)
"""Of a cell; 0 and 1 are its inputs."""

OPERATORS = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
HALVING_SKIP = "factorized_reduce"
"""What a skip is called where it halves height and width, and has weights."""

Convolution = tuple[int, int, Callable[[int], tuple[int, ...]]]
"""The size of the kernel, the dilation, and the channels after each of the depthwise separable convolutions, of which
only the first is dilated, for a number of channels of the cell."""


def once(channels: int) -> tuple[int, ...]:
    return (channels,)


def twice(channels: int) -> tuple[int, ...]:
    return channels, channels


CONVOLUTIONS: Mapping[str, Convolution] = {
    "sep_conv_3x3": (3, 1, twice),
    "sep_conv_5x5": (5, 1, twice),
    "dil_conv_3x3": (3, 2, once),
    "dil_conv_5x5": (5, 2, once),
}

# From cnn/genotypes.py of the authors' repository (quark0/darts) and its many copies.
NAMED = {
    "DARTS_V1": "Genotype(normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 0), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 2)], "
    "normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), "
    "('max_pool_3x3', 0), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('avg_pool_3x3', 0)], "
    "reduce_concat=[2, 3, 4, 5])",
    "DARTS_V2": "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), "
    "('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], "
    "normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), "
    "('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], "
    "reduce_concat=[2, 3, 4, 5])",
}
"""What the first and the second order of the search found."""

# Read without white space, which may stand anywhere.
_EDGE = r"\('\w+',\d{1,3}\)"
_CELL = rf"\[({_EDGE}(?:,{_EDGE})*),?\]"
_CONCAT = r"(?:range\(2,6\)|\[2,3,4,5,?\])"
_GENOTYPE = re.compile(
    rf"Genotype\(normal={_CELL},normal_concat={_CONCAT},reduce={_CELL},reduce_concat={_CONCAT},?\)"
)

Edge = tuple[str, int]
"""An operator, and the input or node that it reads."""


def _fields(operators: Sequence[str]) -> dict[str, Choice]:
    fields = {}
    for cell, node in itertools.product(CELLS, NODES):
        pairs = itertools.combinations(range(node), 2)
        fields[f"{cell}_{node}_inputs"] = choice(*[f"{first},{second}" for first, second in pairs])
        fields[f"{cell}_{node}_first"] = choice(*operators)
        fields[f"{cell}_{node}_second"] = choice(*operators)
    return fields


class DARTS(ProductSpace):
    """The space of both cells, in the network for CIFAR without its auxiliary head and drop path.

    The authors searched with 16 channels and 8 cells, and trained what they found with 36 channels and 20 cells.

    Args:
        io: images and classes.
        channels: of an operator in the first cells; the two reduction cells double them.
        layers: how many cells there are. Those at one and two thirds are the reduction cells.

    Raises:
        InvalidSpace: the input and output are not those of image classification, or a size is impossible.
    """

    title = "darts"
    choices: Sequence[str] = OPERATORS
    convolutions = CONVOLUTIONS
    genotypes = NAMED
    named = tuple(NAMED)

    def __init__(
        self, io: IO | None = None, channels: Annotated[int, Ge(1)] = 16, layers: Annotated[int, Ge(3)] = 8
    ) -> None:
        io = image() if io is None else io
        if not isinstance(io, ImageIO):
            raise InvalidSpace(f"space {self.title!r} reads images, but it was given {io}")
        for key, value, least in (("channels", channels, 1), ("layers", layers, 3)):
            if type(value) is not int or value < least:
                raise InvalidSpace(
                    f"space {self.title!r}: {key} = {value!r}, but it must be an integer of at least {least}"
                )
        super().__init__(self.title, _fields(self.choices), io)
        self.io: ImageIO = io
        self.channels, self.layers = channels, layers

    @property
    def operators(self) -> dict[str, dict[str, Choice | Real]]:
        kept = [name for name in self.choices if name != "skip_connect"]
        names = [f"{cell}_{name}" for cell in CELLS for name in ("input_0", "input_1", *kept)]
        return {name: {} for name in (*names, f"reduce_{HALVING_SKIP}")}

    def at(self, io: IO) -> DARTS:
        return type(self)(io, self.channels, self.layers)

    def spell(self, code: Code) -> str:
        normal, reduce = self._edges(code).values()
        return f"Genotype(normal={normal}, normal_concat=range(2, 6), reduce={reduce}, reduce_concat=range(2, 6))"

    def code(self, text: str) -> Code:
        match = _GENOTYPE.fullmatch("".join(text.split()).replace('"', "'"))
        if match is None:
            raise InvalidGenome(
                f"{shorten(text)} is no genotype: expected Genotype(normal=[('operator', input), ...], "
                "normal_concat=range(2, 6), reduce=[...], reduce_concat=range(2, 6))"
            )
        tokens: dict[str, str] = {}
        for cell, written in zip(CELLS, match.groups(), strict=True):
            edges = [(name, int(source)) for name, source in re.findall(r"'(\w+)',(\d+)", written)]
            if len(edges) != 2 * len(NODES):
                raise InvalidGenome(f"the {cell} cell has {len(edges)} operators, but must have 8")
            for node, pair in zip(NODES, zip(edges[::2], edges[1::2], strict=True), strict=True):
                (first, one), (second, other) = sorted(pair, key=lambda edge: edge[1])
                key = f"{cell}_{node}"
                tokens |= {f"{key}_inputs": spell(f"{one},{other}")}
                tokens |= {f"{key}_first": spell(first), f"{key}_second": spell(second)}
        return self._code_from(tokens)

    def architecture(self, name: str) -> Genome:
        return self.parse(self.genotypes[name]) if name in self.genotypes else super().architecture(name)

    def _edges(self, code: Code) -> dict[str, list[Edge]]:
        """The operators of each cell, two for each node."""
        values = self._values(code)
        edges: dict[str, list[Edge]] = {}
        for cell in CELLS:
            edges[cell] = []
            for node in NODES:
                inputs, first, second = (
                    values[f"{cell}_{node}_{key}"] for key in ("inputs", "first", "second")
                )
                one, other = map(int, inputs.split(","))
                edges[cell] += [(first, one), (second, other)]
        return edges

    def _cells(self, code: Code) -> dict[str, Cell]:
        cells = {}
        for cell, pairs in self._edges(code).items():
            edges = []
            for place, (name, source) in enumerate(pairs):
                halves = cell == "reduce" and source < 2
                skip = HALVING_SKIP if halves and name == "skip_connect" else name
                edges.append((source, NODES[place // 2], skip))
            cells[cell] = Cell(edges, identity="skip_connect", inputs=2, outputs=NODES)
        return cells

    def canonical(self, code: Code) -> str:
        normal, reduce = self._cells(code).values()
        return f"{normal.text} / {reduce.text}"

    def graph(self, genome: Genome) -> Graph:
        """A normal cell, and behind it a reduction cell that has it for both inputs."""
        drawing = Drawing()
        end = 0
        for name, cell in self._cells(self._code_of(genome)).items():
            inputs = [drawing.add(f"{name}_input_{number}", [end]) for number in (0, 1)]
            end = drawing.add("concat", cell.draw(drawing, inputs, prefix=f"{name}_"))
        return drawing.graph([end])

    def cost(self, genome: Genome, context: int | None = None) -> Cost:
        """The parameters of the network, and the FLOPs of one image."""
        edges = self._edges(self._code_of(genome))
        parameters = flops = 0

        def convolve(weights: int, channels: int) -> None:
            """Convolutions without bias, at the size of the image, and one normalisation."""
            nonlocal parameters, flops
            parameters += weights + 2 * channels
            flops += 2 * weights * height * width

        height, width, channels = self.io.height, self.io.width, self.channels
        before = last = 3 * channels
        convolve(9 * self.io.channels * last, last)
        for layer in range(self.layers):
            halves = layer in reductions(self.layers)
            channels *= 2 if halves else 1
            convolve(before * channels, channels)
            convolve(last * channels, channels)
            if halves:
                height, width = -(-height // 2), -(-width // 2)
            for name, source in edges["reduce" if halves else "normal"]:
                if name in self.convolutions:
                    kernel, _, widths = self.convolutions[name]
                    for read, made in itertools.pairwise((channels, *widths(channels))):
                        convolve(kernel**2 * read + read * made, made)
                elif name == "skip_connect" and halves and source < 2:
                    convolve(channels**2, channels)
            before, last = last, len(NODES) * channels
        flops += 2 * last * self.io.classes
        parameters += (last + 1) * self.io.classes
        return Cost(parameters, parameters, flops, 0)

    def build(self, genome: Genome) -> nn.Module:
        from spaces.networks.darts import DARTSCell

        edges = self._edges(self._code_of(genome))

        def make(cell: str, before: int, last: int, channels: int, halves: bool, halved: bool) -> nn.Module:
            named = [(self._operator(name, channels), source) for name, source in edges[cell]]
            return DARTSCell(named, before, last, channels, halves, halved)

        return self._network(make)

    def supernet(self, mixture: Mixture = "softmax") -> Supernet:
        """The network in which every edge of both cells is a mixture of all operators, and of none at all."""
        from spaces.networks.supernet import Architecture, MixedDARTSCell, Supernet

        edges = sum(NODES)
        architectures = {cell: Architecture(edges, len(self.choices) + 1, mixture) for cell in CELLS}

        def make(cell: str, before: int, last: int, channels: int, halves: bool, halved: bool) -> nn.Module:
            kinds = [*(self._operator(name, channels) for name in self.choices), None]
            sizes = (before, last, channels, halves, halved)
            return MixedDARTSCell(len(NODES), kinds, *sizes, architectures[cell])

        return Supernet(self._network(make), architectures)

    def discretised(self, scores: Mapping[str, np.ndarray]) -> Genome:
        """The genome of the architecture of a supernet: for each node, the two edges with the best operators.

        Args:
            scores: of each operator and none (the last) on each edge, [14, K + 1], for each cell; greater is better.
        """
        values: dict[str, str] = {}
        for cell in CELLS:
            best = np.asarray(scores[cell])[:, :-1]
            first = 0
            for node in NODES:
                mine = best[first : first + node]
                one, other = sorted(np.argsort(-mine.max(axis=1), kind="stable")[:2].tolist())
                values[f"{cell}_{node}_inputs"] = f"{one},{other}"
                values[f"{cell}_{node}_first"] = self.choices[mine[one].argmax()]
                values[f"{cell}_{node}_second"] = self.choices[mine[other].argmax()]
                first += node
        return self.genome(**values)

    def _network(self, make: Callable[[str, int, int, int, bool, bool], nn.Module]) -> nn.Module:
        """The network of cells; each is made from its name and the sizes that `blocks.darts.DARTSCell` takes."""
        from spaces.networks.darts import DARTSNetwork

        cells: list[nn.Module] = []
        channels, halved = self.channels, False
        before = last = stem = 3 * channels
        for layer in range(self.layers):
            halves = layer in reductions(self.layers)
            channels *= 2 if halves else 1
            cells.append(make("reduce" if halves else "normal", before, last, channels, halves, halved))
            before, last, halved = last, len(NODES) * channels, halves
        return DARTSNetwork(cells, self.io.channels, stem, last, self.io.classes)

    def _operator(self, name: str, channels: int) -> str | tuple[int, int, tuple[int, ...]]:
        """An operator as the network takes it, where convolutions are spelled out."""
        if name not in self.convolutions:
            return name
        kernel, dilation, widths = self.convolutions[name]
        return kernel, dilation, widths(channels)


def reductions(layers: int) -> tuple[int, int]:
    """The places of the reduction cells, at one and two thirds."""
    return layers // 3, 2 * layers // 3
