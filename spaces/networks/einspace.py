"""The operators of einspace (Ericsson et al. 2024, arXiv 2405.20838, appendix A) on [N, C, H, W] and [N, L, D].

Letters in names: N images, C channels, H height, W width, L tokens, D features. Dimensions count from 1, after the
batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import Conv2d, LeakyReLU, Linear, functional

__all__ = [
    "Col2Im",
    "Concatenate",
    "Conv2d",
    "Dot",
    "Group",
    "Im2Col",
    "LeakyReLU",
    "Linear",
    "Norm",
    "Permute",
    "Position",
    "Softmax",
]


class Group(nn.Module):
    """Splits a dimension into equal parts, one a branch."""

    def __init__(self, ways: int, dim: int) -> None:
        super().__init__()
        self.ways, self.dim = ways, dim

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return x.chunk(self.ways, dim=self.dim)


class Dot(nn.Module):
    """The matrix product of two branches over their last two dimensions; scaled by 1 / sqrt(the last of the first)."""

    def __init__(self, scaled: bool) -> None:
        super().__init__()
        self.scaled = scaled

    def forward(self, branches: Sequence[Tensor]) -> Tensor:
        first, second = branches
        product = first @ second
        return product / first.shape[-1] ** 0.5 if self.scaled else product


class Concatenate(nn.Module):
    """The branches one after the other along a dimension."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, branches: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(branches), dim=self.dim)


class Permute(nn.Module):
    """Dimensions in another order."""

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        self.order = tuple(order)

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, *self.order)


class Im2Col(nn.Module):
    """The patches of an image as tokens: [N, C, H, W] to [N, L, C * kernel * kernel]."""

    def __init__(self, kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NDL = functional.unfold(x_NCHW, self.kernel, padding=self.padding, stride=self.stride)
        return x_NDL.transpose(1, 2)


class Col2Im(nn.Module):
    """Tokens as pixels: [N, L, D] to [N, *shape], whose first axis is D where L is height times width."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x_NLD: Tensor) -> Tensor:
        return x_NLD.transpose(1, 2).reshape(len(x_NLD), *self.shape)


class Norm(nn.Module):
    """Batch normalisation of images, layer normalisation of tokens."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.norm: nn.Module = nn.BatchNorm2d(shape[0]) if len(shape) == 3 else nn.LayerNorm(shape[-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


class Softmax(nn.Module):
    """Softmax over the last dimension."""

    def forward(self, x: Tensor) -> Tensor:
        return x.softmax(dim=-1)


class Position(nn.Module):
    """Adds a learned tensor of the shape of its input, initialised from a standard normal distribution."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(*shape))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.position
