"""Gated DeltaNet as the recurrence it is, one token at a time."""

import torch
from torch import Tensor

from spaces.blocks.delta import GatedDeltaNet
from spaces.blocks.reference.attention import rms_norm
from spaces.blocks.reference.conv import causal_conv


def delta_recurrence(
    q_BLHK: Tensor, k_BLHK: Tensor, v_BLHV: Tensor, beta_BLH: Tensor, decay_BLH: Tensor, state_BHKV: Tensor
) -> tuple[Tensor, Tensor]:
    """S[t] = a[t] (I - beta[t] k[t] k[t]^T) S[t-1] + beta[t] k[t] v[t]^T (arXiv 2412.06464, equation 10)."""
    rows = []
    eye = torch.eye(k_BLHK.shape[-1], dtype=k_BLHK.dtype)
    for t in range(q_BLHK.shape[1]):
        k, v, beta = k_BLHK[:, t], v_BLHV[:, t], beta_BLH[:, t, :, None, None]
        erased = eye - beta * torch.einsum("bhk,bhj->bhkj", k, k)
        kept = decay_BLH[:, t].exp()[..., None, None] * torch.einsum("bhkj,bhjv->bhkv", erased, state_BHKV)
        state_BHKV = kept + beta * torch.einsum("bhk,bhv->bhkv", k, v)
        rows.append(torch.einsum("bhk,bhkv->bhv", q_BLHK[:, t], state_BHKV))
    return torch.stack(rows, dim=1), state_BHKV


def gated_delta_net(block: GatedDeltaNet, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]."""
    heads, width = block.heads, block.width
    batch, length, _ = x_BLD.shape
    qkv, z, b, a = (x_BLD @ weight.T for weight in block.in_proj.weight.split(block.sizes))
    qkv = causal_conv(qkv, block.taps)
    qkv = qkv * qkv.sigmoid()
    q, k, v = qkv[..., :width], qkv[..., width : 2 * width], qkv[..., 2 * width :]
    q, k, v, z = (x.reshape(batch, length, heads, -1) for x in (q, k, v, z))
    q, k = (x / torch.sqrt(x.square().sum(dim=-1, keepdim=True) + 1e-6) for x in (q, k))
    decay = -torch.exp(block.rate) * torch.log1p(torch.exp(a + block.bias))
    nothing = x_BLD.new_zeros(batch, heads, q.shape[-1], v.shape[-1])
    y, _ = delta_recurrence(q * q.shape[-1] ** -0.5, k, v, torch.sigmoid(b), decay, nothing)
    y = rms_norm(y, block.norm.weight) * z * z.sigmoid()
    return y.reshape(batch, length, -1) @ block.out.weight.T
