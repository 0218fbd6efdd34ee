"""Mixture of experts one token and one expert at a time."""

import torch
from torch import Tensor

from spaces.blocks.moe import MoE


def moe(block: MoE, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]."""
    rows = []
    for x_D in x_BLD.flatten(0, 1):
        scores = torch.exp(block.router.weight @ x_D)
        probs = scores / scores.sum()
        y_D = torch.zeros_like(x_D)
        for e in sorted(range(len(probs)), key=lambda e: -probs[e].item())[: block.top_k]:
            gate, up = (x_D @ block.gate_up[e]).chunk(2)
            y_D = y_D + probs[e] * ((gate * gate.sigmoid() * up) @ block.out[e])
        if block.shared_gate_up is not None and block.shared_out is not None:
            gate, up = (block.shared_gate_up.weight @ x_D).chunk(2)
            y_D = y_D + block.shared_out.weight @ (gate * gate.sigmoid() * up)
        rows.append(y_D)
    return torch.stack(rows).view_as(x_BLD)
