"""Mamba: a selective state space model with a decay for each channel and dimension of the state.

Letters in tensor names: B batch, L length, D width, I inner width, R rank of the step sizes, N state, P past inputs
of the convolution; inside the scan time stands first, and Q is the positions of a piece.
"""

import math
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from spaces.blocks.base import Block, State, at_least_float32, check_sizes, dispatch, linear, without_autocast
from spaces.blocks.conv import causal_conv, conv_taps
from spaces.blocks.costs import CONV_KERNEL, step_rank
from spaces.blocks.documents import refuse_both, starts
from spaces.blocks.scan import linear_scan

PIECE = 16
"""Tokens whose states are held at once: few enough to stay in a processor's cache."""
LOG2_E = math.log2(math.e)
"""Powers of two, of an exponent that this scales: PyTorch's exp is several times as slow on AMD's processors."""


class SelectiveState(NamedTuple):
    """The last inputs of the convolution, [B, P, I], and the state of the recurrence, [B, N, I]."""

    past_BPI: Tensor
    ssm_BNI: Tensor


class Mamba(Block):
    """Mamba (Gu and Dao, arXiv 2312.00752, section 3 and figure 3).

    state: dimensions N of the recurrence for each channel. expand: inner width per unit of width. init: "decaying" or
    "mimetic". Step sizes come by a bottleneck of width / 16, rounded up.

        x, z = linear(u);   x = silu(conv(x) + bias);   r, B, C = linear(x);   dt = softplus(linear(r) + bias)
        h[t] = exp(dt[t] A) h[t-1] + dt[t] B[t] x[t];   y[t] = C[t] h[t] + D x[t]
        out = linear(y * silu(z))

    Initial values follow the paper (section 3.6) and its code: A = -(1, ..., N), dt log-uniform in [0.001, 0.1],
    its weights uniform within 1/sqrt(R), D one. Mimetic ones (Trockman et al., arXiv 2410.11135) make a layer begin
    as linear attention whose queries are its keys, which helps to recall: nothing decays (dt = 1 for all tokens,
    A = -exp(-8)), C = B, and the convolution passes its input on.

    Raises ValueError if init is unknown.
    """

    def __init__(self, width: int, *, state: int, expand: int, init: Literal["decaying", "mimetic"]) -> None:
        super().__init__()
        check_sizes(width=width, state=state, expand=expand)
        if init not in ("decaying", "mimetic"):
            raise ValueError(f"unknown init {init!r}: use 'decaying' or 'mimetic'")
        inner, rank = expand * width, step_rank(width)
        self.sizes = (rank, state, state)
        self.in_proj = linear(width, 2 * inner)
        self.taps = conv_taps(CONV_KERNEL, inner)
        self.conv_bias = nn.Parameter(torch.zeros(inner))
        self.select = linear(inner, rank + 2 * state)
        self.step = nn.Linear(rank, inner)
        nn.init.uniform_(self.step.weight, -(rank**-0.5), rank**-0.5)
        dt_I = torch.exp(torch.empty(inner).uniform_(math.log(1e-3), math.log(1e-1)))
        self.step.bias = nn.Parameter(dt_I + torch.log(-torch.expm1(-dt_I)))  # the inverse of softplus
        self.log_a = nn.Parameter(torch.arange(1.0, state + 1).log().repeat(inner, 1))
        self.skip = nn.Parameter(torch.ones(inner))
        self.out = linear(inner, width)
        if init == "mimetic":
            self._mimic_attention()

    @torch.no_grad()
    def _mimic_attention(self) -> None:
        self.taps.zero_()[-1] = 1
        self.step.weight.zero_()
        self.step.bias.fill_(math.log(math.e - 1))  # softplus of it is 1
        self.log_a.fill_(-8)
        _, b_NI, c_NI = self.select.weight.split(self.sizes)
        c_NI.copy_(b_NI)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        refuse_both(state, segments_BL)
        past_BPI, ssm_BNI = self.init_state(x_BLD.shape[0]) if state is None else SelectiveState(*state)
        x_BLI, z_BLI = self.in_proj(x_BLD).chunk(2, dim=-1)
        x_BLI, past_BPI = causal_conv(x_BLI, self.taps, past_BPI, segments_BL)
        x_BLI = F.silu(x_BLI + self.conv_bias)
        r_BLR, b_BLN, c_BLN = self.select(x_BLI).split(self.sizes, dim=-1)
        dt_BLI = F.softplus(at_least_float32(self.step(r_BLR)))
        a_NI = -at_least_float32(self.log_a.T).exp()
        inputs = (x_BLI, dt_BLI, a_NI, b_BLN, c_BLN)
        if state is None:  # no kernel goes on from a state
            y_BLI = dispatch("selective scan", scan_from_nothing, x_BLD, segments_BL, *inputs)
        else:
            y_BLI, ssm_BNI = selective_scan(dt_BLI * x_BLI, *inputs[1:], ssm_BNI)
        y_BLI = y_BLI.to(x_BLI.dtype) + self.skip * x_BLI
        y_BLD = self.out(y_BLI * F.silu(z_BLI))
        return y_BLD, None if state is None else SelectiveState(past_BPI, ssm_BNI)

    def init_state(self, batch: int) -> SelectiveState:
        taps, inner = self.taps.shape
        ssm_BNI = at_least_float32(self.taps.new_zeros(batch, self.sizes[1], inner))
        return SelectiveState(self.taps.new_zeros(batch, taps - 1, inner), ssm_BNI)


