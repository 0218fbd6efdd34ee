"""Attention without a softmax, whose past is one matrix for each head: plain, and with a decay for each key dimension.

Letters in tensor names: B batch, L length, D width, H heads, K key and V value dimensions of a head, M chunks, Q
positions in a chunk; inside a chunk: P pairs of halves, R positions in a half.
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
from spaces.blocks.documents import Chunks, chunks, cumsum, refuse_both
from spaces.blocks.sizes import GATE_RANK

NORMALISER_FLOOR = 1e-6
GATE_TEMPERATURE = 16.0


class LinearState(NamedTuple):
    """Decayed sum of the products of keys and values, [B, H, K, V]."""

    memory_BHKV: Tensor


class LinearAttention(Block):
    """Attention with phi(q) . phi(k) in place of exp(q . k), phi = elu + 1 (arXiv 2006.16236, equations 7 and 9).

    heads: each of width // heads dimensions. The weights of a token's values are divided by their sum plus 1e-6,
    as the authors' code does. Raises ValueError if the heads do not divide the width.
    """

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        check_heads(width, heads)
        self.heads = heads
        self.qkv = linear(width, 3 * width)
        self.out = linear(width, width)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        refuse_both(state, segments_BL)
        qkv_BLHK = self.qkv(x_BLD).unflatten(-1, (3 * self.heads, -1))
        q_BLHK, k_BLHK, v_BLHK = qkv_BLHK.chunk(3, dim=2)
        q_BLHK, k_BLHK = F.elu(q_BLHK) + 1, F.elu(k_BLHK) + 1
        # With a value of one beside the others, the sum of the weights comes with the weighted sum.
        v_BLHV = F.pad(v_BLHK, (0, 1), value=1.0)
        before = self.init_state(x_BLD.shape[0]) if state is None else LinearState(*state)
        y_BLHV, memory_BHKV = ungated_scan(q_BLHK, k_BLHK, v_BLHV, before.memory_BHKV, segments_BL)
        y_BLHK = y_BLHV[..., :-1] / (y_BLHV[..., -1:] + NORMALISER_FLOOR)
        return self.out(y_BLHK.flatten(2)), None if state is None else LinearState(memory_BHKV)

    def init_state(self, batch: int) -> LinearState:
        weight, head_dim = self.out.weight, self.out.weight.shape[0] // self.heads
        return LinearState(at_least_float32(weight.new_zeros(batch, self.heads, head_dim, head_dim + 1)))


class GatedLinearAttention(Block):
    """Gated linear attention (Yang et al., arXiv 2312.06635, section 4.4).

    heads: each with width / heads value and half as many key dimensions.

        q, k, v, r = linear(x);   a = sigmoid(linear(linear(x)) + bias)^(1/16), the first linear of rank 16
        S[t] = diag(a[t]) S[t-1] + k[t] v[t]^T;   y[t] = q[t]^T S[t] / sqrt(K)
        out = linear(silu(r) * rms_norm(y)), each head normed alone

    Raises ValueError if twice the heads do not divide the width.
    """

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        check_sizes(width=width, heads=heads)
        if width % (2 * heads):
            raise ValueError(f"width {width} is not a multiple of twice the heads {heads}")
        self.heads, self.sizes = heads, (width // 2, width // 2, width, width, GATE_RANK)
        self.in_proj = linear(width, sum(self.sizes))
        self.decay = nn.Linear(GATE_RANK, width // 2)
        nn.init.normal_(self.decay.weight, std=GATE_RANK**-0.5)
        nn.init.zeros_(self.decay.bias)
        self.norm = rms_norm(width // heads)
        self.out = linear(width, width)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        refuse_both(state, segments_BL)
        *qkvr, rank_BLR = self.in_proj(x_BLD).split(self.sizes, dim=-1)
        q_BLHK, k_BLHK, v_BLHV, r_BLHV = (part.unflatten(-1, (self.heads, -1)) for part in qkvr)
        decay_BLHK = F.logsigmoid(at_least_float32(self.decay(rank_BLR))) / GATE_TEMPERATURE
        decay_BLHK = decay_BLHK.unflatten(-1, (self.heads, -1))
        before = self.init_state(x_BLD.shape[0]) if state is None else LinearState(*state)
        q_BLHK = q_BLHK * q_BLHK.shape[-1] ** -0.5
        inputs = (q_BLHK, k_BLHK, v_BLHV, decay_BLHK, before.memory_BHKV)
        y_BLHV, memory_BHKV = dispatch("gated linear attention", gated_scan, x_BLD, segments_BL, *inputs)
        y_BLD = self.out((F.silu(r_BLHV) * self.norm(y_BLHV)).flatten(2))
        return y_BLD, None if state is None else LinearState(memory_BHKV)

    def init_state(self, batch: int) -> LinearState:
        width = self.out.weight.shape[0]
        size = (batch, self.heads, width // 2 // self.heads, width // self.heads)
        return LinearState(at_least_float32(self.out.weight.new_zeros(size)))


def check_heads(width: int, heads: int) -> None:
    """Raises ValueError if the heads do not divide the width."""
    check_sizes(width=width, heads=heads)
    if width % heads:
        raise ValueError(f"width {width} is not a multiple of heads {heads}")


def ungated_scan(
    q_BLHK: Tensor, k_BLHK: Tensor, v_BLHV: Tensor, state_BHKV: Tensor, segments_BL: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The recurrence S[t] = S[t-1] + k[t] v[t]^T, y[t] = q[t]^T S[t]; returns y and the last S.

    Within a chunk, attention without a softmax; between chunks, the recurrence on one state a chunk.
    """
    length = q_BLHK.shape[1]
    chunk = chunk_size("linear attention", length, v_BLHV.shape[2:].numel(), q_BLHK.device.type)
    documents = None if segments_BL is None else chunks(segments_BL, chunk)
    q_BMHQK, k_BMHQK, v_BMHQV = (in_chunks(x, chunk) for x in (q_BLHK, k_BLHK, v_BLHV))
    seen = torch.ones(chunk, chunk, dtype=torch.bool, device=q_BLHK.device).tril()
    entering_BMHQK, leaving_BMHQK = q_BMHQK, k_BMHQK
    if documents is not None:
        seen = seen & documents.same_BMQR[:, :, None]
        entering_BMHQK = q_BMHQK * documents.enters_BMQ[:, :, None, :, None]
        leaving_BMHQK = k_BMHQK * documents.leaves_BMQ[:, :, None, :, None]
    within_BMHQV = (q_BMHQK @ k_BMHQK.transpose(-1, -2)).masked_fill(~seen, 0) @ v_BMHQV
    added_BMHKV = leaving_BMHQK.transpose(-1, -2) @ v_BMHQV
    before_BMHKV, state_BHKV = carry(added_BMHKV, None, state_BHKV, documents)
    y_BMHQV = within_BMHQV + entering_BMHQK @ before_BMHKV.to(q_BLHK.dtype)
    return y_BMHQV.transpose(2, 3).flatten(1, 2)[:, :length], state_BHKV


