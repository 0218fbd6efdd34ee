"""Workspace memory one token, one slot and one chunk at a time."""

import math

import torch
from torch import Tensor

from spaces.blocks.workspace import Workspace


def workspace(block: Workspace, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]."""
    return torch.stack([_sequence(block, x_LD) for x_LD in x_BLD])


def _sequence(block: Workspace, x_LD: Tensor) -> Tensor:
    slots = list(block.first)
    # Where no chunk ends, no weight of writing is used; its gradient is zero.
    writing = [block.value.weight, block.write.weight, block.gate, block.gate_bias]
    nothing = 0 * sum((weight.sum() for weight in writing), torch.zeros(()))
    rows = []
    for start in range(0, len(x_LD), block.chunk):
        tokens = x_LD[start : start + block.chunk]
        for x_D in tokens:
            query_D = block.query.weight @ x_D
            scores = torch.stack([query_D @ slot_D / math.sqrt(len(x_D)) for slot_D in slots])
            weights = scores.exp() / scores.exp().sum()
            read_D = sum((weight * slot_D for weight, slot_D in zip(weights, slots, strict=True)), nothing)
            rows.append(block.out.weight @ read_D)
        if len(tokens) == block.chunk:
            for s, slot_D in enumerate(slots):
                scores = tokens @ block.write.weight[s]
                weights = scores.exp() / scores.exp().sum()
                written_D = weights @ (tokens @ block.value.weight.T)
                gate = torch.sigmoid(block.gate[s] @ written_D + block.gate_bias[s])
                slots[s] = (1 - gate) * slot_D + gate * written_D
    return torch.stack(rows)
