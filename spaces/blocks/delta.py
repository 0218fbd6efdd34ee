"""Gated DeltaNet: a linear attention that overwrites what its memory holds for a key.

Letters in tensor names: B batch, L length, D width, H heads, K key and V value dimensions of a head, C convolved
channels, P past inputs of the convolution, M chunks, Q (and R) positions in a chunk; in the inverse: N pairs of
blocks, F (and G) positions of a block.
"""

import math
from typing import NamedTuple

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
from spaces.blocks.linear_attention import check_heads, in_chunks
from spaces.blocks.sizes import CONV_KERNEL


class DeltaState(NamedTuple):
    """The last inputs of the convolution, [B, P, C], and what is remembered for keys, [B, H, K, V]."""

    past_BPC: Tensor
    memory_BHKV: Tensor


class GatedDeltaNet(Block):
    """Gated DeltaNet (Yang et al., arXiv 2412.06464, section 3.4), as Qwen3-Next has it.

    heads: each of width // heads key and expand times as many value dimensions.

        q, k, v, z, b, a = linear(x);   q, k, v = silu(conv(q, k, v));   q, k to length 1
        S = exp(-exp(rate) softplus(a + bias)) S[t-1];   S[t] = S + sigmoid(b) k (v - S^T k)^T
        y = S[t]^T q / sqrt(K);   out = linear(rms_norm(y) * silu(z)), each head normed alone

    Initial decays are those of Mamba-2. Raises ValueError if the heads do not divide the width.
    """

    def __init__(self, width: int, *, heads: int, expand: int) -> None:
        super().__init__()
        check_heads(width, heads)
        check_sizes(expand=expand)
        values = expand * width
        channels = 2 * width + values
        self.heads, self.width = heads, width
        self.sizes = (channels, values, heads, heads)
        self.in_proj = linear(width, sum(self.sizes))
        self.taps = conv_taps(CONV_KERNEL, channels)
        step_H = torch.exp(torch.empty(heads).uniform_(math.log(1e-3), math.log(1e-1)))
        self.bias = nn.Parameter(step_H + torch.log(-torch.expm1(-step_H)))  # the inverse of softplus
        self.rate = nn.Parameter(torch.empty(heads).uniform_(1, 16).log())
        self.norm = rms_norm(values // heads)
        self.out = linear(values, width)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        refuse_both(state, segments_BL)
        before = self.init_state(x_BLD.shape[0]) if state is None else DeltaState(*state)
        qkv_BLC, z_BLV, b_BLH, a_BLH = self.in_proj(x_BLD).split(self.sizes, dim=-1)
        qkv_BLC, past_BPC = causal_conv(qkv_BLC, self.taps, before.past_BPC, segments_BL)
        qkv = F.silu(qkv_BLC).split((self.width, self.width, self.sizes[1]), dim=-1)
        q_BLHK, k_BLHK, v_BLHV = (at_least_float32(part.unflatten(-1, (self.heads, -1))) for part in qkv)
        decay_BLH = -at_least_float32(self.rate).exp() * F.softplus(at_least_float32(a_BLH + self.bias))
        inputs = (
            unit(q_BLHK) * q_BLHK.shape[-1] ** -0.5,
            unit(k_BLHK),
            v_BLHV,
            at_least_float32(b_BLH).sigmoid(),
            decay_BLH,
            before.memory_BHKV,
        )
        y_BLHV, memory_BHKV = dispatch("delta", delta_scan, x_BLD, segments_BL, *inputs)
        z_BLHV = z_BLV.unflatten(-1, (self.heads, -1))
        y_BLD = self.out((self.norm(y_BLHV.to(z_BLHV.dtype)) * F.silu(z_BLHV)).flatten(2))
        return y_BLD, None if state is None else DeltaState(past_BPC, memory_BHKV)

    def init_state(self, batch: int) -> DeltaState:
        taps, channels = self.taps.shape
        past_BPC = self.taps.new_zeros(batch, taps - 1, channels)
        size = (batch, self.heads, self.width // self.heads, self.sizes[1] // self.heads)
        return DeltaState(past_BPC, at_least_float32(self.taps.new_zeros(size)))


def unit(x: Tensor) -> Tensor:
    """Vectors along the last dimension, brought to length 1; shorter than about 1e-3 to less."""
    return x * (x.square().sum(dim=-1, keepdim=True) + 1e-6).rsqrt()


def delta_scan(
    q_BLHK: Tensor,
    k_BLHK: Tensor,
    v_BLHV: Tensor,
    beta_BLH: Tensor,
    decay_BLH: Tensor,
    state_BHKV: Tensor,
    segments_BL: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """S = exp(decay[t]) S[t-1]; S[t] = S + beta[t] k[t] (v[t] - S^T k[t])^T; y[t] = S[t]^T q[t]; gives y, the last S.

    Within a chunk the corrections v[t] - S^T k[t] depend on each other through a triangular system, whose inverse
    gives them for any S at the chunk's start: the WY form of DeltaNet (arXiv 2406.06484, section 3). Keys have length
    1 at most and `decay`, a logarithm, is <= 0, so nothing overflows. Inputs are in float32 at least.
    """
    length = q_BLHK.shape[1]
    chunk = chunk_size("delta", length, v_BLHV.shape[2:].numel(), q_BLHK.device.type)
    q_BMHQK, k_BMHQK, v_BMHQV = (in_chunks(x, chunk) for x in (q_BLHK, k_BLHK, v_BLHV))
    beta_BMHQ1, decay_BMHQ1 = (in_chunks(x[..., None], chunk) for x in (beta_BLH, for_sums(decay_BLH)))
    unseen = torch.ones(chunk, chunk, dtype=torch.bool, device=q_BLHK.device).triu(1)
    if segments_BL is None:
        since_BMHQ1 = decay_BMHQ1.cumsum(dim=3)
        enter_BMHQ1, leave_BMHQ1 = since_BMHQ1, since_BMHQ1[..., -1:, :] - since_BMHQ1
        kept_BMH11 = since_BMHQ1[..., -1:, :]
    else:
        documents = chunks(segments_BL, chunk)
        since_BMHQ1 = cumsum(decay_BMHQ1.transpose(2, 3), documents.segments_BMQ).transpose(2, 3)
        unseen = unseen | ~documents.same_BMQR[:, :, None]
        enters, leaves = (part[:, :, None, :, None] for part in (documents.enters_BMQ, documents.leaves_BMQ))
        enter_BMHQ1 = since_BMHQ1.masked_fill(~enters, -math.inf)
        leave_BMHQ1 = (since_BMHQ1[..., -1:, :] - since_BMHQ1).masked_fill(~leaves, -math.inf)
        passes = documents.passes_BM[:, :, None, None, None]
        kept_BMH11 = since_BMHQ1[..., -1:, :].masked_fill(~passes, -math.inf)
    between_BMHQR = since_BMHQ1 - since_BMHQ1.transpose(-1, -2)
    weight_BMHQR, enter_BMHQ1, leave_BMHQ1, kept_BMH11 = (
        from_sums(log, q_BLHK.dtype)
        for log in (between_BMHQR.masked_fill(unseen, -math.inf), enter_BMHQ1, leave_BMHQ1, kept_BMH11)
    )
    key_BMHRK = k_BMHQK.transpose(-1, -2)
    overlap_BMHQR = (beta_BMHQ1 * (k_BMHQK @ key_BMHRK) * weight_BMHQR).tril(-1)
    inverse_BMHQR = inverse_by_halves(overlap_BMHQR)
    wanted_BMHQV = inverse_BMHQR @ (beta_BMHQ1 * v_BMHQV)
    read_BMHQK = inverse_BMHQR @ (beta_BMHQ1 * enter_BMHQ1 * k_BMHQK)
    left_BMHKQ = (k_BMHQK * leave_BMHQ1).transpose(-1, -2)
    before, corrections = [], []
    for wanted_BHQV, read_BHQK, left_BHKQ, kept_BH11 in zip(
        *(part.unbind(1) for part in (wanted_BMHQV, read_BMHQK, left_BMHKQ, kept_BMH11)), strict=True
    ):
        before.append(state_BHKV)
        corrections.append(wanted_BHQV - read_BHQK @ state_BHKV)
        state_BHKV = kept_BH11 * state_BHKV + left_BHKQ @ corrections[-1]
    carried_BMHQV = (q_BMHQK * enter_BMHQ1) @ torch.stack(before, dim=1)
    within_BMHQV = ((q_BMHQK @ key_BMHRK) * weight_BMHQR) @ torch.stack(corrections, dim=1)
    y_BMHQV = carried_BMHQV + within_BMHQV
    return y_BMHQV.transpose(2, 3).flatten(1, 2)[:, :length], state_BHKV


def inverse_by_halves(lower_QR: Tensor) -> Tensor:
    """The inverse of the identity plus a strictly lower triangular matrix, [..., Q, Q], Q a power of two.

    Of two inverted blocks on the diagonal and the corner below them, [[X, 0], [-Y C X, Y]] is the inverse: forward
    substitution by blocks of 1, 2, 4, ... positions, all products of matrices.
    """
    length = lower_QR.shape[-1]
    inverse_FG = lower_QR.new_ones(lower_QR.shape[:-1])[..., None, None]
    size = 1
    while size < length:
        blocks = (-1, 2, size)
        square = lower_QR.unflatten(-1, blocks).unflatten(-4, blocks)
        corner_NFG = square[..., 1, :, :, 0, :].diagonal(dim1=-4, dim2=-2).movedim(-1, -3)
        first_NFG, second_NFG = inverse_FG.unflatten(-3, (-1, 2)).unbind(-3)
        below_NFG = -second_NFG @ corner_NFG @ first_NFG
        above_NFG = torch.cat([first_NFG, torch.zeros_like(first_NFG)], dim=-1)
        inverse_FG = torch.cat([above_NFG, torch.cat([below_NFG, second_NFG], dim=-1)], dim=-2)
        size *= 2
    return inverse_FG.squeeze(-3)
