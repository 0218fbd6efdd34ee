"""Mamba-2: a selective state space model whose scan is matrix products on chunks of the sequence.

Letters in tensor names: B batch, L length, D width, I = H * K inner width, H heads, K head dim, N state,
C = I + 2 N convolved channels, P past inputs of the convolution; inside the scan: M chunks, Q (and R)
positions in a chunk.
"""

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spaces.blocks.base import (
    Block,
    State,
    at_least_float32,
    check_sizes,
    dispatch,
    for_sums,
    from_sums,
    linear,
    rms_norm,
)
from spaces.blocks.chunking import chunk_size
from spaces.blocks.conv import causal_conv, conv_taps
from spaces.blocks.documents import chunks, cumsum, refuse_both
from spaces.blocks.sizes import CONV_KERNEL


class MambaState(NamedTuple):
    """The last inputs of the convolution, [B, P, C], and the state of the recurrence, [B, H, K, N]."""

    past_BPC: Tensor
    ssm_BHKN: Tensor


class Mamba2(Block):
    """Mamba-2 (Dao and Gu, arXiv 2405.21060, section 7.1 and figure 6), with one group of B and C.

    state: dimensions N of the recurrence for each channel. expand: inner width per unit of width. head_dim:
    channels that share one decay. init: "decaying" or "mimetic".

        z, (x, B, C), dt = linear(u);   x, B, C = silu(conv(x, B, C));   dt = softplus(dt + bias)
        h[t] = exp(dt[t] A) h[t-1] + dt[t] x[t] B[t]^T;   y[t] = h[t] C[t] + D x[t]
        out = linear(rms_norm(y * silu(z)))

    Initial values follow the authors' code: dt log-uniform in [0.001, 0.1], -A uniform in [1, 16], D one. Mimetic ones
    (Trockman et al., arXiv 2410.11135) make a layer begin as linear attention whose queries are its keys: nothing
    decays (dt = 1 for all tokens, A = -exp(-8)), C = B, and the convolution passes its input on.

    Raises ValueError if head_dim does not divide expand * width, or init is unknown.
    """

    def __init__(
        self,
        width: int,
        *,
        state: int,
        expand: int,
        head_dim: int,
        init: Literal["decaying", "mimetic"] = "decaying",
    ) -> None:
        super().__init__()
        check_sizes(width=width, state=state, expand=expand, head_dim=head_dim)
        if init not in ("decaying", "mimetic"):
            raise ValueError(f"unknown init {init!r}: use 'decaying' or 'mimetic'")
        inner = expand * width
        if inner % head_dim:
            raise ValueError(f"expand * width = {inner} is not a multiple of head_dim {head_dim}")
        heads, channels = inner // head_dim, inner + 2 * state
        self.sizes = (inner, channels, heads)
        self.state, self.head_dim = state, head_dim
        self.in_proj = linear(width, inner + channels + heads)
        self.taps = conv_taps(CONV_KERNEL, channels)
        dt_H = torch.exp(torch.empty(heads).uniform_(math.log(1e-3), math.log(1e-1)))
        self.dt_bias = nn.Parameter(dt_H + torch.log(-torch.expm1(-dt_H)))  # the inverse of softplus
        self.log_a = nn.Parameter(torch.empty(heads).uniform_(1, 16).log())
        self.skip = nn.Parameter(torch.ones(heads))
        self.norm = rms_norm(inner)
        self.out = linear(inner, width)
        if init == "mimetic":
            self._mimic_attention()

    @torch.no_grad()
    def _mimic_attention(self) -> None:
        inner, _, heads = self.sizes
        self.taps.zero_()[-1] = 1
        self.dt_bias.fill_(math.log(math.e - 1))  # softplus of it is 1
        self.log_a.fill_(-8)
        _, b_ND, c_ND, dt_HD = self.in_proj.weight.split((2 * inner, self.state, self.state, heads))
        c_ND.copy_(b_ND)
        dt_HD.zero_()

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        refuse_both(state, segments_BL)
        inner, _, heads = self.sizes
        past_BPC, ssm_BHKN = self.init_state(x_BLD.shape[0]) if state is None else MambaState(*state)
        z_BLI, xbc_BLC, dt_BLH = self.in_proj(x_BLD).split(self.sizes, dim=-1)
        xbc_BLC, past_BPC = causal_conv(xbc_BLC, self.taps, past_BPC, segments_BL)
        u_BLI, b_BLN, c_BLN = F.silu(xbc_BLC).split((inner, self.state, self.state), dim=-1)
        u_BLHK = u_BLI.unflatten(-1, (heads, self.head_dim))
        dt_BLH = F.softplus(at_least_float32(dt_BLH + self.dt_bias))
        a_H = -at_least_float32(self.log_a).exp()
        inputs = (u_BLHK, dt_BLH, a_H, b_BLN, c_BLN, ssm_BHKN)
        y_BLHK, ssm_BHKN = dispatch("ssd", scan_by_steps, x_BLD, segments_BL, *inputs)
        y_BLI = (y_BLHK + u_BLHK * self.skip[:, None]).flatten(2)
        y_BLD = self.out(self.norm(y_BLI * F.silu(z_BLI)))
        return y_BLD, None if state is None else MambaState(past_BPC, ssm_BHKN)

    def init_state(self, batch: int) -> MambaState:
        taps, channels = self.taps.shape
        past_BPC = self.taps.new_zeros(batch, taps - 1, channels)
        ssm_BHKN = at_least_float32(self.taps.new_zeros(batch, self.sizes[2], self.head_dim, self.state))
        return MambaState(past_BPC, ssm_BHKN)


