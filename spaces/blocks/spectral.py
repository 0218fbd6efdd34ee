"""Layers whose weights act on Fourier transforms.

Letters in tensor names: B batch, L length, D width, K blocks, d channels of a block, P the real and the imaginary part,
X others.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spaces.blocks.base import Block, State, check_sizes

SHRUNK = 0.01
"""The soft threshold of EinFFT, that of the authors' code."""


class EinFFT(Block):
    """EinFFT of SiMBA (Patro and Agneeswaran, arXiv 2403.15360, section 3.2) over channels alone, which is causal.

    blocks: into how many the channels are cut.

        X = fourier(blocks of x);   Y = shrink(W2 relu(W1 X + b1) + b2);   y = real part of the inverse of Y

    with complex weights and biases for each block, relu and the soft threshold of 0.01 on real and on imaginary parts,
    and transforms that keep the norm. The authors' code transforms over blocks and tokens at once; here over blocks
    only, so that each token is mixed by itself. Ours too: weights begin such that they keep the variance, biases at
    zero.

    Raises ValueError if blocks do not divide the width.
    """

    def __init__(self, width: int, *, blocks: int) -> None:
        super().__init__()
        self.mix = SpectralMLP(width, blocks=blocks)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        turns_KX = turns(self.mix.blocks, x_BLD)
        x_BLdK = x_BLD.unflatten(-1, (self.mix.blocks, -1)).transpose(2, 3)
        spectrum_BLdPK = (x_BLdK @ turns_KX).unflatten(-1, (2, -1))
        spectrum_KBLPd = self.mix(spectrum_BLdPK.permute(4, 0, 1, 3, 2))
        y_BLdK = spectrum_KBLPd.permute(1, 2, 4, 3, 0).flatten(3) @ turns_KX.T
        return y_BLdK.transpose(2, 3).flatten(2), state


def turns(size: int, like: Tensor) -> Tensor:
    """What real numbers are multiplied with for their Fourier transform, real parts before imaginary ones, [K, 2 K].

    The other way around, it takes them to the real part of the inverse transform. Both keep the norm.
    """
    precise = torch.promote_types(like.dtype, torch.float32)
    places = torch.arange(size, device=like.device, dtype=precise)
    angles = 2 * math.pi / size * (places[:, None] * places % size)
    return (torch.cat([angles.cos(), -angles.sin()], dim=1) * size**-0.5).to(like.dtype)


class SpectralMLP(nn.Module):
    """Two complex layers, block by block, with relu between them and a soft threshold after them."""

    def __init__(self, width: int, *, blocks: int) -> None:
        super().__init__()
        check_sizes(width=width, blocks=blocks)
        size, rest = divmod(width, blocks)
        if rest:
            raise ValueError(f"{blocks} blocks do not divide width {width}")
        self.blocks = blocks
        scale = (2 * size) ** -0.5
        self.first = nn.Parameter(torch.randn(2, blocks, size, size) * scale)
        self.first_bias = nn.Parameter(torch.zeros(2, blocks, size))
        self.second = nn.Parameter(torch.randn(2, blocks, size, size) * scale)
        self.second_bias = nn.Parameter(torch.zeros(2, blocks, size))

    def forward(self, spectrum_KXPd: Tensor) -> Tensor:
        """What becomes of a spectrum [K, ..., 2, d]."""
        h_KXd = spectrum_KXPd.flatten(-2).flatten(1, -2)
        h_KXd = F.relu(_layer(h_KXd, self.first, self.first_bias))
        h_KXd = F.softshrink(_layer(h_KXd, self.second, self.second_bias), SHRUNK)
        return h_KXd.view_as(spectrum_KXPd)


def _layer(h_KXd: Tensor, weight_PKdd: Tensor, bias_PKd: Tensor) -> Tensor:
    """A complex layer for each block, of real parts before imaginary ones; one product of real matrices."""
    real_Kdd, imaginary_Kdd = weight_PKdd
    weight_Kdd = torch.cat(
        [torch.cat([real_Kdd, imaginary_Kdd], dim=2), torch.cat([-imaginary_Kdd, real_Kdd], dim=2)], dim=1
    )
    return torch.baddbmm(torch.cat(bias_PKd.unbind(), dim=-1)[:, None], h_KXd, weight_Kdd)
