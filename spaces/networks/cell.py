"""The network of NAS-Bench-201 around a cell (Dong and Yang 2020, section 2.1 and figure 1).

Letters in names: N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

Edge = tuple[int, int, str]


def relu_conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    """ReLU, convolution without bias, batch normalisation."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(outputs))


def operator(name: str, channels: int) -> nn.Module | None:
    """The module of an edge; None where nothing comes through."""
    if name == "none":
        return None
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return relu_conv_norm(channels, channels, 3 if name == "nor_conv_3x3" else 1)


class CellBlock(nn.Module):
    """A cell: node 0 is the input, each other node the sum of its edges, the last the output; all [N, C, H, W]."""

    def __init__(self, edges: Sequence[Edge], channels: int) -> None:
        super().__init__()
        self.edges = [(source, target) for source, target, _ in edges]
        self.last = max(target for _, target, _ in edges)
        made = [operator(name, channels) for _, _, name in edges]
        self.operators = nn.ModuleDict(
            {str(i): module for i, module in enumerate(made) if module is not None}
        )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        nodes = [x_NCHW] + [torch.zeros_like(x_NCHW) for _ in range(self.last)]
        for i, (source, target) in enumerate(self.edges):
            if str(i) in self.operators:
                nodes[target] = nodes[target] + self.operators[str(i)](nodes[source])
        return nodes[self.last]


class Reduction(nn.Module):
    """A residual block that halves height and width, with twice the channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            relu_conv_norm(inputs, outputs, 3, stride=2), relu_conv_norm(outputs, outputs, 3)
        )
        pool = nn.AvgPool2d(2, stride=2, ceil_mode=True)
        self.shortcut = nn.Sequential(pool, nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.shortcut(x_NCHW) + self.body(x_NCHW)


class CellNetwork(nn.Module):
    """Stem, stages of cells with a reduction between two stages, pooling over the image, and a head.

    Takes images [N, channels, H, W], gives logits [N, classes].

    Args:
        stages: the cells of each stage.
        widths: the channels of each stage.
    """

    def __init__(
        self, stages: Sequence[Sequence[nn.Module]], channels: int, classes: int, widths: Sequence[int]
    ) -> None:
        super().__init__()
        stem = nn.Sequential(
            nn.Conv2d(channels, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0])
        )
        layers: list[nn.Module] = [stem]
        for stage, cells in enumerate(stages):
            if stage:
                layers.append(Reduction(widths[stage - 1], widths[stage]))
            layers.extend(cells)
        self.layers = nn.Sequential(*layers)
        self.norm = nn.Sequential(nn.BatchNorm2d(widths[-1]), nn.ReLU())
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.head(self.norm(self.layers(x_NCHW)).mean(dim=(2, 3)))
