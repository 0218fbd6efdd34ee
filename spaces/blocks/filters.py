"""Causal convolutions with filters as long as the sequence, all at once and continued from a state.

Letters in tensor names: B batch, L length, C channels, S tokens of a part, a power of two.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from spaces.blocks.base import at_least_float32
from spaces.blocks.documents import each_alone

Parts = tuple[tuple[Tensor, Tensor], ...]
"""What a convolution remembers of t tokens: for each power of two in t, the largest first, as many of them, the oldest
first, [B, S, C], and what these add to as many outputs after them, [B, S, C], in float32 at least."""


def long_filter(x_BLC: Tensor, filter_LC: Tensor, segments_BL: Tensor | None = None) -> Tensor:
    """y[t] = sum over j <= t of filter[t - j] * x[j], for each channel, in O(L log L).

    By the Fourier transform of twice the length, in float32 at least. With segments, each document is filtered by
    itself: sums over all of a sequence could not be taken apart again without a rest.
    """
    if segments_BL is None:
        return _filtered(x_BLC, filter_LC)
    return each_alone(lambda x_BLC: _filtered(x_BLC, filter_LC), x_BLC, segments_BL)


def _filtered(x_BLC: Tensor, filter_LC: Tensor) -> Tensor:
    length = x_BLC.shape[1]
    x_BCL = at_least_float32(x_BLC).transpose(1, 2)
    filter_CL = at_least_float32(filter_LC[:length]).T
    if torch.compiler.is_exporting():  # runtimes of ONNX have no Fourier transform that fits
        padded_BCL = F.pad(x_BCL, (length - 1, 0))
        y_BCL = F.conv1d(padded_BCL, filter_CL.flip(1)[:, None], groups=len(filter_CL))
    else:
        spectrum_BCF = torch.fft.rfft(x_BCL, 2 * length) * torch.fft.rfft(filter_CL, 2 * length)
        y_BCL = torch.fft.irfft(spectrum_BCF, 2 * length)[..., :length]
    return y_BCL.transpose(1, 2).to(x_BLC.dtype)


def continued_filter(x_BLC: Tensor, filter_of: Callable[[int], Tensor], parts: Parts) -> tuple[Tensor, Parts]:
    """What `long_filter` gives of tokens that come after others, [B, L, C], and what is remembered of all of them.

    filter_of: the first numbers of the filter, as many as asked for, [n, C].

    Tokens are put together as carries are in binary counting: 2^k of them, once they are complete, are convolved with
    what they add to the next 2^k outputs, by one Fourier transform. So all outputs are exact, no pair of tokens is
    looked at twice, and a token takes O(log^2 t) on average, where t came before; some take longer than others. (The
    tiling of Flash Inference, arXiv 2410.12982, algorithm 2; FutureFill, arXiv 2410.03766, is near to it.) Nothing is
    changed in place.
    """
    outputs = []
    while x_BLC.shape[1]:
        seen, length = sum(inputs_BSC.shape[1] for inputs_BSC, _ in parts), x_BLC.shape[1]
        # As many as come before the next carry: a power of two that divides what was seen.
        size = 1
        while 2 * size <= length and seen % (2 * size) == 0:
            size *= 2
        new_BSC, x_BLC = x_BLC[:, :size], x_BLC[:, size:]
        kept, joined, total = list(parts), [new_BSC], size
        while kept and kept[-1][0].shape[1] == total:
            joined.insert(0, kept.pop()[0])
            total *= 2
        filter_SC = filter_of(2 * total)
        y_BSC = long_filter(at_least_float32(new_BSC), filter_SC)
        for _, later_BSC in parts:
            begun = seen % later_BSC.shape[1]
            y_BSC = y_BSC + later_BSC[:, begun : begun + size]
        inputs_BSC = torch.cat(joined, dim=1)
        parts = (*kept, (inputs_BSC, _after(inputs_BSC, filter_SC)))
        outputs.append(y_BSC.to(new_BSC.dtype))
    return torch.cat(outputs, dim=1), parts


def _after(x_BSC: Tensor, filter_LC: Tensor) -> Tensor:
    """What tokens add to as many outputs after them, [B, S, C], by filters of twice their number."""
    size = x_BSC.shape[1]
    x_BCS, filter_CL = at_least_float32(x_BSC).transpose(1, 2), at_least_float32(filter_LC).T
    # What the transform of twice the size wraps around falls on the first outputs, which are not wanted.
    spectrum_BCF = torch.fft.rfft(x_BCS, 2 * size) * torch.fft.rfft(filter_CL, 2 * size)
    y_BCS = torch.fft.irfft(spectrum_BCF, 2 * size)[..., size:]
    # Copied, as a view would keep the others alive.
    return y_BCS.transpose(1, 2).clone(memory_format=torch.contiguous_format)
