"""Short causal convolutions over time, one filter a channel, and the gated block around one.

Letters in tensor names: B batch, L length, D width, C channels, T taps of the filter, P = T - 1 past inputs.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from spaces.blocks.base import Block, State, linear


class ConvState(NamedTuple):
    """The last inputs of the filter, [B, P, C]."""

    past_BPC: Tensor


class GatedConv(Block):
    """Gated short convolution of LFM2 (arXiv 2511.23404): y = out(c * conv(b * v)), (b, c, v) = linear(x).

    kernel: taps of the filter, the current token included. Raises ValueError if it is below 1.
    """

    def __init__(self, width: int, *, kernel: int) -> None:
        super().__init__()
        if kernel < 1:
            raise ValueError(f"kernel {kernel} is below 1: the filter covers at least the current token")
        self.bcv = linear(width, 3 * width)
        self.taps = conv_taps(kernel, width)
        self.out = linear(width, width)

    def forward(self, x_BLD: Tensor, state: State | None = None) -> tuple[Tensor, State | None]:
        b_BLD, c_BLD, v_BLD = self.bcv(x_BLD).chunk(3, dim=-1)
        past_BPD = None if state is None else ConvState(*state).past_BPC
        mixed_BLD, past_BPD = causal_conv(b_BLD * v_BLD, self.taps, past_BPD)
        return self.out(c_BLD * mixed_BLD), None if state is None else ConvState(past_BPD)

    def init_state(self, batch: int) -> ConvState:
        taps, channels = self.taps.shape
        return ConvState(self.taps.new_zeros(batch, taps - 1, channels))


def conv_taps(kernel: int, channels: int) -> nn.Parameter:
    """Filters [kernel, channels], the last row for the current token; normal with std 1/sqrt(kernel)."""
    return nn.Parameter(torch.randn(kernel, channels) * kernel**-0.5)


def causal_conv(x_BLC: Tensor, taps_TC: Tensor, past_BPC: Tensor | None) -> tuple[Tensor, Tensor]:
    """Filter each channel: y[t] = sum_i taps[i] * x[t - (T - 1) + i]; returns it and the last T - 1 inputs.

    `past_BPC` are the T - 1 inputs before x, None for zeros. A sum of shifted copies: for so few taps about
    twice as fast on CPU as a grouped conv1d, which has to transpose twice.
    """
    length, taps = x_BLC.shape[1], taps_TC.shape[0]
    if past_BPC is None:
        past_BPC = x_BLC.new_zeros(x_BLC.shape[0], taps - 1, x_BLC.shape[2])
    padded_BSC = torch.cat([past_BPC, x_BLC], dim=1)
    y_BLC = x_BLC.new_zeros(())
    for i, tap_C in enumerate(taps_TC.unbind()):
        y_BLC = torch.addcmul(y_BLC, padded_BSC[:, i : i + length], tap_C)
    return y_BLC, padded_BSC[:, length:].clone()  # a view would keep the whole sequence alive
