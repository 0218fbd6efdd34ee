"""Mamba: a selective state space model with a decay for each channel and dimension of the state.

Letters in tensor names: B batch, L length, D width, I inner width, R rank of the step sizes, N state, P past inputs
of the convolution; inside the scan M pieces of Q positions, time first, and T = 1 + Q with the one before.
"""

import math
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from spaces.blocks.base import Block, State, at_least_float32, check_sizes, dispatch, linear, without_autocast
from spaces.blocks.conv import causal_conv, conv_taps
from spaces.blocks.documents import refuse_both, starts
from spaces.blocks.products import mkl_products
from spaces.blocks.scan import linear_scan
from spaces.blocks.sizes import CONV_KERNEL, step_rank

TOKENS = 16
"""Tokens of a piece, at least."""
STATES = 2**19
"""Numbers in the states of a piece, about: few enough for a processor's cache, many for the calls that they take."""
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
            y_BLI, ssm_BNI = selective_scan(*inputs, ssm_BNI)
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
    """What `selective_scan` gives from a state of zeros."""
    zero_BNI = dt_BLI.new_zeros(dt_BLI.shape[0], *a_NI.shape)
    return selective_scan(x_BLI, dt_BLI, a_NI, b_BLN, c_BLN, zero_BNI, segments_BL)[0]


def selective_scan(
    x_BLI: Tensor,
    dt_BLI: Tensor,
    a_NI: Tensor,
    b_BLN: Tensor,
    c_BLN: Tensor,
    state_BNI: Tensor,
    segments_BL: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """h[t] = exp(dt[t] a) h[t-1] + dt[t] b[t] x[t], y[t] = sum over N of c[t] h[t]; returns y and the last h.

    With segments, h is zero before each document. Computes in float32 at least. States are N times as large as
    inputs, so only those that pieces of the sequence start from are kept, and the others computed once more for
    the gradient.
    """
    x_BLI, dt_BLI, b_BLN, c_BLN = (at_least_float32(part) for part in (x_BLI, dt_BLI, b_BLN, c_BLN))
    first_BL = None if segments_BL is None else starts(segments_BL)
    with without_autocast(x_BLI.device):
        if torch.compiler.is_exporting():  # in pieces, the graph would have a node for each token
            return _scan_whole(x_BLI, dt_BLI, a_NI, b_BLN, c_BLN, state_BNI, first_BL)
        if x_BLI.shape[1] == 1 and first_BL is None:  # decoding, to which a piece's memory would add
            keep_BNI, added_BNI = (dt_BLI * a_NI).exp(), b_BLN.mT * (dt_BLI * x_BLI)
            state_BNI = torch.addcmul(added_BNI, keep_BNI, state_BNI)
            return c_BLN @ state_BNI, state_BNI
        # Vectors of processors do not load what is strided, as a transposed parameter is.
        return _scan_in_pieces(x_BLI, dt_BLI, a_NI.contiguous(), b_BLN, c_BLN, state_BNI, first_BL)


def _scan_whole(
    x_BLI: Tensor,
    dt_BLI: Tensor,
    a_NI: Tensor,
    b_BLN: Tensor,
    c_BLN: Tensor,
    h_BNI: Tensor,
    first_BL: Tensor | None,
) -> tuple[Tensor, Tensor]:
    keep_BLNI = (dt_BLI[:, :, None] * a_NI).exp()
    if first_BL is not None:
        keep_BLNI = keep_BLNI.masked_fill(first_BL[..., None, None], 0)
    h_BLNI = linear_scan(keep_BLNI, b_BLN[..., None] * (dt_BLI * x_BLI)[:, :, None], h_BNI)
    return _read(c_BLN, h_BLNI), h_BLNI[:, -1]


def _read(c_QBN: Tensor, h_QBNI: Tensor) -> Tensor:
    """The sum over N of c times h."""
    return (c_QBN[:, :, None] @ h_QBNI).squeeze(2)


def _project(x_QBI: Tensor, h_QBNI: Tensor) -> Tensor:
    """The sum over I of x times h. As rows times matrices: as matrices times columns it takes ten times as long."""
    return (x_QBI[:, :, None] @ h_QBNI.transpose(2, 3)).squeeze(2)


def _slices(total: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, total)) for start in range(0, total, size)]


