"""A convolution with a filter as long as the sequence, one output at a time."""

import torch
from torch import Tensor


def long_filter(x_BLC: Tensor, filter_LC: Tensor) -> Tensor:
    """y[t] = sum over j <= t of filter[t - j] * x[j]."""
    rows = [(x_BLC[:, : t + 1] * filter_LC[: t + 1].flip(0)).sum(dim=1) for t in range(x_BLC.shape[1])]
    return torch.stack(rows, dim=1)
