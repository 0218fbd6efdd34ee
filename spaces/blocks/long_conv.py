"""The Hyena operator: a gated convolution with an implicit filter as long as the sequence.

Letters in tensor names: B batch, L length, D width, E features of a position, F hidden features, P past inputs of the
short convolution.
"""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spaces.blocks.base import Block, State, at_least_float32, check_sizes, linear, without_autocast
from spaces.blocks.conv import causal_conv, conv_taps
from spaces.blocks.documents import refuse_both
from spaces.blocks.filters import Parts, continued_filter, long_filter
from spaces.blocks.sizes import HYENA_KERNEL, POSITION_BANDS

SINE_FREQUENCY = 10.0
FAST, SLOW, FADED = 0.3, 1.5, 0.01
"""The first channel's window has faded to a hundredth at 0.3 of the span, the last one's at 1.5."""


class LongConvState(NamedTuple):
    """The last inputs of the short convolution, [B, P, 3 D], and all inputs of the long one, by parts."""

    short_BPC: Tensor
    long: Parts


class LongConv(Block):
    """Hyena of order 2 (Poli et al., arXiv 2302.10866, sections 3.2 and 3.3, gated as in the authors' code).

    hidden: features of the network that makes the filter. span: tokens over which positions run from 0 to 1.

        q, k, v = conv3(linear(x));   y = linear(q * (filter * (k v) + D k v))
        filter[t] = exp(-decay t / span) network(t / span)

    The network reads t / span with 8 pairs of cosine and sine, and has three hidden layers with sines of a learned
    frequency. Windows fade from fast to slow over the channels. Any number of tokens can be read: beyond the span,
    positions go on.

    The filter is no recurrence of a fixed size: decoding keeps all inputs and what they add to outputs still to come,
    see `continued_filter`; a token takes O(log^2 t) on average, where t came before.

    Raises ValueError if hidden or span is below 1.
    """

    def __init__(self, width: int, *, hidden: int, span: int) -> None:
        super().__init__()
        check_sizes(width=width, hidden=hidden, span=span)
        self.span = span
        self.in_proj = linear(width, 3 * width)
        self.taps = conv_taps(HYENA_KERNEL, 3 * width)
        sizes = (1 + 2 * POSITION_BANDS, hidden, hidden)
        self.network = nn.ModuleList(nn.Linear(size, hidden) for size in sizes)
        self.frequency = nn.Parameter(torch.full((hidden,), SINE_FREQUENCY))
        self.last = nn.Linear(hidden, width, bias=False)
        self.skip = nn.Parameter(torch.randn(width))
        self.out = linear(width, width)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        refuse_both(state, segments_BL)
        short_BPC, parts = self.init_state(x_BLD.shape[0]) if state is None else LongConvState(*state)
        qkv_BLC, short_BPC = causal_conv(self.in_proj(x_BLD), self.taps, short_BPC, segments_BL)
        q_BLD, k_BLD, v_BLD = qkv_BLC.chunk(3, dim=-1)
        kv_BLD = k_BLD * v_BLD
        if state is None:
            y_BLD = long_filter(kv_BLD, self.filter(kv_BLD.shape[1]), segments_BL)
        else:
            y_BLD, parts = continued_filter(kv_BLD, self.filter, parts)
        y_BLD = self.out(q_BLD * (y_BLD + self.skip * kv_BLD))
        return y_BLD, None if state is None else LongConvState(short_BPC, parts)

    def filter(self, length: int) -> Tensor:
        """The filter for the current token and those before it, [L, D], in float32 at least."""
        device = self.taps.device
        with without_autocast(device):
            frequency_F, last_DF = at_least_float32(self.frequency), at_least_float32(self.last.weight)
            like: dict[str, Any] = {"device": device, "dtype": last_DF.dtype}
            t_L1 = torch.arange(length, **like)[:, None] / self.span
            angle_LE = 2 * math.pi * t_L1 * torch.linspace(1e-4, POSITION_BANDS - 1, POSITION_BANDS, **like)
            h_LF = torch.cat([t_L1, angle_LE.cos(), -angle_LE.sin()], dim=1)
            for layer in self.network:
                weight, bias = (at_least_float32(part) for part in layer.parameters())
                h_LF = torch.sin(frequency_F * F.linear(h_LF, weight, bias))
            fades_D = -math.log(FADED) / torch.linspace(FAST, SLOW, len(last_DF), **like)
            return F.linear(h_LF, last_DF) * torch.exp(-t_L1 * fades_D)

    def init_state(self, batch: int) -> LongConvState:
        taps, channels = self.taps.shape
        return LongConvState(self.taps.new_zeros(batch, taps - 1, channels), ())
