"""Layers whose weights act on Fourier transforms, in complex numbers and by torch's transforms."""

import torch
from torch import Tensor

from spaces.blocks.reference.mlp import gelu
from spaces.blocks.spectral import EinFFT, FourierLayer, SpectralMLP, WholeEinFFT


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


def whole_einfft(block: WholeEinFFT, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]."""
    x_BLKd = x_BLD.unflatten(-1, (block.mix.blocks, -1))
    y_BLKd = spectral_mlp(block.mix, torch.fft.fft2(x_BLKd, dim=(1, 2), norm="ortho"))
    return torch.fft.ifft2(y_BLKd, dim=(1, 2), norm="ortho").real.flatten(2)


def fourier_layer(block: FourierLayer, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]: frequency by frequency."""
    columns = x_BLD.shape[1] if block.one_row else block.columns
    x_BRCD = x_BLD.unflatten(1, (-1, columns))
    rows = x_BRCD.shape[1]
    spectrum = torch.fft.rfft2(x_BRCD, dim=(1, 2))
    kept = torch.zeros_like(spectrum)
    for row in range(rows):
        # From the middle on, they stand for those below 0.
        frequency = row if row < rows - rows // 2 else row - rows
        if not -block.modes <= frequency < block.modes:
            continue
        for column in range(min(block.modes, spectrum.shape[2])):
            matrix = torch.complex(*block.weight[:, frequency, column])
            kept[:, row, column] = spectrum[:, row, column] @ matrix
    y_BRCD = torch.fft.irfft2(kept, s=(rows, columns), dim=(1, 2))
    return gelu(y_BRCD.flatten(1, 2) + x_BLD @ block.skip.weight.T + block.skip.bias)