def gated_scan(
    q_BLHK: Tensor,
    k_BLHK: Tensor,
    v_BLHV: Tensor,
    decay_BLHK: Tensor,
    state_BHKV: Tensor,
    segments_BL: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The recurrence S[t] = diag(exp(decay[t])) S[t-1] + k[t] v[t]^T, y[t] = q[t]^T S[t]; returns y and the last S.

    `decay` is the logarithm, <= 0. Within a chunk, the queries of the second half meet the keys of the first, then
    the same in each half, down to single tokens: where the halves meet, both sides are scaled by what decays up to
    there, so only exponentials of sums of `decay` are taken, and none overflows.
    """
    length = q_BLHK.shape[1]
    chunk = chunk_size("gated linear attention", length, v_BLHV.shape[2:].numel(), q_BLHK.device.type)
    dtype = q_BLHK.dtype
    documents = None if segments_BL is None else chunks(segments_BL, chunk)
    q_BMHQK, k_BMHQK, v_BMHQV = (in_chunks(x, chunk) for x in (q_BLHK, k_BLHK, v_BLHV))
    since_BMHQK = in_chunks(for_sums(decay_BLHK), chunk)
    if documents is None:
        since_BMHQK = since_BMHQK.cumsum(dim=3)
    else:
        since_BMHQK = cumsum(since_BMHQK.transpose(2, 3), documents.segments_BMQ).transpose(2, 3)
    y_BMHQV = (q_BMHQK * k_BMHQK).sum(dim=-1, keepdim=True) * v_BMHQV
    half = chunk // 2
    while half:
        y_BMHQV = y_BMHQV + _across(q_BMHQK, k_BMHQK, v_BMHQV, since_BMHQK, documents, half)
        half //= 2
    enter_BMHQK, leave_BMHQK = since_BMHQK, since_BMHQK[..., -1:, :] - since_BMHQK
    if documents is not None:
        enter_BMHQK = _only(enter_BMHQK, documents.enters_BMQ)
        leave_BMHQK = _only(leave_BMHQK, documents.leaves_BMQ)
    added_BMHKV = (k_BMHQK * from_sums(leave_BMHQK, dtype)).transpose(-1, -2) @ v_BMHQV
    kept_BMHK = from_sums(since_BMHQK[..., -1, :], decay_BLHK.dtype)
    before_BMHKV, state_BHKV = carry(added_BMHKV, kept_BMHK, state_BHKV, documents)
    y_BMHQV = y_BMHQV + (q_BMHQK * from_sums(enter_BMHQK, dtype)) @ before_BMHKV.to(dtype)
    return y_BMHQV.transpose(2, 3).flatten(1, 2)[:, :length], state_BHKV


def _across(
    q_BMHQK: Tensor,
    k_BMHQK: Tensor,
    v_BMHQV: Tensor,
    since_BMHQK: Tensor,
    documents: Chunks | None,
    half: int,
) -> Tensor:
    """What the tokens of each second half take from the first half before it; zero for those of first halves."""
    split = (-1, 2, half)
    _, q_BMHPRK = q_BMHQK.unflatten(3, split).unbind(4)
    k_BMHPRK, _ = k_BMHQK.unflatten(3, split).unbind(4)
    v_BMHPRV, _ = v_BMHQV.unflatten(3, split).unbind(4)
    first_BMHPRK, second_BMHPRK = since_BMHQK.unflatten(3, split).unbind(4)
    meet_BMHP1K = first_BMHPRK[..., -1:, :]
    read_BMHPRK, kept_BMHPRK = second_BMHPRK - meet_BMHP1K, meet_BMHP1K - first_BMHPRK
    if documents is not None:
        first_BMPR, second_BMPR = documents.segments_BMQ.unflatten(2, split).unbind(3)
        read_BMHPRK = _only(read_BMHPRK, second_BMPR == first_BMPR[..., -1:])
        kept_BMHPRK = _only(kept_BMHPRK, first_BMPR == first_BMPR[..., -1:])
    q_BMHPRK = q_BMHPRK * from_sums(read_BMHPRK, q_BMHQK.dtype)
    k_BMHPRK = k_BMHPRK * from_sums(kept_BMHPRK, q_BMHQK.dtype)
    y_BMHPRV = (q_BMHPRK @ k_BMHPRK.transpose(-1, -2)) @ v_BMHPRV
    return torch.stack([torch.zeros_like(y_BMHPRV), y_BMHPRV], dim=4).flatten(3, 5)


def _only(log: Tensor, belongs: Tensor) -> Tensor:
    """The logarithm of a decay, or of nothing for tokens that do not belong; `log` has heads after the chunks."""
    return log.masked_fill(~belongs[:, :, None, ..., None], -math.inf)


def in_chunks(x_BLHK: Tensor, chunk: int) -> Tensor:
    """[B, L, H, K] to [B, M, H, Q, K], filled up with zeros, which leave the memory as it is."""
    tail = -x_BLHK.shape[1] % chunk
    return F.pad(x_BLHK, (0, 0, 0, 0, 0, tail)).unflatten(1, (-1, chunk)).transpose(2, 3)


def carry(
    added_BMHKV: Tensor, kept_BMHK: Tensor | None, state_BHKV: Tensor, documents: Chunks | None
) -> tuple[Tensor, Tensor]:
    """The memory before each chunk, and after the last: what is kept of it through a chunk, and what is added."""
    before = []
    for chunk, added_BHKV in enumerate(added_BMHKV.unbind(1)):
        before.append(state_BHKV)
        if kept_BMHK is not None:
            state_BHKV = kept_BMHK[:, chunk, ..., None] * state_BHKV
        if documents is not None:
            state_BHKV = state_BHKV * documents.passes_BM[:, chunk, None, None, None]
        state_BHKV = state_BHKV + added_BHKV
    return torch.stack(before, dim=1), state_BHKV
