"""Layers that run several times, run by run; `layer` is the twin of the layer inside."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from spaces.blocks.reference.attention import rms_norm
from spaces.blocks.sharing import ParallelStreams, Shared

Twin = Callable[[Any, Tensor], Tensor]


def shared(block: Shared, x_BLD: Tensor, layer: Twin) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]."""
    for _ in range(block.passes):
        x_BLD = layer(block.layer, x_BLD)
    return x_BLD


def parallel_streams(block: ParallelStreams, x_BLD: Tensor, layer: Twin) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]."""
    runs = [
        layer(block.layer, x_BLD * scale + shift)
        for scale, shift in zip(block.scale, block.shift, strict=True)
    ]
    seen = torch.cat([rms_norm(run, block.norm.weight) for run in runs], dim=-1)
    hidden = seen @ block.hidden.weight.T
    scores = torch.exp((hidden * hidden.sigmoid()) @ block.score.weight.T)
    weights = 0.9 * scores / scores.sum(dim=-1, keepdim=True) + 0.1 / len(runs)
    return sum((weights[..., p, None] * run for p, run in enumerate(runs)), torch.zeros_like(x_BLD))
