"""Causal convolutions with filters as long as the sequence.

Letters in tensor names: B batch, L length, C channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from spaces.blocks.base import at_least_float32
from spaces.blocks.documents import each_alone


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
