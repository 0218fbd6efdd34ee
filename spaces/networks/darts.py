"""The network of DARTS for CIFAR around its two cells (Liu et al. 2019, sections 2.1 and 3.1, and their code).

Letters in names: N images, C channels, H height, W width.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from spaces.networks.cell import relu_conv_norm

Convolutions = tuple[int, int, tuple[int, ...]]
"""Depthwise separable convolutions one after the other: their kernel, the dilation of the first, and the channels after
each."""
Edge = tuple[str | Convolutions, int]
"""An operator, and the input (0, 1) or node (from 2 on) that it reads."""


def depthwise_separable(
    inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1
) -> nn.Module:
    """ReLU, a depthwise convolution, a 1x1 convolution, batch normalisation."""
    padding = kernel // 2 * dilation
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(inputs, inputs, kernel, stride, padding, dilation, groups=inputs, bias=False),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
    )


class FactorizedReduce(nn.Module):
    """ReLU, two 1x1 convolutions of every other pixel, one of them a pixel off both ways, and batch normalisation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.even = nn.Conv2d(inputs, outputs // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(inputs, outputs - outputs // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NCHW = x_NCHW.relu()
        # The zeros at the end are read only where height or width is odd.
        shifted_NCHW = functional.pad(x_NCHW, (0, 1, 0, 1))[:, :, 1:, 1:]
        return self.norm(torch.cat([self.even(x_NCHW), self.odd(shifted_NCHW)], dim=1))


def operator(kind: str | Convolutions, channels: int, stride: int) -> nn.Module:
    if kind == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels)
    if kind == "max_pool_3x3":
        return nn.MaxPool2d(3, stride, padding=1)
    if isinstance(kind, str):
        return nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)
    kernel, dilation, widths = kind
    first, *others = itertools.pairwise((channels, *widths))
    return nn.Sequential(
        depthwise_separable(*first, kernel, stride, dilation),
        *(depthwise_separable(*sizes, kernel) for sizes in others),
    )


def cell_inputs(before: int, last: int, channels: int, halved: bool) -> nn.ModuleList:
    """What brings the two inputs of a cell to one size and number of channels; see `DARTSCell`."""
    reduce = FactorizedReduce(before, channels) if halved else relu_conv_norm(before, channels, 1)
    return nn.ModuleList([reduce, relu_conv_norm(last, channels, 1)])


class DARTSCell(nn.Module):
    """A cell: two inputs, brought to one size and number of channels; nodes that add two operators; all concatenated.

    Args:
        edges: two for each node.
        before, last: channels of the outputs of the cell before the last one, and of the last.
        channels: of each node.
        halves: whether operators on inputs halve height and width.
        halved: whether the last cell did, so that the output of the one before it is twice the size.
    """

    def __init__(
        self, edges: Sequence[Edge], before: int, last: int, channels: int, halves: bool, halved: bool
    ) -> None:
        super().__init__()
        self.inputs = cell_inputs(before, last, channels, halved)
        self.sources = [source for _, source in edges]
        self.operators = nn.ModuleList(
            operator(kind, channels, stride=2 if halves and source < 2 else 1) for kind, source in edges
        )

    def forward(self, before_NCHW: Tensor, last_NCHW: Tensor) -> Tensor:
        nodes = [self.inputs[0](before_NCHW), self.inputs[1](last_NCHW)]
        for i in range(0, len(self.sources), 2):
            one, other = (self.operators[k](nodes[self.sources[k]]) for k in (i, i + 1))
            nodes.append(one + other)
        return torch.cat(nodes[2:], dim=1)


class DARTSNetwork(nn.Module):
    """Stem, cells that read the two before them, pooling over the image, and a head.

    Takes images [N, inputs, H, W], gives logits [N, classes].

    Args:
        cells: each takes the outputs of the two before it, of which there are two for the first.
        inputs: channels of the image.
        stem: channels of what the first cell reads.
        last: channels of the output of the last cell.
        classes: logits.
    """

    def __init__(self, cells: Sequence[nn.Module], inputs: int, stem: int, last: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(inputs, stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem))
        self.cells = nn.ModuleList(cells)
        self.head = nn.Linear(last, classes)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        before_NCHW = last_NCHW = self.stem(x_NCHW)
        for cell in self.cells:
            before_NCHW, last_NCHW = last_NCHW, cell(before_NCHW, last_NCHW)
        return self.head(last_NCHW.mean(dim=(2, 3)))
