"""Mamba as the recurrence it is, one token at a time."""

import torch
from torch import Tensor

from spaces.blocks.reference.conv import causal_conv
from spaces.blocks.selective_ssm import Mamba


def mamba(block: Mamba, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]."""
    rank, state, _ = block.sizes
    x, z = (x_BLD @ weight.T for weight in block.in_proj.weight.chunk(2))
    x = causal_conv(x, block.taps) + block.conv_bias
    x = x * x.sigmoid()
    selected = x @ block.select.weight.T
    dt = torch.log1p(torch.exp(selected[..., :rank] @ block.step.weight.T + block.step.bias))
    y = selective_scan(x, dt, -torch.exp(block.log_a), *selected[..., rank:].split(state, dim=-1))
    return ((y + block.skip * x) * z * z.sigmoid()) @ block.out.weight.T


def selective_scan(x_BLI: Tensor, dt_BLI: Tensor, a_IN: Tensor, b_BLN: Tensor, c_BLN: Tensor) -> Tensor:
    """Equations 2 and 4 of arXiv 2312.00752: A discretised by zero-order hold, B by dt B (section 3.6)."""
    rows = []
    h_BIN = torch.zeros(len(x_BLI), *a_IN.shape, dtype=x_BLI.dtype)
    for t in range(x_BLI.shape[1]):
        kept_BIN = torch.exp(dt_BLI[:, t, :, None] * a_IN)
        h_BIN = kept_BIN * h_BIN + torch.einsum("bi,bn->bin", dt_BLI[:, t] * x_BLI[:, t], b_BLN[:, t])
        rows.append(torch.einsum("bin,bn->bi", h_BIN, c_BLN[:, t]))
    return torch.stack(rows, dim=1)
