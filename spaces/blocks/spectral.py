"""Layers whose weights act on Fourier transforms.

Letters in tensor names: B batch, L length, D width (and E), K blocks, d channels of a block, P the real and the
imaginary part (and Q), R rows, C columns, G and F frequencies of rows and of columns, N places and M frequencies, X
others.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spaces.blocks.base import Block, State, Whole, at_least_float32, check_sizes

SHRUNK = 0.01
"""The soft threshold of EinFFT, that of the authors' code."""


class EinFFT(Block):
    """EinFFT of SiMBA (Patro and Agneeswaran, arXiv 2403.15360, section 3.2) over channels alone, which is causal.

    blocks: into how many the channels are cut.

        X = fourier(blocks of x);   Y = shrink(W2 relu(W1 X + b1) + b2);   y = real part of the inverse of Y

    with complex weights and biases for each block, relu and the soft threshold of 0.01 on real and on imaginary parts,
    and transforms that keep the norm. The authors' code transforms over blocks and tokens at once, see `WholeEinFFT`;
    here over blocks only, so that each token is mixed by itself. Ours too: weights begin such that they keep the
    variance, biases at zero.

    Raises ValueError if blocks do not divide the width.
    """

    def __init__(self, width: int, *, blocks: int) -> None:
        super().__init__()
        self.mix = SpectralMLP(width, blocks=blocks)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        turns_KPK = _all_turns(self.mix.blocks, x_BLD)[0]
        x_BLdK = x_BLD.unflatten(-1, (self.mix.blocks, -1)).transpose(2, 3)
        spectrum_BLdPK = (x_BLdK @ turns_KPK.flatten(1)).unflatten(-1, (2, -1))
        spectrum_KBLPd = self.mix(spectrum_BLdPK.permute(4, 0, 1, 3, 2))
        y_BLdK = spectrum_KBLPd.permute(1, 2, 4, 3, 0).flatten(3) @ turns_KPK.flatten(1).T
        return y_BLdK.transpose(2, 3).flatten(2), state


class WholeEinFFT(Whole):
    """EinFFT as in its authors' code: the transform is over blocks and all tokens at once, see `EinFFT`.

    Raises ValueError if blocks do not divide the width.
    """

    def __init__(self, width: int, *, blocks: int) -> None:
        super().__init__()
        self.mix = SpectralMLP(width, blocks=blocks)

    def mixed(self, x_BLD: Tensor) -> Tensor:
        x_BLKd = at_least_float32(x_BLD).unflatten(-1, (self.mix.blocks, -1))
        if torch.compiler.is_exporting():  # runtimes of ONNX have no Fourier transform that fits
            of_blocks, of_tokens = (_all_turns(size, x_BLKd) for size in (self.mix.blocks, x_BLD.shape[1]))
            spectrum = torch.einsum("blkd,kpj->bpljd", x_BLKd, of_blocks[0])
            spectrum = torch.einsum("bpljd,plqm->jbmqd", spectrum, of_tokens)
            spectrum = self.mix(spectrum.to(x_BLD.dtype)).to(x_BLKd.dtype)
            y_BPLKd = torch.einsum("jbmqd,plqm->bpljd", spectrum, of_tokens)
            y_BLKd = torch.einsum("bpljd,kpj->blkd", y_BPLKd, of_blocks[0])
        else:
            spectrum_BLKdP = torch.view_as_real(torch.fft.fft2(x_BLKd, dim=(1, 2), norm="ortho"))
            spectrum_KBLPd = self.mix(spectrum_BLKdP.permute(2, 0, 1, 4, 3).to(x_BLD.dtype))
            parts = spectrum_KBLPd.permute(3, 1, 2, 0, 4).to(x_BLKd.dtype).unbind()
            y_BLKd = torch.fft.ifft2(torch.complex(*parts), dim=(1, 2), norm="ortho").real
        return y_BLKd.flatten(2).to(x_BLD.dtype)


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
        bias_K1d, second_bias_K1d = (
            torch.cat(bias.unbind(), dim=-1)[:, None] for bias in (self.first_bias, self.second_bias)
        )
        h_KXd = F.relu(torch.baddbmm(bias_K1d, h_KXd, _complex_product(self.first)))
        h_KXd = torch.baddbmm(second_bias_K1d, h_KXd, _complex_product(self.second))
        return F.softshrink(h_KXd, SHRUNK).view_as(spectrum_KXPd)


