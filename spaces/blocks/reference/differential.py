"""Differential attention one query at a time."""

import math

import torch
from torch import Tensor

from spaces.blocks.differential import DifferentialAttention
from spaces.blocks.reference.attention import alibi_slope, rms_norm, rotate_by_matrix


def differential_attention(block: DifferentialAttention, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]: explicit scores of each query and visible key."""
    heads, kv_heads, head_dim = block.heads // 2, block.kv_heads // 2, block.head_dim
    batch, length, _ = x_BLD.shape
    qkv = (x_BLD @ block.qkv.weight.T).view(batch, length, -1, head_dim)
    q, k, v = qkv.split((2 * heads, 2 * kv_heads, 2 * kv_heads), dim=2)
    if block.position == "rope":
        q, k = rotate_by_matrix(q), rotate_by_matrix(k)
    v = v.reshape(batch, length, kv_heads, 2 * head_dim)
    (a1, a2), (b1, b2) = block.lambda_q, block.lambda_k
    weight = torch.exp(a1 @ b1) - torch.exp(a2 @ b2) + block.lambda_init
    rows = []
    for t in range(length):
        first = 0 if block.window is None else max(0, t - block.window + 1)
        per_head = []
        for h in range(heads):
            g = h // (heads // kv_heads)
            arms = []
            for arm in range(2):
                keys = k[:, first : t + 1, 2 * g + arm]
                scores = torch.einsum("bk,bsk->bs", q[:, t, 2 * h + arm], keys) / math.sqrt(head_dim)
                if block.position == "alibi":
                    scores = scores - alibi_slope(h, heads) * torch.arange(t - first, -1, -1)
                arms.append(scores.exp() / scores.exp().sum(dim=-1, keepdim=True))
            y = torch.einsum("bs,bsv->bv", arms[0] - weight * arms[1], v[:, first : t + 1, g])
            per_head.append((1 - block.lambda_init) * rms_norm(y, block.norm.weight))
        rows.append(torch.cat(per_head, dim=-1) @ block.out.weight.T)
    return torch.stack(rows, dim=1)
