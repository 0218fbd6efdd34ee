"""The networks of RegNet (Radosavovic et al. 2020, section 3.2 and figure 4): a stem, stages of X blocks, a head.

Letters in names: N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


def conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution without bias, batch normalisation."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class XBlock(nn.Module):
    """A residual block of a 1x1, a grouped 3x3 and a 1x1 convolution; one that halves the image has a 1x1 shortcut."""

    def __init__(self, inputs: int, width: int, group_width: int, halves: bool) -> None:
        super().__init__()
        stride = 2 if halves else 1
        self.body = nn.Sequential(
            conv_norm(inputs, width, 1),
            nn.ReLU(),
            conv_norm(width, width, 3, stride, groups=width // group_width),
            nn.ReLU(),
            conv_norm(width, width, 1),
        )
        self.shortcut = conv_norm(inputs, width, 1, stride) if halves else nn.Identity()

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return (self.shortcut(x_NCHW) + self.body(x_NCHW)).relu()


class RegNetwork(nn.Module):
    """A stem, stages whose first block halves the image, pooling over the image, and a head.

    Takes images [N, inputs, H, W], gives logits [N, classes].

    Args:
        stages: width, number of blocks and width of the groups of each.
        inputs: channels of the image.
        classes: logits.
        stem: channels of the stem.
        stem_stride: its stride.
    """

    def __init__(
        self, stages: Sequence[tuple[int, int, int]], inputs: int, classes: int, stem: int, stem_stride: int
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_norm(inputs, stem, 3, stem_stride), nn.ReLU()]
        last = stem
        for width, depth, group_width in stages:
            for block in range(depth):
                layers.append(XBlock(last, width, group_width, halves=block == 0))
                last = width
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(last, classes)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.head(self.layers(x_NCHW).mean(dim=(2, 3)))