class FourierLayer(Whole):
    """The Fourier layer of FNO (Li et al., arXiv 2010.08895, sections 3 and 4), over one axis or two.

    modes: frequencies that are kept, the lowest; over rows those below 0 too. columns: tokens in a row of the image;
    None: all tokens are one row.

        X = fourier(x);   Y[f] = W[f] X[f] for the kept frequencies f, else 0;   y = gelu(inverse of Y + linear(x))

    W[f] are complex matrices, so that images of any size have the same weights. Few frequencies are kept, so they are
    computed by products with matrices, in time linear in the tokens of an axis. Ours: transforms keep the norm, and
    weights begin such that they keep the variance of a frequency.

    Raises ValueError if modes or columns is below 1.
    """

    def __init__(self, width: int, *, modes: int, columns: int | None = None) -> None:
        super().__init__()
        check_sizes(width=width, modes=modes, columns=1 if columns is None else columns)
        self.modes, self.one_row = modes, columns is None
        self.columns = 1 if columns is None else columns
        rows = 1 if self.one_row else 2 * modes
        self.weight = nn.Parameter(torch.randn(2, rows, modes, width, width) * (2 * width) ** -0.5)
        self.skip = nn.Linear(width, width)

    def mixed(self, x_BLD: Tensor) -> Tensor:
        length = x_BLD.shape[1]
        columns = length if self.one_row else self.columns
        x_BRDC = at_least_float32(x_BLD).unflatten(1, (-1, columns)).transpose(2, 3)
        rows = x_BRDC.shape[1]
        of_columns_F = torch.arange(min(self.modes, columns // 2 + 1), device=x_BLD.device)
        turns_CPF = _turns(columns, of_columns_F, x_BRDC)[0]
        spectrum = (x_BRDC @ turns_CPF.flatten(1)).unflatten(-1, (2, -1))
        weight_PGFDE = at_least_float32(self.weight[:, :, : len(of_columns_F)])
        if not self.one_row:
            of_rows_G = _lowest(rows, self.modes, x_BLD.device)
            turns_PRQG = _turns(rows, of_rows_G, x_BRDC)
            spectrum = torch.einsum("brdpf,prqg->bgdqf", spectrum, turns_PRQG)
            weight_PGFDE = weight_PGFDE[:, of_rows_G % (2 * self.modes)]
        spectrum_GFBX = spectrum.permute(1, 4, 0, 3, 2).flatten(3) @ _complex_product(weight_PGFDE)
        spectrum = spectrum_GFBX.unflatten(3, (2, -1)).permute(2, 0, 4, 3, 1)
        if not self.one_row:
            spectrum = torch.einsum("bgdqf,prqg->brdpf", spectrum, turns_PRQG)
        # Frequencies below 0 of a row are the conjugates of those above.
        twice_F = 2 - (2 * of_columns_F % columns == 0).to(turns_CPF.dtype)
        y_BRDC = spectrum.flatten(3) @ (turns_CPF * twice_F).flatten(1).T
        y_BLD = y_BRDC.transpose(2, 3).flatten(1, 2).to(x_BLD.dtype)
        return F.gelu(y_BLD + self.skip(x_BLD))


def _lowest(size: int, modes: int, device: torch.device) -> Tensor:
    """The frequencies nearest to 0 of so many places, as many as `modes` from 0 on and below it, [M]."""
    return torch.cat(
        [
            torch.arange(min(modes, size - size // 2), device=device),
            torch.arange(-min(modes, size // 2), 0, device=device),
        ]
    )


def _turns(size: int, frequencies_M: Tensor, like: Tensor) -> Tensor:
    """The Fourier transform of a complex sequence at some frequencies, of real and imaginary parts, [2, N, 2, M].

    The other way around, it is the inverse transform. Both keep the norm. Of real sequences its first row is enough.
    """
    precise = torch.promote_types(like.dtype, torch.float32)
    places_N = torch.arange(size, device=like.device)
    angles_NM = 2 * math.pi / size * (places_N[:, None] * frequencies_M % size).to(precise)
    cosines_NM, sines_NM = angles_NM.cos() * size**-0.5, angles_NM.sin() * size**-0.5
    of_real = torch.stack([cosines_NM, -sines_NM], dim=1)
    return torch.stack([of_real, torch.stack([sines_NM, cosines_NM], dim=1)]).to(like.dtype)


def _all_turns(size: int, like: Tensor) -> Tensor:
    """The Fourier transform at all frequencies, [2, N, 2, N]."""
    return _turns(size, torch.arange(size, device=like.device), like)


def _complex_product(weight_PXDE: Tensor) -> Tensor:
    """Complex matrices as real ones, which take real parts before imaginary ones to the same, [..., 2 D, 2 E]."""
    real_XDE, imaginary_XDE = weight_PXDE
    of_real = torch.cat([real_XDE, imaginary_XDE], dim=-1)
    return torch.cat([of_real, torch.cat([-imaginary_XDE, real_XDE], dim=-1)], dim=-2)
