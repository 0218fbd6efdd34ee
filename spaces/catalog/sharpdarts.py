"""The sharpDARTS space (Hundt, Jain and Hager 2019, arXiv 1903.09900): cells as of DARTS, of sharp blocks.

All convolutions are two depthwise separable ones, of which only the first is strided or dilated; between them, "flood"
has four times the channels, and "choke" has 32. Genomes are written as those of DARTS; there are 9.12e18 of them.

Operators and genotypes are those of the authors' repository (ahundt/sharpDARTS, 3x3 space). Its networks for training
leave the channels of "choke" to a default that makes it a "sep_conv"; here it is what the table of operators says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spaces.catalog.darts import DARTS, Convolution, twice
from spaces.catalog.darts import NAMED as DARTS_NAMED

CHOKED = 32
"""Channels between the two convolutions of a "choke" block, whatever those of the cell."""


def flood(channels: int) -> tuple[int, ...]:
    return 4 * channels, channels


def choke(channels: int) -> tuple[int, ...]:
    return CHOKED, channels


CONVOLUTIONS: Mapping[str, Convolution] = {
    "sep_conv_3x3": (3, 1, twice),
    "dil_conv_3x3": (3, 2, twice),
    "flood_conv_3x3": (3, 1, flood),
    "dil_flood_conv_3x3": (3, 2, flood),
    "choke_conv_3x3": (3, 1, choke),
    "dil_choke_conv_3x3": (3, 2, choke),
}

NAMED = {
    "DARTS_V2": DARTS_NAMED["DARTS_V2"],
    "SHARP_DARTS": "Genotype(normal=[('choke_conv_3x3', 0), ('choke_conv_3x3', 1), ('skip_connect', 0), "
    "('choke_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 1), ('skip_connect', 0), ('skip_connect', 1)], "
    "normal_concat=range(2, 6), reduce=[('max_pool_3x3', 0), ('skip_connect', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('flood_conv_3x3', 0)], "
    "reduce_concat=range(2, 6))",
}


class SharpDARTS(DARTS):
    """The space of both cells, see `DARTS`."""

    title = "sharpdarts"
    choices: Sequence[str] = ("max_pool_3x3", "skip_connect", *CONVOLUTIONS)
    convolutions = CONVOLUTIONS
    genotypes = NAMED
    named = tuple(NAMED)
