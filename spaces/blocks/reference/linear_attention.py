"""Linear attention, one token at a time: plain as a weighted mean, gated as a recurrence."""

import torch
from torch import Tensor

from spaces.blocks.linear_attention import GatedLinearAttention, LinearAttention
from spaces.blocks.reference.attention import rms_norm


def linear_attention(block: LinearAttention, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]: explicit weights of each query and visible key."""
    batch, length, width = x_BLD.shape
    q, k, v = (x_BLD @ block.qkv.weight.T).view(batch, length, 3, block.heads, -1).unbind(2)
    q, k = (torch.where(x > 0, x + 1, torch.exp(x)) for x in (q, k))
    rows = []
    for t in range(length):
        weights = torch.einsum("bhk,bshk->bsh", q[:, t], k[:, : t + 1])
        weights = weights / (weights.sum(dim=1, keepdim=True) + 1e-6)
        rows.append(torch.einsum("bsh,bshk->bhk", weights, v[:, : t + 1]))
    return torch.stack(rows, dim=1).reshape(batch, length, width) @ block.out.weight.T


def gated_recurrence(
    q_BLHK: Tensor, k_BLHK: Tensor, v_BLHV: Tensor, decay_BLHK: Tensor, state_BHKV: Tensor
) -> tuple[Tensor, Tensor]:
    """S[t] = diag(exp(decay[t])) S[t-1] + k[t] v[t]^T; y[t] = q[t]^T S[t] (arXiv 2312.06635, equation 3)."""
    rows = []
    for t in range(q_BLHK.shape[1]):
        added_BHKV = k_BLHK[:, t, :, :, None] * v_BLHV[:, t, :, None, :]
        state_BHKV = decay_BLHK[:, t].exp()[..., None] * state_BHKV + added_BHKV
        rows.append((q_BLHK[:, t, :, :, None] * state_BHKV).sum(dim=2))
    return torch.stack(rows, dim=1), state_BHKV


def gated_linear_attention(block: GatedLinearAttention, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]."""
    batch, length, width = x_BLD.shape
    heads, keys = block.heads, width // 2
    q, k, v, r, rank = (x_BLD @ weight.T for weight in block.in_proj.weight.split(block.sizes))
    q, k, v, r = (x.view(batch, length, heads, -1) for x in (q, k, v, r))
    gate = torch.sigmoid(rank @ block.decay.weight.T + block.decay.bias) ** (1 / 16)
    decay = torch.log(gate).view(batch, length, heads, -1)
    nothing = x_BLD.new_zeros(batch, heads, keys // heads, width // heads)
    y, _ = gated_recurrence(q * (keys // heads) ** -0.5, k, v, decay, nothing)
    y = r * r.sigmoid() * rms_norm(y, block.norm.weight)
    return y.reshape(batch, length, width) @ block.out.weight.T
