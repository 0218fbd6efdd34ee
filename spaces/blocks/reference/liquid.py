"""LTC and CfC as their papers write them, one token at a time."""

import torch
from torch import Tensor

from spaces.blocks.liquid import LTC, CfC


def ltc(block: LTC, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]: equation 3 of arXiv 2006.04439."""
    h_BN = torch.zeros(len(x_BLD), block.neurons, dtype=x_BLD.dtype)
    tau_N, dt = torch.exp(block.log_tau), 1 / block.steps
    rows = []
    for x_BD in x_BLD.unbind(1):
        for _ in range(block.steps):
            f_BN = sigmoid(x_BD @ block.drive.weight.T + h_BN @ block.recurrent + block.drive_bias)
            h_BN = (h_BN + dt * f_BN * block.goal) / (1 + dt * (1 / tau_N + f_BN))
        rows.append(h_BN)
    return torch.stack(rows, dim=1) @ block.out.weight.T


def cfc(block: CfC, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]: the gated form of arXiv 2106.13898, at a time of 1."""
    h_BN = torch.zeros(len(x_BLD), block.neurons, dtype=x_BLD.dtype)
    weights, biases = block.heads.chunk(3, dim=1), block.heads_bias.chunk(3)
    rows = []
    for x_BD in x_BLD.unbind(1):
        z_BM = x_BD @ block.drive.weight.T + h_BN @ block.recurrent + block.drive_bias
        z_BM = 1.7159 * torch.tanh(0.666 * z_BM)
        g_BN, k_BN, f_BN = (z_BM @ weight + bias for weight, bias in zip(weights, biases, strict=True))
        h_BN = sigmoid(-f_BN) * torch.tanh(g_BN) + (1 - sigmoid(-f_BN)) * torch.tanh(k_BN)
        rows.append(h_BN)
    return torch.stack(rows, dim=1) @ block.out.weight.T


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))
