"""Causal convolutions over time, one filter a channel, short and long, and the gated block around a short one.

Letters in tensor names: B batch, L length, D width, C channels, T taps of the filter, P = T - 1 past inputs; of the
long one N exponentials, M chunks, Q (and R) positions in a chunk, X = B * M.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spaces.blocks.base import Block, State, at_least_float32, check_sizes, linear
from spaces.blocks.chunking import UNMODELLED
from spaces.blocks.documents import chunks, refuse_both


class ConvState(NamedTuple):
    """The last inputs of the filter, [B, P, C]."""

    past_BPC: Tensor


class GatedConv(Block):
    """Gated short convolution of LFM2 (arXiv 2511.23404): y = out(c * conv(b * v)), (b, c, v) = linear(x).

    kernel: taps of the filter, the current token included. Raises ValueError if it is below 1.
    """

    def __init__(self, width: int, *, kernel: int) -> None:
        super().__init__()
        check_sizes(width=width, kernel=kernel)
        self.bcv = linear(width, 3 * width)
        self.taps = conv_taps(kernel, width)
        self.out = linear(width, width)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        refuse_both(state, segments_BL)
        b_BLD, c_BLD, v_BLD = self.bcv(x_BLD).chunk(3, dim=-1)
        past_BPD = None if state is None else ConvState(*state).past_BPC
        mixed_BLD, past_BPD = causal_conv(b_BLD * v_BLD, self.taps, past_BPD, segments_BL)
        return self.out(c_BLD * mixed_BLD), None if state is None else ConvState(past_BPD)

    def init_state(self, batch: int) -> ConvState:
        taps, channels = self.taps.shape
        return ConvState(self.taps.new_zeros(batch, taps - 1, channels))


def conv_taps(kernel: int, channels: int) -> nn.Parameter:
    """Filters [kernel, channels], the last row for the current token; normal with std 1/sqrt(kernel)."""
    return nn.Parameter(torch.randn(kernel, channels) * kernel**-0.5)


def causal_conv(
    x_BLC: Tensor, taps_TC: Tensor, past_BPC: Tensor | None, segments_BL: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Filter each channel: y[t] = sum_i taps[i] * x[t - (T - 1) + i]; returns it and the last T - 1 inputs.

    `past_BPC` are the T - 1 inputs before x, None for zeros; with segments, taps reach no other document. A sum
    of shifted copies: for so few taps several times as fast on CPU as a grouped conv1d, which has to transpose
    twice.
    """
    length, taps = x_BLC.shape[1], taps_TC.shape[0]
    if past_BPC is None:
        past_BPC = x_BLC.new_zeros(x_BLC.shape[0], taps - 1, x_BLC.shape[2])
    padded_BSC = torch.cat([past_BPC, x_BLC], dim=1)
    apart_TBL = None
    if segments_BL is not None:
        earlier_BS = F.pad(segments_BL, (taps - 1, 0))
        apart_TBL = torch.stack([earlier_BS[:, i : i + length] != segments_BL for i in range(taps)])
    if torch.is_grad_enabled() and (padded_BSC.requires_grad or taps_TC.requires_grad):
        y_BLC = _ShiftedSum.apply(padded_BSC, taps_TC, apart_TBL)
    else:
        y_BLC = _shifted_sum(padded_BSC, taps_TC, apart_TBL)
    return y_BLC, padded_BSC[:, length:].clone()  # a view would keep the whole sequence alive


def _shifted_sum(padded_BSC: Tensor, taps_TC: Tensor, apart_TBL: Tensor | None) -> Tensor:
    length = padded_BSC.shape[1] - len(taps_TC) + 1
    reads = [padded_BSC[:, i : i + length] for i in range(len(taps_TC))]
    if apart_TBL is not None:
        reads = [
            read_BLC.masked_fill(apart_BL[..., None], 0)
            for read_BLC, apart_BL in zip(reads, apart_TBL, strict=True)
        ]
    y_BLC = torch.addcmul(padded_BSC.new_zeros(()), reads[0], taps_TC[0])
    for read_BLC, tap_C in zip(reads[1:], taps_TC[1:], strict=True):
        y_BLC.addcmul_(read_BLC, tap_C)
    return y_BLC