def scan_from_nothing(
    x_BLI: Tensor,
    dt_BLI: Tensor,
    a_NI: Tensor,
    b_BLN: Tensor,
    c_BLN: Tensor,
    segments_BL: Tensor | None = None,
) -> Tensor:
    """What `selective_scan` gives for inputs that the step sizes scale, from a state of zeros."""
    zero_BNI = dt_BLI.new_zeros(dt_BLI.shape[0], *a_NI.shape)
    return selective_scan(dt_BLI * x_BLI, dt_BLI, a_NI, b_BLN, c_BLN, zero_BNI, segments_BL)[0]


def selective_scan(
    x_BLI: Tensor,
    dt_BLI: Tensor,
    a_NI: Tensor,
    b_BLN: Tensor,
    c_BLN: Tensor,
    state_BNI: Tensor,
    segments_BL: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """h[t] = exp(dt[t] a) h[t-1] + b[t] x[t], y[t] = sum over N of c[t] h[t]; returns y and the last h.

    With segments, h is zero before each document. Computes in float32 at least. States are N times as large as
    inputs, so only those that pieces of the sequence start from are kept, and the others computed once more for
    the gradient.
    """
    x_LBI, dt_LBI, b_LBN, c_LBN = (
        at_least_float32(part).transpose(0, 1).contiguous() for part in (x_BLI, dt_BLI, b_BLN, c_BLN)
    )
    first_LB = None if segments_BL is None else starts(segments_BL).T
    with without_autocast(x_BLI.device):
        if torch.compiler.is_exporting():  # in pieces, the graph would have a node for each token
            y_LBI, state_BNI = _scan_whole(x_LBI, dt_LBI, a_NI, b_LBN, c_LBN, state_BNI)
        else:
            y_LBI, state_BNI = _scan_in_pieces(x_LBI, dt_LBI, a_NI, b_LBN, c_LBN, state_BNI, first_LB)
    return y_LBI.transpose(0, 1), state_BNI


def _scan_whole(
    x_LBI: Tensor, dt_LBI: Tensor, a_NI: Tensor, b_LBN: Tensor, c_LBN: Tensor, h_BNI: Tensor
) -> tuple[Tensor, Tensor]:
    keep_BLNI = (dt_LBI[:, :, None] * a_NI).exp().transpose(0, 1)
    added_BLNI = (b_LBN[..., None] * x_LBI[:, :, None]).transpose(0, 1)
    h_BLNI = linear_scan(keep_BLNI, added_BLNI, h_BNI)
    return _read(c_LBN, h_BLNI.transpose(0, 1)), h_BLNI[:, -1]


def _read(c_QBN: Tensor, h_QBNI: Tensor) -> Tensor:
    """The sum over N of c times h."""
    return (c_QBN[:, :, None] @ h_QBNI).squeeze(2)


def _project(x_QBI: Tensor, h_QBNI: Tensor) -> Tensor:
    """The sum over I of x times h. As rows times matrices: as matrices times columns it takes ten times as long."""
    return (x_QBI[:, :, None] @ h_QBNI.transpose(2, 3)).squeeze(2)


def _pieces(length: int) -> Iterator[slice]:
    return (slice(start, min(start + PIECE, length)) for start in range(0, length, PIECE))


def _states(
    x_QBI: Tensor, dt_QBI: Tensor, a_NI: Tensor, b_QBN: Tensor, first_QB: Tensor | None, h_BNI: Tensor
) -> tuple[Tensor, Tensor]:
    """How much of h is kept at each token of a piece, and h after it; both [Q, B, N, I]."""
    keep_QBNI = (dt_QBI[:, :, None] * (a_NI * LOG2_E)).exp2_()
    if first_QB is not None:
        keep_QBNI.masked_fill_(first_QB[..., None, None], 0)
    h_QBNI = b_QBN[..., None] * x_QBI[:, :, None]
    for after_BNI, keep_BNI in zip(h_QBNI, keep_QBNI, strict=True):
        h_BNI = after_BNI.addcmul_(keep_BNI, h_BNI)
    return keep_QBNI, h_QBNI


@torch.compiler.disable(reason="its loop over tokens would be a graph of thousands of nodes")
def _scan_in_pieces(*inputs: Tensor | None) -> tuple[Tensor, Tensor]:
    return _SelectiveScan.apply(*inputs)


class _SelectiveScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_LBI: Tensor,
        dt_LBI: Tensor,
        a_NI: Tensor,
        b_LBN: Tensor,
        c_LBN: Tensor,
        h_BNI: Tensor,
        first_LB: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        y_LBI = torch.empty_like(x_LBI)
        before = []
        for at in _pieces(len(x_LBI)):
            before.append(h_BNI)
            first_QB = None if first_LB is None else first_LB[at]
            _, h_QBNI = _states(x_LBI[at], dt_LBI[at], a_NI, b_LBN[at], first_QB, h_BNI)
            y_LBI[at] = _read(c_LBN[at], h_QBNI)
            h_BNI = h_QBNI[-1].clone()  # a view would keep the whole piece alive
        ctx.save_for_backward(x_LBI, dt_LBI, a_NI, b_LBN, c_LBN, first_LB, *before)
        return y_LBI, h_BNI

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, pull_LBI: Tensor, pull_BNI: Tensor) -> tuple[Tensor | None, ...]:
        x_LBI, dt_LBI, a_NI, b_LBN, c_LBN, first_LB, *before = ctx.saved_tensors
        gx_LBI, gdt_LBI, ga_NI, gb_LBN, gc_LBN = map(torch.empty_like, (x_LBI, dt_LBI, a_NI, b_LBN, c_LBN))
        ga_NI.zero_()
        for at, h_BNI in reversed(list(zip(_pieces(len(x_LBI)), before, strict=True))):
            first_QB = None if first_LB is None else first_LB[at]
            keep_QBNI, h_QBNI = _states(x_LBI[at], dt_LBI[at], a_NI, b_LBN[at], first_QB, h_BNI)
            pull_QBI = pull_LBI[at]
            gc_LBN[at] = _project(pull_QBI, h_QBNI)
            # What pulls at h[t]: y[t], and h[t+1] by what is kept; that of the first goes on to the piece before.
            g_QBNI = c_LBN[at][..., None] * pull_QBI[:, :, None]
            for g_BNI, keep_BNI in zip(reversed(g_QBNI.unbind()), reversed(keep_QBNI.unbind()), strict=True):
                pull_BNI = g_BNI.add_(pull_BNI) * keep_BNI
            gx_LBI[at] = _read(b_LBN[at], g_QBNI)
            gb_LBN[at] = _project(x_LBI[at], g_QBNI)
            # The gradient of the logarithm of what is kept, dt * a.
            g_QBNI.mul_(keep_QBNI)
            g_QBNI[0].mul_(h_BNI)
            g_QBNI[1:].mul_(h_QBNI[:-1])
            gdt_LBI[at] = torch.mul(g_QBNI, a_NI, out=h_QBNI).sum(dim=2)
            ga_NI += g_QBNI.mul_(dt_LBI[at][:, :, None]).sum(dim=(0, 1))
        return gx_LBI, gdt_LBI, ga_NI, gb_LBN, gc_LBN, pull_BNI, None