def _pieces(x_BLI: Tensor, a_NI: Tensor) -> tuple[list[slice], list[slice]]:
    """Which sequences, and which of their tokens, are a piece together."""
    batch, length, _ = x_BLI.shape
    if a_NI.device.type != "cpu":
        return _slices(batch, batch), _slices(length, TOKENS)
    room = STATES // a_NI.numel()
    rows = min(batch, max(1, room // TOKENS))
    return _slices(batch, rows), _slices(length, max(TOKENS, room // rows))


def _cut(part_BLX: Tensor, rows: slice, at: slice) -> Tensor:
    """What belongs to a piece, [Q, B, X]."""
    return part_BLX[rows, at].transpose(0, 1).contiguous()


def _states(
    x_QBI: Tensor,
    dt_QBI: Tensor,
    a_NI: Tensor,
    b_QBN: Tensor,
    first_QB: Tensor | None,
    keep_QBNI: Tensor,
    h_TBNI: Tensor,
) -> None:
    """Fills in how much of h is kept at each token of a piece, and h after it; h_TBNI[0] is h before the piece."""
    torch.mul(dt_QBI[:, :, None], a_NI * LOG2_E, out=keep_QBNI).exp2_()
    if first_QB is not None:
        keep_QBNI.masked_fill_(first_QB[..., None, None], 0)
    torch.mul(b_QBN[..., None], x_QBI[:, :, None], out=h_TBNI[1:])
    for keep_BNI, before_BNI, after_BNI in zip(keep_QBNI, h_TBNI[:-1], h_TBNI[1:], strict=True):
        after_BNI.addcmul_(keep_BNI, before_BNI)


@torch.compiler.disable(reason="its loop over tokens would be a graph of thousands of nodes")
def _scan_in_pieces(*inputs: Tensor | None) -> tuple[Tensor, Tensor]:
    return _SelectiveScan.apply(*inputs)


class _SelectiveScan(torch.autograd.Function):
    """Piece by piece, in the same memory, which stays in the cache."""

    @staticmethod
    @mkl_products()
    def forward(
        ctx: Any,
        x_BLI: Tensor,
        dt_BLI: Tensor,
        a_NI: Tensor,
        b_BLN: Tensor,
        c_BLN: Tensor,
        state_BNI: Tensor,
        first_BL: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        batches, pieces = _pieces(x_BLI, a_NI)
        y_BLI, last_BNI = torch.empty_like(x_BLI), torch.empty_like(state_BNI)
        before_MBNI = state_BNI.new_empty(len(pieces), *state_BNI.shape)
        for rows in batches:
            shape = state_BNI[rows].shape
            keeps_QBNI = state_BNI.new_empty(pieces[0].stop, *shape)
            states_TBNI = state_BNI.new_empty(1 + pieces[0].stop, *shape)
            states_TBNI[0] = state_BNI[rows]
            for number, at in enumerate(pieces):
                x_QBI, dt_QBI, b_QBN, c_QBN = (_cut(part, rows, at) for part in (x_BLI, dt_BLI, b_BLN, c_BLN))
                first_QB = None if first_BL is None else _cut(first_BL, rows, at)
                keep_QBNI, h_TBNI = keeps_QBNI[: len(x_QBI)], states_TBNI[: 1 + len(x_QBI)]
                before_MBNI[number, rows] = h_TBNI[0]
                _states(dt_QBI * x_QBI, dt_QBI, a_NI, b_QBN, first_QB, keep_QBNI, h_TBNI)
                y_BLI[rows, at] = _read(c_QBN, h_TBNI[1:]).transpose(0, 1)
                states_TBNI[0] = h_TBNI[-1]
            last_BNI[rows] = states_TBNI[0]
        ctx.save_for_backward(x_BLI, dt_BLI, a_NI, b_BLN, c_BLN, first_BL, before_MBNI)
        return y_BLI, last_BNI

    @staticmethod
    @once_differentiable
    @mkl_products()
    def backward(ctx: Any, pull_BLI: Tensor, pull_BNI: Tensor) -> tuple[Tensor | None, ...]:
        x_BLI, dt_BLI, a_NI, b_BLN, c_BLN, first_BL, before_MBNI = ctx.saved_tensors
        parts = (x_BLI, dt_BLI, b_BLN, c_BLN)
        gx_BLI, gdt_BLI, gb_BLN, gc_BLN = map(torch.empty_like, parts)
        ga_NI, gstate_BNI = torch.zeros_like(a_NI), torch.empty_like(pull_BNI)
        batches, pieces = _pieces(x_BLI, a_NI)
        for rows in batches:
            later_BNI = pull_BNI[rows]
            keeps_QBNI, pulls_QBNI = pull_BNI.new_empty(2, pieces[0].stop, *later_BNI.shape)
            states_TBNI = pull_BNI.new_empty(1 + pieces[0].stop, *later_BNI.shape)
            for number, at in reversed(list(enumerate(pieces))):
                x_QBI, dt_QBI, b_QBN, c_QBN, pull_QBI = (_cut(part, rows, at) for part in (*parts, pull_BLI))
                first_QB = None if first_BL is None else _cut(first_BL, rows, at)
                keep_QBNI, h_TBNI = keeps_QBNI[: len(x_QBI)], states_TBNI[: 1 + len(x_QBI)]
                h_TBNI[0] = before_MBNI[number, rows]
                scaled_QBI = dt_QBI * x_QBI
                _states(scaled_QBI, dt_QBI, a_NI, b_QBN, first_QB, keep_QBNI, h_TBNI)
                gc_BLN[rows, at] = _project(pull_QBI, h_TBNI[1:]).transpose(0, 1)
                # What pulls at h[t]: y[t], and h[t+1] by what is kept.
                g_QBNI = torch.mul(c_QBN[..., None], pull_QBI[:, :, None], out=pulls_QBNI[: len(x_QBI)])
                g, keep = g_QBNI.unbind(), keep_QBNI.unbind()
                g[-1].add_(later_BNI)
                for t in range(len(g) - 1, 0, -1):
                    g[t - 1].addcmul_(g[t], keep[t])
                gscaled_QBI = _read(b_QBN, g_QBNI)
                gx_BLI[rows, at] = (gscaled_QBI * dt_QBI).transpose(0, 1)
                gb_BLN[rows, at] = _project(scaled_QBI, g_QBNI).transpose(0, 1)
                # What pulls at h before each token, and then the gradient of the logarithm of what is kept, dt * a.
                glog_QBNI = keep_QBNI.mul_(g_QBNI)
                later_BNI = glog_QBNI[0].clone()
                glog_QBNI.mul_(h_TBNI[:-1])
                gdt_QBI = torch.mul(glog_QBNI, a_NI, out=g_QBNI).sum(dim=2)
                gdt_BLI[rows, at] = gdt_QBI.addcmul_(gscaled_QBI, x_QBI).transpose(0, 1)
                ga_NI += glog_QBNI.mul_(dt_QBI[:, :, None]).sum(dim=(0, 1))
            gstate_BNI[rows] = later_BNI
        return gx_BLI, gdt_BLI, ga_NI, gb_BLN, gc_BLN, gstate_BNI, None
