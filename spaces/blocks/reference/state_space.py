"""S4, S4D and S5 as the recurrences they are, one token at a time, in complex numbers."""

import torch
from torch import Tensor

from spaces.blocks.reference.mlp import gelu
from spaces.blocks.s4 import S4
from spaces.blocks.state_space import S4D, S5, Rates


def s4d(block: S4D, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]."""
    angle = torch.zeros_like(block.rate.weight) if block.angle is None else block.angle
    a_DN = torch.complex(-rates(block.rate), angle)
    grown_DN = torch.exp(torch.exp(block.log_dt)[:, None] * a_DN)
    c_DN = block.read[0] + 0j if block.angle is None else torch.complex(*block.read)
    h_BDN = torch.zeros(len(x_BLD), *a_DN.shape, dtype=a_DN.dtype)
    rows = []
    for t in range(x_BLD.shape[1]):
        h_BDN = grown_DN * h_BDN + (grown_DN - 1) / a_DN * x_BLD[:, t, :, None]
        rows.append((c_DN * h_BDN).sum(dim=-1).real * (1 if block.angle is None else 2))
    out, gate = (gelu(torch.stack(rows, dim=1) + block.skip * x_BLD) @ block.out.weight.T).chunk(2, dim=-1)
    return out * gate.sigmoid()


def s5(block: S5, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]: equations 5 and 6 of arXiv 2208.04933."""
    a_N = torch.complex(-rates(block.rate), block.angle)
    grown_N = torch.exp(torch.exp(block.log_dt) * a_N)
    b_DN = torch.complex(block.write[:, ::2], block.write[:, 1::2])
    c_DN = torch.complex(block.read[:, ::2], -block.read[:, 1::2])
    h_BN = torch.zeros(len(x_BLD), len(a_N), dtype=a_N.dtype)
    rows = []
    for t in range(x_BLD.shape[1]):
        h_BN = grown_N * h_BN + (grown_N - 1) / a_N * ((x_BLD[:, t] + 0j) @ b_DN)
        rows.append(2 * (h_BN @ c_DN.T).real)
    y = gelu(torch.stack(rows, dim=1) + block.skip * x_BLD)
    return y * torch.sigmoid(y @ block.gate.weight.T)


def rates(block: Rates) -> Tensor:
    """What `block()` should return."""
    return torch.exp(block.weight) if block.least is None else 1 / (block.weight**2 + block.least)


def s4(block: S4, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]: every mode and its conjugate, the matrix as a whole."""
    lambda_DN, low_DN, write_DN, read_DN = (
        torch.cat([z_DN, z_DN.conj()], dim=1)
        for z_DN in (
            torch.complex(-rates(block.rate), block.angle),
            *(torch.complex(*part) for part in (block.low, block.write, block.read)),
        )
    )
    half_D11 = torch.exp(block.log_dt)[:, None, None] / 2
    a_DNN = torch.diag_embed(lambda_DN) - low_DN[:, :, None] * low_DN[:, None].conj()
    one_NN = torch.eye(lambda_DN.shape[1], dtype=lambda_DN.dtype)
    keep_DNN = torch.linalg.solve(one_NN - half_D11 * a_DNN, one_NN + half_D11 * a_DNN)
    added_DN = torch.linalg.solve(one_NN - half_D11 * a_DNN, 2 * half_D11[..., 0] * write_DN)
    h_BDN = torch.zeros(len(x_BLD), *lambda_DN.shape, dtype=lambda_DN.dtype)
    rows = []
    for t in range(x_BLD.shape[1]):
        h_BDN = (keep_DNN @ h_BDN[..., None])[..., 0] + added_DN * x_BLD[:, t, :, None]
        rows.append((read_DN * h_BDN).sum(dim=-1).real)
    out, gate = (gelu(torch.stack(rows, dim=1) + block.skip * x_BLD) @ block.out.weight.T).chunk(2, dim=-1)
    return out * gate.sigmoid()
