"""The gated Toeplitz unit as the diagonal state space model that it is, one token at a time, in complex numbers."""

import math
from typing import cast

import torch
from torch import Tensor, nn

from spaces.blocks.toeplitz import GatedToeplitz


def gated_toeplitz(block: GatedToeplitz, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]: section 3.3 of arXiv 2311.08756, with as many roots as numbers."""
    in_BLE = x_BLD @ block.in_proj.weight.T
    gate, v = (in_BLE / (1 + torch.exp(-in_BLE))).chunk(2, dim=-1)
    a_N1, b_NE = modes(torch.stack([_coefficient(block, k) for k in range(block.span)]), block.decay)
    h_BNE = torch.zeros(len(x_BLD), *b_NE.shape, dtype=b_NE.dtype)
    rows = []
    for t in range(x_BLD.shape[1]):
        h_BNE = a_N1 * h_BNE + v[:, t, None]
        rows.append((b_NE * h_BNE).sum(dim=1).real)
    return (gate * torch.stack(rows, dim=1)) @ block.out.weight.T


def modes(coefficients_NE: Tensor, decay: float) -> tuple[Tensor, Tensor]:
    """A, [N, 1], and b, [N, E], such that the sum of b A^k is decay^k times the coefficient of k, for all k < N."""
    size = len(coefficients_NE)
    places_N = torch.arange(size, dtype=torch.float64)
    turns_NN = torch.polar(torch.ones(()).double(), 2 * math.pi / size * places_N[:, None] * places_N)
    return decay * turns_NN[1 % size][:, None], turns_NN.conj() @ (coefficients_NE + 0j) / size


def _coefficient(block: GatedToeplitz, place: int) -> Tensor:
    """The relative position encoder, [E]."""
    first, *layers = cast(list[nn.Linear], block.encoder)
    h_F = first.weight[:, 0] * place + first.bias
    for norm, layer in zip(cast(list[nn.LayerNorm], block.norms), layers, strict=True):
        centred_F = h_F - h_F.mean()
        h_F = norm.weight * centred_F / (centred_F.square().mean() + norm.eps).sqrt() + norm.bias
        h_F = layer.weight @ h_F.clamp(min=0) + layer.bias
    return h_F
