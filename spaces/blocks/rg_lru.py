"""The gated recurrent block of Griffin.

Letters in tensor names: B batch, L length, D width, I inner width, H blocks of the gates, K = I / H, P past inputs of
the convolution.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spaces.blocks.base import Block, State, at_least_float32, check_sizes, linear
from spaces.blocks.conv import causal_conv, conv_taps
from spaces.blocks.documents import refuse_both, starts
from spaces.blocks.scan import linear_scan
from spaces.blocks.sizes import CONV_KERNEL

SHARPNESS = 8.0
"""The constant c of the decay."""


class RecurrentState(NamedTuple):
    """The last inputs of the convolution, [B, P, I], the hidden state, [B, I], and whether there was a token."""

    past_BPI: Tensor
    h_BI: Tensor
    begun: bool


class RGLRU(Block):
    """Griffin's recurrent block with the real-gated linear recurrent unit (De et al., arXiv 2402.19427, section 2).

    expand: inner width per unit of width. heads: blocks on the diagonal of the gates' matrices.

        x, z = linear(u);   x = conv(x);   r, i = sigmoid(blocks(x) + bias)
        log a[t] = -8 r[t] softplus(rate);   h[t] = a[t] h[t-1] + sqrt(1 - a[t]^2) i[t] x[t]
        out = linear(h * gelu(z))

    The first token of a sequence, which has nothing before it to make room for, enters whole, as in the authors'
    code. Rates begin where a^8 is uniform in [0.9, 0.999] with the gate open.

    Raises ValueError if heads does not divide expand * width.
    """

    def __init__(self, width: int, *, expand: int, heads: int) -> None:
        super().__init__()
        check_sizes(width=width, expand=expand, heads=heads)
        inner = expand * width
        if inner % heads:
            raise ValueError(f"expand * width = {inner} is not a multiple of heads {heads}")
        self.in_proj = linear(width, 2 * inner)
        self.taps = conv_taps(CONV_KERNEL, inner)
        block = inner // heads
        self.gates = nn.Parameter(torch.randn(heads, block, 2 * block) * block**-0.5)
        self.gate_bias = nn.Parameter(torch.zeros(heads, 2 * block))
        step_I = -torch.empty(inner).uniform_(0.9, 0.999).log() / SHARPNESS
        self.rate = nn.Parameter(step_I.expm1().log())  # the inverse of softplus
        self.out = linear(inner, width)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        refuse_both(state, segments_BL)
        past_BPI, h_BI, begun = self.init_state(x_BLD.shape[0]) if state is None else RecurrentState(*state)
        x_BLI, z_BLI = self.in_proj(x_BLD).chunk(2, dim=-1)
        x_BLI, past_BPI = causal_conv(x_BLI, self.taps, past_BPI, segments_BL)
        x_BLHK = x_BLI.unflatten(-1, (len(self.gates), -1))
        gates_BLHK = torch.einsum("blhk,hkj->blhj", x_BLHK, self.gates) + self.gate_bias
        r_BLI, i_BLI = (gate.flatten(2) for gate in at_least_float32(gates_BLHK).sigmoid().chunk(2, dim=-1))
        log_a_BLI = -SHARPNESS * r_BLI * F.softplus(at_least_float32(self.rate))
        # The square root has no gradient at 0, where a decay rounds to one.
        room_BLI = (-torch.expm1(2 * log_a_BLI)).clamp(min=1e-12).sqrt()
        if segments_BL is None:
            first = torch.arange(x_BLD.shape[1], device=x_BLD.device) < (0 if begun else 1)
        else:
            first = starts(segments_BL)
        a_BLI = log_a_BLI.exp().masked_fill(first[..., None], 0)
        h_BLI = linear_scan(a_BLI, room_BLI.masked_fill(first[..., None], 1) * i_BLI * x_BLI, h_BI)
        y_BLD = self.out(h_BLI.to(x_BLI.dtype) * F.gelu(z_BLI))
        return y_BLD, None if state is None else RecurrentState(past_BPI, h_BLI[:, -1].clone(), True)

    def init_state(self, batch: int) -> RecurrentState:
        taps, inner = self.taps.shape
        h_BI = at_least_float32(self.taps.new_zeros(batch, inner))
        return RecurrentState(self.taps.new_zeros(batch, taps - 1, inner), h_BI, False)
