"""Attention one query at a time, straight from the equations."""

import math

import torch
from torch import Tensor

from spaces.blocks.attention import Attention


def attention(block: Attention, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]: explicit scores of each query and visible key."""
    return read(block, *heads_of(block, x_BLD @ block.qkv.weight.T)) @ block.out.weight.T


def heads_of(block: Attention, qkv_BLC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values as they meet, each [B, L, heads, K]."""
    heads, kv_heads, head_dim = block.heads, block.kv_heads, block.head_dim
    qkv = qkv_BLC.view(*qkv_BLC.shape[:2], heads + 2 * kv_heads, head_dim)
    q, k, v = qkv[:, :, :heads], qkv[:, :, heads : heads + kv_heads], qkv[:, :, heads + kv_heads :]
    if block.q_norm is not None and block.k_norm is not None:
        q, k = (rms_norm(x, norm.weight) for x, norm in ((q, block.q_norm), (k, block.k_norm)))
    if block.position == "rope":
        q, k = rotate_by_matrix(q), rotate_by_matrix(k)
    return q, k, v


def read(block: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """What each query reads of the values, [B, L, D], before the output projection."""
    heads, kv_heads, head_dim = block.heads, block.kv_heads, block.head_dim
    rows = []
    for t in range(q.shape[1]):
        first = 0 if block.window is None else max(0, t - block.window + 1)
        per_head = []
        for h in range(heads):
            g = h // (heads // kv_heads)
            scores = torch.einsum("bk,bsk->bs", q[:, t, h], k[:, first : t + 1, g]) / math.sqrt(head_dim)
            if block.position == "alibi":
                distance = torch.arange(t - first, -1, -1)
                scores = scores - alibi_slope(h, heads) * distance
            weights = scores.exp() / scores.exp().sum(dim=-1, keepdim=True)
            per_head.append(torch.einsum("bs,bsk->bk", weights, v[:, first : t + 1, g]))
        rows.append(torch.cat(per_head, dim=-1))
    return torch.stack(rows, dim=1)


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    """Divided by the root of the mean square over the last dimension."""
    return x / torch.sqrt(x.square().mean(dim=-1, keepdim=True) + 1e-6) * weight


def rotate_by_matrix(x_BLHK: Tensor) -> Tensor:
    """Equation 15 of RoFormer: one rotation matrix a position, for pairs (i, i + K/2)."""
    length, head_dim = x_BLHK.shape[1], x_BLHK.shape[3]
    half = head_dim // 2
    rotation_LKK = torch.zeros(length, head_dim, head_dim, dtype=x_BLHK.dtype)
    for t in range(length):
        for i in range(half):
            angle = t * 10_000 ** (-2 * i / head_dim)
            rotation_LKK[t, i, i] = rotation_LKK[t, i + half, i + half] = math.cos(angle)
            rotation_LKK[t, i, i + half] = -math.sin(angle)
            rotation_LKK[t, i + half, i] = math.sin(angle)
    return torch.einsum("lij,blhj->blhi", rotation_LKK, x_BLHK)


def alibi_slope(head: int, heads: int) -> float:
    lower = 1
    while 2 * lower <= heads:
        lower *= 2
    if head < lower:
        return 2.0 ** (-8 * (head + 1) / lower)
    return 2.0 ** (-8 * (2 * (head - lower) + 1) / (2 * lower))
