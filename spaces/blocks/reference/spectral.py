"""Layers whose weights act on Fourier transforms, in complex numbers and by torch's transforms."""

import torch
from torch import Tensor

from spaces.blocks.spectral import EinFFT, SpectralMLP


def einfft(block: EinFFT, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]."""
    x_BLKd = x_BLD.unflatten(-1, (block.mix.blocks, -1))
    y_BLKd = spectral_mlp(block.mix, torch.fft.fft(x_BLKd, dim=2, norm="ortho"))
    return torch.fft.ifft(y_BLKd, dim=2, norm="ortho").real.flatten(2)


def spectral_mlp(block: SpectralMLP, x_K: Tensor) -> Tensor:
    """What becomes of a spectrum [..., K, d]."""
    first, first_bias, second, second_bias = (torch.complex(*part) for part in block.parameters())
    h = torch.stack([row @ matrix for row, matrix in zip(x_K.unbind(-2), first, strict=True)], dim=-2)
    h = h + first_bias
    h = torch.complex(h.real.clamp(min=0), h.imag.clamp(min=0))
    h = torch.stack([row @ matrix for row, matrix in zip(h.unbind(-2), second, strict=True)], dim=-2)
    h = h + second_bias
    return torch.complex(*(part.sign() * (part.abs() - 0.01).clamp(min=0) for part in (h.real, h.imag)))
