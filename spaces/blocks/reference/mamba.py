"""Mamba-2 as the recurrence it is, one token at a time."""

import torch
from torch import Tensor

from spaces.blocks.mamba import Mamba2
from spaces.blocks.reference.conv import causal_conv


def scan(
    x_BLHK: Tensor, decay_BLH: Tensor, b_BLN: Tensor, c_BLN: Tensor, state_BHKN: Tensor
) -> tuple[Tensor, Tensor]:
    """h[t] = exp(decay[t]) h[t-1] + x[t] b[t]^T; y[t] = h[t] c[t] (arXiv 2405.21060, equation 2)."""
    rows = []
    for t in range(x_BLHK.shape[1]):
        kept = decay_BLH[:, t].exp()[:, :, None, None] * state_BHKN
        state_BHKN = kept + torch.einsum("bhk,bn->bhkn", x_BLHK[:, t], b_BLN[:, t])
        rows.append(torch.einsum("bhkn,bn->bhk", state_BHKN, c_BLN[:, t]))
    return torch.stack(rows, dim=1), state_BHKN


def mamba2(block: Mamba2, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]."""
    inner, channels, heads = block.sizes
    batch, length, _ = x_BLD.shape
    projected = x_BLD @ block.in_proj.weight.T
    z, xbc, dt = projected[..., :inner], projected[..., inner : inner + channels], projected[..., -heads:]
    xbc = causal_conv(xbc, block.taps)
    xbc = xbc * xbc.sigmoid()
    x = xbc[..., :inner].view(batch, length, heads, block.head_dim)
    b, c = xbc[..., inner : inner + block.state], xbc[..., inner + block.state :]
    dt = torch.log1p(torch.exp(dt + block.dt_bias))
    a = -torch.exp(block.log_a)
    y, _ = scan(dt[..., None] * x, dt * a, b, c, x.new_zeros(batch, heads, block.head_dim, block.state))
    y = (y + block.skip[:, None] * x).reshape(batch, length, inner)
    y = y * z * z.sigmoid()
    y = y / torch.sqrt(y.square().mean(dim=-1, keepdim=True) + 1e-6) * block.norm.weight
    return y @ block.out.weight.T
