"""Feed-forward layers from elementary functions."""

import math

import torch
from torch import Tensor

from spaces.blocks.mlp import GLU, MLP, SwiGLU


def swiglu(block: SwiGLU, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]."""
    gate, up = (x_BLD @ weight.T for weight in block.gate_up.weight.chunk(2))
    return (gate / (1 + torch.exp(-gate)) * up) @ block.out.weight.T


def glu(block: GLU, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]."""
    gate, up = (x_BLD @ weight.T for weight in block.gate_up.weight.chunk(2))
    opened = {
        "sigmoid": 1 / (1 + torch.exp(-gate)),
        "relu": torch.where(gate > 0, gate, 0),
        "gelu": gelu(gate),
    }
    return (opened[block.activation] * up) @ block.out.weight.T


def mlp(block: MLP, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]."""
    h = x_BLD @ block.up.weight.T
    if block.activation == "gelu":
        return gelu(h) @ block.out.weight.T
    return torch.where(h > 0, h * h, 0) @ block.out.weight.T


def gelu(x: Tensor) -> Tensor:
    """x times the normal distribution function at x."""
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2
