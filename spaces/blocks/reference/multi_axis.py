"""Scans over the axes of an image, token by token in the order of a list."""

import torch
from torch import Tensor

from spaces.blocks.multi_axis import MambaND
from spaces.blocks.reference.selective_ssm import mamba


def mamba_nd(block: MambaND, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]."""
    rows, columns = x_BLD.shape[1] // block.columns, block.columns
    places = [row * columns + column for row in range(rows) for column in range(columns)]
    if block.order in ("columns", "columns_back"):
        places = [row * columns + column for column in range(columns) for row in range(rows)]
    if block.order in ("rows_back", "columns_back"):
        places = places[::-1]
    y_BLD = mamba(block.scan, torch.stack([x_BLD[:, place] for place in places], dim=1))
    return torch.stack([y_BLD[:, places.index(place)] for place in range(len(places))], dim=1)