class _ShiftedSum(torch.autograd.Function):
    """`_shifted_sum`, whose gradient PyTorch would put together from a sequence of zeros for each tap."""

    @staticmethod
    def forward(ctx: Any, padded_BSC: Tensor, taps_TC: Tensor, apart_TBL: Tensor | None) -> Tensor:
        ctx.save_for_backward(padded_BSC, taps_TC, apart_TBL)
        return _shifted_sum(padded_BSC, taps_TC, apart_TBL)

    @staticmethod
    def backward(ctx: Any, pull_BLC: Tensor) -> tuple[Tensor, Tensor, None]:
        padded_BSC, taps_TC, apart_TBL = ctx.saved_tensors
        length = pull_BLC.shape[1]
        gpadded_BSC, gtaps = pull_BLC.new_zeros(padded_BSC.shape), []
        for i, tap_C in enumerate(taps_TC.unbind()):
            here_BLC = pull_BLC if apart_TBL is None else pull_BLC.masked_fill(apart_TBL[i, ..., None], 0)
            gpadded_BSC[:, i : i + length].addcmul_(here_BLC, tap_C)
            gtaps.append((here_BLC * padded_BSC[:, i : i + length]).sum(dim=(0, 1)))
        return gpadded_BSC, torch.stack(gtaps), None


def long_conv(
    x_BLC: Tensor,
    log_rate_CN: Tensor,
    residue_CN: Tensor,
    state_BCN: Tensor,
    segments_BL: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """y_i = sum_(j <= i) K_(i-j) x_j with K_t = sum_n r_n (1 - a_n) a_n^t and a = exp(-exp(log_rate)).

    An implicit kernel that reaches all earlier tokens, as that of a diagonal state space model (S4D, arXiv
    2206.11893), here with real decays. The state is s_n = sum_j a_n^(i-j) x_j; within a chunk the kernel is a
    Toeplitz matrix for each channel, and with segments for each chunk too. Returns y and the last state.
    """
    batch, length, _ = x_BLC.shape
    chunk = min(UNMODELLED, length)
    tail = -length % chunk
    decay_CN = at_least_float32(log_rate_CN).exp()
    gain_CN = (at_least_float32(residue_CN) * -torch.expm1(-decay_CN)).to(x_BLC.dtype)
    lags_Q = torch.arange(chunk, device=x_BLC.device, dtype=decay_CN.dtype)
    power_CNQ = torch.exp(-decay_CN[..., None] * lags_Q).to(x_BLC.dtype)
    kernel_CQ = (gain_CN[..., None] * power_CNQ).sum(dim=1)
    lag_RQ = torch.arange(chunk, device=x_BLC.device) - torch.arange(chunk, device=x_BLC.device)[:, None]
    matrix_CRQ = kernel_CQ[:, lag_RQ.clamp(min=0)] * (lag_RQ >= 0)
    x_CBMQ = F.pad(x_BLC, (0, 0, 0, tail)).unflatten(1, (-1, chunk)).permute(3, 0, 1, 2)
    documents = None if segments_BL is None else chunks(segments_BL, chunk)
    leaving_CBMQ = x_CBMQ
    if documents is None:
        within_CXQ = x_CBMQ.flatten(1, 2) @ matrix_CRQ
    else:
        matrix_CXRQ = matrix_CRQ[:, None] * documents.same_BMQR.flatten(0, 1)
        within_CXQ = (x_CBMQ.flatten(1, 2)[..., None, :] @ matrix_CXRQ).squeeze(2)
        leaving_CBMQ = x_CBMQ * documents.leaves_BMQ
    state_CBN = state_BCN.transpose(0, 1)
    before = []
    for number, x_CBQ in enumerate(leaving_CBMQ.unbind(2)):
        before.append(state_CBN)
        tokens = chunk if len(before) < x_CBMQ.shape[2] else chunk - tail
        added_CBN = x_CBQ[..., :tokens] @ power_CNQ[..., :tokens].flip(-1).transpose(1, 2)
        kept_CBN = torch.exp(-decay_CN * tokens)[:, None] * state_CBN
        if documents is not None:
            kept_CBN = kept_CBN * documents.passes_BM[:, number, None]
        state_CBN = kept_CBN + added_CBN
    before_CXN = torch.stack(before, dim=2).flatten(1, 2).to(x_BLC.dtype)
    next_CNQ = torch.exp(-decay_CN[..., None] * (lags_Q + 1)).to(x_BLC.dtype) * gain_CN[..., None]
    carried_CXQ = before_CXN @ next_CNQ
    if documents is not None:
        carried_CXQ = carried_CXQ * documents.enters_BMQ.flatten(0, 1)
    y_CXQ = within_CXQ + carried_CXQ
    y_BLC = y_CXQ.unflatten(1, (batch, -1)).permute(1, 2, 3, 0).flatten(1, 2)[:, :length]
    return y_BLC, state_CBN.transpose(0, 1).contiguous()
