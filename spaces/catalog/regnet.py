"""The RegNet design space (Radosavovic et al. 2020, arXiv 2003.13678): residual networks of quantised linear widths.

A network is a few numbers: how many blocks there are, the width of the first (`w_0`), by how much the widths of
blocks grow (`w_a`), the factor between the widths of two stages (`w_m`), and the width of the groups of their 3x3
convolutions; bottlenecks keep the width, as in the paper's RegNetX. The paper draws d <= 64, w_0, w_a <= 256 and
1.5 <= w_m <= 3; here they stand on a grid: widths in steps of 8, w_m in steps of 0.1.

Equal digests are equal stages. The paper keeps the draws of four stages; here widths beyond the fourth stage are those
of the fourth, and there may be fewer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

from annotated_types import Ge, Le

from spaces.cost import Cost
from spaces.errors import InvalidSpace
from spaces.fields import Choice, Real, choice
from spaces.genome import Genome
from spaces.graph import Graph
from spaces.io import IO, ImageIO, image
from spaces.product import Code, ProductSpace, chain

if TYPE_CHECKING:
    from torch import nn

STEM = 32
"""Channels of the stem."""
STAGES = 4
"""At most; each halves height and width."""

GROUP_WIDTHS = (1, 2, 4, 8, 16, 32)


class Stage(NamedTuple):
    """Blocks of one width. The groups of a stage are never wider than its blocks."""

    width: int
    depth: int
    group_width: int


def stages(depth: int, w_0: int, w_a: float, w_m: float, group_width: int) -> list[Stage]:
    """The stages of a network.

    The width of block j, w_0 + w_a j, is rounded to w_0 times a power of w_m, then to multiples of 8, and that of a
    stage to multiples of the width of its groups.
    """
    widths = []
    for block in range(depth):
        power = round(math.log((w_0 + w_a * block) / w_0, w_m))
        widths.append(8 * round(w_0 * w_m ** min(power, STAGES - 1) / 8))
    made = []
    for width, blocks in itertools.groupby(widths):
        group = min(group_width, width)
        made.append(Stage(group * round(width / group), len([*blocks]), group))
    return made


def cost(made: Sequence[Stage], io: ImageIO, stem_stride: int) -> Cost:
    """The parameters of a network of stages, and the FLOPs of one image."""
    height, width = -(-io.height // stem_stride), -(-io.width // stem_stride)
    parameters = flops = 0

    def convolve(weights: int, channels: int) -> None:
        """A convolution without bias and its normalisation, at the size of the image."""
        nonlocal parameters, flops
        parameters += weights + 2 * channels
        flops += 2 * weights * height * width

    convolve(9 * io.channels * STEM, STEM)
    before = STEM
    for channels, depth, group in made:
        convolve(before * channels, channels)  # of the first block, before it halves the image
        height, width = -(-height // 2), -(-width // 2)
        convolve(before * channels, channels)  # its shortcut
        for block in range(depth):
            if block:
                convolve(channels**2, channels)
            convolve(9 * channels * group, channels)
            convolve(channels**2, channels)
        before = channels
    parameters += (before + 1) * io.classes
    flops += 2 * before * io.classes
    return Cost(parameters, parameters, flops, 0)


class RegNet(ProductSpace):
    """The space of networks of X blocks.

    Args:
        io: images and classes.
        depth: the greatest number of blocks.
        width: the greatest `w_0` and `w_a`.
        stem_stride: by how much the stem shrinks the image: 2 in the paper, 1 for small images.

    Raises:
        InvalidSpace: the input and output are not those of image classification, or an option is impossible.
    """

    def __init__(
        self,
        io: IO | None = None,
        depth: Annotated[int, Ge(4)] = 64,
        width: Annotated[int, Ge(8)] = 256,
        stem_stride: Annotated[int, Ge(1), Le(2)] = 2,
    ) -> None:
        io = image() if io is None else io
        if not isinstance(io, ImageIO):
            raise InvalidSpace(f"space 'regnet' reads images, but it was given {io}")
        for key, value, low, high in (
            ("depth", depth, 4, math.inf),
            ("width", width, 8, math.inf),
            ("stem_stride", stem_stride, 1, 2),
        ):
            if type(value) is not int or not low <= value <= high:
                allowed = f"an integer of at least {low}" if high == math.inf else f"{low} or {high}"
                raise InvalidSpace(f"space 'regnet': {key} = {value!r}, but it must be {allowed}")
        widths = range(8, width + 1, 8)
        fields = {
            "depth": choice(*range(4, depth + 1), ordered=True),
            "w_0": choice(*widths, ordered=True),
            "w_a": choice(*widths, ordered=True),
            "w_m": choice(*[tenths / 10 for tenths in range(15, 31)], ordered=True),
            "group_width": choice(*GROUP_WIDTHS, ordered=True),
        }
        super().__init__("regnet", fields, io)
        self.io: ImageIO = io
        self.depth, self.width, self.stem_stride = depth, width, stem_stride

    @property
    def operators(self) -> dict[str, dict[str, Choice | Real]]:
        choices: dict[str, Choice | Real] = {
            "width": Real(8, self.width * 3 ** (STAGES - 1), log=True),
            "group_width": Real(1, max(GROUP_WIDTHS), log=True),
        }
        return {"halving_block": choices, "block": choices}

    def at(self, io: IO) -> RegNet:
        return RegNet(io, self.depth, self.width, self.stem_stride)

    def stages(self, genome: Genome) -> list[Stage]:
        """The stages of a genome."""
        return stages(**self.values(genome))

    def canonical(self, code: Code) -> str:
        return " ".join([f"{width}x{depth}/{group}" for width, depth, group in stages(**self._values(code))])

    def graph(self, genome: Genome) -> Graph:
        """The blocks, one after the other; the first of a stage halves the image."""
        return chain(
            [
                ("block" if block else "halving_block", {"width": width, "group_width": group})
                for width, depth, group in self.stages(genome)
                for block in range(depth)
            ]
        )

    def cost(self, genome: Genome, context: int | None = None) -> Cost:
        return cost(self.stages(genome), self.io, self.stem_stride)

    def build(self, genome: Genome) -> nn.Module:
        from spaces.networks.regnet import RegNetwork

        return RegNetwork(self.stages(genome), self.io.channels, self.io.classes, STEM, self.stem_stride)
