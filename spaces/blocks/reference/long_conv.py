"""The Hyena operator by sums over all earlier tokens, its filter one position at a time."""

import math
from typing import cast

import torch
from torch import Tensor, nn

from spaces.blocks.long_conv import LongConv
from spaces.blocks.reference.conv import causal_conv
from spaces.blocks.reference.filters import long_filter


def long_conv(block: LongConv, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]."""
    q, k, v = causal_conv(x_BLD @ block.in_proj.weight.T, block.taps).chunk(3, dim=-1)
    taps = torch.stack([_tap(block, t) for t in range(x_BLD.shape[1])])
    return (q * (long_filter(k * v, taps) + block.skip * k * v)) @ block.out.weight.T


def _tap(block: LongConv, place: int) -> Tensor:
    """Sections 3.3 and D.3 of arXiv 2302.10866, [D]."""
    t, width = place / block.span, len(block.skip)
    bands = [1e-4 + i * (7 - 1e-4) / 7 for i in range(8)]
    angles = [2 * math.pi * t * band for band in bands]
    h = torch.tensor(
        [t, *map(math.cos, angles), *(-math.sin(angle) for angle in angles)], dtype=torch.float64
    )
    for layer in cast(list[nn.Linear], block.network):
        h = torch.sin(block.frequency * (layer.weight @ h + layer.bias))
    faded = [0.3 + 1.2 * d / max(1, width - 1) for d in range(width)]
    window = torch.tensor([0.01 ** (t / at) for at in faded], dtype=torch.float64)
    return window * (block.last.weight @ h)
