"""The gated short convolution one token and one tap at a time."""

import torch
from torch import Tensor

from spaces.blocks.conv import GatedConv


def causal_conv(x_BLC: Tensor, taps_TC: Tensor) -> Tensor:
    """y[t] = sum_i taps[T - 1 - i] * x[t - i], with x = 0 before the first token."""
    taps = len(taps_TC)
    rows = []
    for t in range(x_BLC.shape[1]):
        y_BC = torch.zeros_like(x_BLC[:, 0])
        for i in range(min(taps, t + 1)):
            y_BC = y_BC + taps_TC[taps - 1 - i] * x_BLC[:, t - i]
        rows.append(y_BC)
    return torch.stack(rows, dim=1)


def gated_conv(block: GatedConv, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]."""
    b, c, v = (x_BLD @ weight.T for weight in block.bcv.weight.chunk(3))
    return (c * causal_conv(b * v, block.taps)) @ block.out.weight.T
