"""The diagonal linear recurrence one token at a time."""

import torch
from torch import Tensor


def linear_scan(a_BLC: Tensor, b_BLC: Tensor, h_BC: Tensor) -> Tensor:
    """h[t] = a[t] h[t-1] + b[t], [B, L, C]."""
    rows = []
    for t in range(a_BLC.shape[1]):
        h_BC = a_BLC[:, t] * h_BC + b_BLC[:, t]
        rows.append(h_BC)
    return torch.stack(rows, dim=1)
