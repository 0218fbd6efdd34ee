"""Hierarchical memory one token, one level and one unit at a time."""

import torch
from torch import Tensor

from spaces.blocks.hierarchical_memory import HierarchicalMemory


def hierarchical_memory(block: HierarchicalMemory, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]."""
    rows = []
    for x_LD in x_BLD:
        for t, x_D in enumerate(x_LD):
            if t % block.chunk == 0:
                nodes = path(block, x_LD[: t + 1].mean(dim=0))
            rows.append(_token(block, x_D, nodes))
    return torch.stack(rows).view_as(x_BLD)


def path(block: HierarchicalMemory, mean_D: Tensor) -> list[int]:
    """The numbers of the nodes that a context goes through: level by level, siblings next to each other."""
    context_D = mean_D / (mean_D.square().mean() + 1e-6).sqrt()
    nodes, first, place = [], 0, 0
    for level in range(1, block.levels + 1):
        places = range(place * block.branches, (place + 1) * block.branches)
        costs = {
            i: (block.centroids[first + i] - context_D).square().mean() + 4 * block.prices[first + i]
            for i in places
        }
        place = min(costs, key=lambda i: costs[i].item())
        nodes.append(first + place)
        first += block.branches**level
    return nodes


def _token(block: HierarchicalMemory, x_D: Tensor, nodes: list[int]) -> Tensor:
    gate, up = (block.common.gate_up.weight @ x_D).chunk(2)
    y_D = block.common.out.weight @ (gate * gate.sigmoid() * up)
    for node in nodes:
        for unit in range(node * block.units, (node + 1) * block.units):
            gate = block.gate[unit] @ x_D
            y_D = y_D + gate * gate.sigmoid() * (block.up[unit] @ x_D) * block.out[unit]
    return y_D
