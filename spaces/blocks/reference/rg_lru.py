"""Griffin's recurrent block one token at a time."""

import torch
from torch import Tensor

from spaces.blocks.reference.conv import causal_conv
from spaces.blocks.reference.mlp import gelu
from spaces.blocks.rg_lru import RGLRU


def rg_lru(block: RGLRU, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]: equations 1 to 4 of arXiv 2402.19427."""
    x, z = (x_BLD @ weight.T for weight in block.in_proj.weight.chunk(2))
    x = causal_conv(x, block.taps)
    recurrence, inputs = (torch.block_diag(*part.unbind()) for part in block.gates.chunk(2, dim=-1))
    recurrence_bias, input_bias = (part.flatten() for part in block.gate_bias.chunk(2, dim=-1))
    a = torch.sigmoid(-block.rate)
    h = torch.zeros_like(x[:, 0])
    rows = []
    for t in range(x.shape[1]):
        r = torch.sigmoid(x[:, t] @ recurrence + recurrence_bias)
        i = torch.sigmoid(x[:, t] @ inputs + input_bias)
        kept = a ** (8 * r)
        room = torch.sqrt(1 - kept**2) if t else 1
        h = kept * h + room * i * x[:, t]
        rows.append(h)
    return (torch.stack(rows, dim=1) * gelu(z)) @ block.out.weight.T
