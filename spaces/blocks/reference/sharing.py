"""Layers that run several times, run by run; `layer` is the twin of the layer inside."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from spaces.blocks.reference.attention import rms_norm
from spaces.blocks.sharing import ParallelStreams, Shared

Twin = Callable[[Any, Tensor], Tensor]


def shared(block: Shared, x_BLD: Tensor, layer: Twin) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]."""
    for p in range(block.passes):
        version = copy.deepcopy(block.templates[0])
        for name, module in version.named_modules():
            for own in list(module._parameters):
                if module._parameters.pop(own) is not None:
                    every = [template.get_submodule(name)._parameters[own] for template in block.templates]
                    shares = [1.0] if block.mix is None else block.mix[p]
                    setattr(module, own, sum(share * each for share, each in zip(shares, every, strict=True)))
                else:
                    setattr(module, own, None)
        if p and block.gains:
            for name, gain_D in zip(block.gains, block.norms[p - 1].parameters(), strict=True):
                version.get_submodule(name.rpartition(".")[0]).weight = gain_D
        x_BLD = layer(version, x_BLD)
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
