"""Blocks of tokens as layers over images.

Letters in tensor names: N images, C channels, H height, W width, L = H W tokens.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import Conv2d, PixelShuffle, PixelUnshuffle

from spaces.blocks.base import Block
from spaces.blocks.mlp import SwiGLU
from spaces.blocks.multi_axis import MambaND
from spaces.blocks.spectral import FourierLayer, WholeEinFFT
from spaces.blocks.topology import Residual
from spaces.networks.einspace import Position

__all__ = ["Conv2d", "OverImage", "PixelShuffle", "PixelUnshuffle", "Position"]

BLOCKS: dict[str, type[Block]] = {
    "fourier_layer": FourierLayer,
    "mamba_nd": MambaND,
    "swiglu": SwiGLU,
    "whole_einfft": WholeEinFFT,
}
"""By the names that they are priced under."""


class OverImage(nn.Module):
    """x + block(norm(x)) for images [N, C, H, W], whose pixels are the block's tokens, row by row.

    block: a name in `BLOCKS`; the choices are its.
    """

    def __init__(self, channels: int, block: str, **choices: Any) -> None:
        super().__init__()
        self.layer = Residual(channels, BLOCKS[block](channels, **choices))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NLC, _ = self.layer(x_NCHW.flatten(2).transpose(1, 2))
        return y_NLC.transpose(1, 2).reshape(x_NCHW.shape)
