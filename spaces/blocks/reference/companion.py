"""SpaceTime's layer as the recurrence that it is, one token at a time, by the matrix as a whole."""

import torch
from torch import Tensor

from spaces.blocks.companion import CompanionSSM
from spaces.blocks.reference.mlp import gelu


def companion_ssm(block: CompanionSSM, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]."""
    a_DSS = companion(block)
    h_BDS = torch.zeros(len(x_BLD), *block.read.shape, dtype=x_BLD.dtype)
    rows = []
    for t in range(x_BLD.shape[1]):
        h_BDS = (a_DSS @ h_BDS[..., None])[..., 0] + block.write * x_BLD[:, t, :, None]
        rows.append((block.read * h_BDS).sum(dim=-1))
    out, gate = (gelu(torch.stack(rows, dim=1) + block.skip * x_BLD) @ block.out.weight.T).chunk(2, dim=-1)
    return out * gate.sigmoid()


def companion(block: CompanionSSM) -> Tensor:
    """The matrix of each channel, [D, S, S]: each dimension is handed to the next, the last one by the column."""
    a_DSS = torch.zeros(*block.column.shape, block.column.shape[1], dtype=block.column.dtype)
    for i in range(1, block.column.shape[1]):
        a_DSS[:, i, i - 1] = 1
    a_DSS[:, :, -1] = a_DSS[:, :, -1] + block.column / block.column.abs().sum(dim=1, keepdim=True)
    return a_DSS
