"""Mixtures of experts one token and one expert at a time."""

import torch
from torch import Tensor

from spaces.blocks.moe import Experts, MoE
from spaces.blocks.routing import ChunkMoE, ExpertChoiceMoE, HashedMoE, SinkhornMoE


def moe(block: MoE, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]."""
    return torch.stack([_one(block, x_D, _best(block, x_D)) for x_D in x_BLD.flatten(0, 1)]).view_as(x_BLD)


def chunk_moe(block: ChunkMoE, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]."""
    rows = []
    for x_LD in x_BLD:
        for t, x_D in enumerate(x_LD):
            if t % block.chunk == 0:
                weights = _best(block, x_D)
            rows.append(_one(block, x_D, weights))
    return torch.stack(rows).view_as(x_BLD)


def expert_choice_moe(block: ExpertChoiceMoE, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]."""
    thresholds = x_BLD.shape[-1] ** 0.5 * block.threshold
    rows = []
    for x_D in x_BLD.flatten(0, 1):
        scores = block.router.weight @ x_D
        chosen = {e: 1 / (1 + torch.exp(-s)) for e, s in enumerate(scores) if s > thresholds[e]}
        rows.append(_one(block, x_D, chosen))
    return torch.stack(rows).view_as(x_BLD)


def sinkhorn_moe(block: SinkhornMoE, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]."""
    rows = []
    for x_D in x_BLD.flatten(0, 1):
        scores = block.router.weight @ x_D
        offsets = len(x_D) ** 0.5 * block.offset
        best = max(range(len(scores)), key=lambda e: (scores[e] + offsets[e]).item())
        rows.append(_one(block, x_D, {best: 1 / (1 + torch.exp(-scores[best]))}))
    return torch.stack(rows).view_as(x_BLD)


def sinkhorn(score_TE: Tensor, iterations: int = 1000) -> Tensor:
    """The plan [T, E] of entropic optimal transport whose rows sum to 1 / T and whose columns to 1 / E."""
    plan_TE = score_TE.exp()
    for _ in range(iterations):
        plan_TE = plan_TE / plan_TE.sum(dim=0) / plan_TE.shape[1]
        plan_TE = plan_TE / plan_TE.sum(dim=1, keepdim=True) / plan_TE.shape[0]
    return plan_TE


def hashed_moe(block: HashedMoE, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]."""
    rows = []
    for x_D in x_BLD.flatten(0, 1):
        near = [(x_D @ direction).item() for direction in block.directions.T]
        near += [-each for each in near]
        rows.append(_one(block, x_D, {near.index(max(near)): torch.ones(())}))
    return torch.stack(rows).view_as(x_BLD)


def _best(block: MoE, x_D: Tensor) -> dict[int, Tensor]:
    """The probabilities of the top_k most probable experts."""
    scores = torch.exp(block.router.weight @ x_D)
    probs = scores / scores.sum()
    return {e: probs[e] for e in sorted(range(len(probs)), key=lambda e: -probs[e].item())[: block.top_k]}


def _one(block: Experts, x_D: Tensor, weights: dict[int, Tensor]) -> Tensor:
    """What a token gives, by the weights of its experts."""
    y_D = torch.zeros_like(x_D)
    for e, weight in weights.items():
        gate, up = (x_D @ block.gate_up[e]).chunk(2)
        y_D = y_D + weight * ((gate * gate.sigmoid() * up) @ block.out[e])
    if block.shared_gate_up is not None and block.shared_out is not None:
        gate, up = (block.shared_gate_up.weight @ x_D).chunk(2)
        y_D = y_D + block.shared_out.weight @ (gate * gate.sigmoid() * up)
    return y_D