def scan_by_steps(
    u_BLHK: Tensor,
    dt_BLH: Tensor,
    a_H: Tensor,
    b_BLN: Tensor,
    c_BLN: Tensor,
    state_BHKN: Tensor,
    segments_BL: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`scan` of inputs and decays that a step size scales: x[t] = dt[t] u[t], decay[t] = dt[t] a."""
    x_BLHK = u_BLHK * dt_BLH[..., None].to(u_BLHK.dtype)
    return scan(x_BLHK, dt_BLH * a_H, b_BLN, c_BLN, state_BHKN, segments_BL)


def scan(
    x_BLHK: Tensor,
    decay_BLH: Tensor,
    b_BLN: Tensor,
    c_BLN: Tensor,
    state_BHKN: Tensor,
    segments_BL: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The recurrence h[t] = exp(decay[t]) h[t-1] + x[t] b[t]^T, y[t] = h[t] c[t]; returns y and the last h.

    The state space dual form (arXiv 2405.21060, section 6): within a chunk, attention masked by the decay
    between two positions; between chunks, the recurrence on one state a chunk. Work and memory are linear in
    L. `decay` is the logarithm, <= 0; only exponentials of sums of it are taken, so none overflows.
    With segments, h is zero before each document but the first, which continues the given state.
    """
    _, length, heads, head_dim = x_BLHK.shape
    dtype, chunk = x_BLHK.dtype, chunk_size("ssd", length, heads * head_dim, x_BLHK.device.type)
    tail = -length % chunk
    # Padding with x = 0 and decay = 0 leaves the state as it is.
    x_BMQHK, decay_BMQH, b_BMQN, c_BMQN = (
        F.pad(step, (0, 0) * (step.dim() - 2) + (0, tail)).unflatten(1, (-1, chunk))
        for step in (x_BLHK, decay_BLH, b_BLN, c_BLN)
    )
    decay_BMQH = for_sums(decay_BMQH)
    unseen = torch.ones(chunk, chunk, dtype=torch.bool, device=x_BLHK.device).triu(1)
    if segments_BL is None:
        since_BMHQ = decay_BMQH.transpose(2, 3).cumsum(dim=-1)
        from_start_BMHQ, to_end_BMHQ = since_BMHQ, since_BMHQ[..., -1:] - since_BMHQ
        kept_BMH = since_BMHQ[..., -1]
    else:
        documents = chunks(segments_BL, chunk)
        since_BMHQ = cumsum(decay_BMQH, documents.segments_BMQ).transpose(2, 3)
        unseen = unseen | ~documents.same_BMQR[:, :, None]
        from_start_BMHQ = since_BMHQ.masked_fill(~documents.enters_BMQ[:, :, None], -math.inf)
        to_end_BMHQ = since_BMHQ[..., -1:] - since_BMHQ
        to_end_BMHQ = to_end_BMHQ.masked_fill(~documents.leaves_BMQ[:, :, None], -math.inf)
        kept_BMH = since_BMHQ[..., -1].masked_fill(~documents.passes_BM[..., None], -math.inf)
    between_BMHQR = since_BMHQ[..., :, None] - since_BMHQ[..., None, :]
    weight_BMHQR = from_sums(between_BMHQR.masked_fill(unseen, -math.inf), dtype)
    score_BMQR = c_BMQN @ b_BMQN.transpose(-1, -2)
    within_BMHQK = (weight_BMHQR * score_BMQR[:, :, None]) @ x_BMQHK.transpose(2, 3)

    to_end_BMQH = from_sums(to_end_BMHQ, dtype).transpose(2, 3)
    added = (x_BMQHK * to_end_BMQH[..., None]).flatten(3).transpose(-1, -2) @ b_BMQN
    added_BMHKN = added.unflatten(2, x_BLHK.shape[2:])
    before, kept_BMH = [], from_sums(kept_BMH, decay_BLH.dtype)
    for kept_BH, added_BHKN in zip(kept_BMH.unbind(1), added_BMHKN.unbind(1), strict=True):
        before.append(state_BHKN)
        state_BHKN = kept_BH[..., None, None] * state_BHKN + added_BHKN
    before_BMIN = torch.stack(before, dim=1).flatten(2, 3).to(dtype)
    carried_BMQHK = (c_BMQN @ before_BMIN.transpose(-1, -2)).unflatten(-1, x_BLHK.shape[2:])
    from_start_BMQH = from_sums(from_start_BMHQ, dtype).transpose(2, 3)
    y_BMQHK = within_BMHQK.transpose(2, 3) + carried_BMQHK * from_start_BMQH[..., None]
    return y_BMQHK.flatten(1, 2)[:, :length], state_BHKN
