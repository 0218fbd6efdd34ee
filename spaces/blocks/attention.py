"""Causal attention with grouped keys and values, rotary or linear-bias positions, and sliding windows.

Letters in tensor names: B batch, L length of the queries, S length of the keys, D width, H query heads,
G key-value heads, K head dim, C columns that hold a bias, X = C + K, W window.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from spaces.blocks.base import Block, State, check_sizes, linear, rms_norm
from spaces.blocks.documents import each_alone, positions, refuse_both

ROPE_BASE = 10_000.0
ALIBI_COLUMNS = 4
QUERIES = 512
"""Queries whose mask is held at once, where documents are told apart by masks."""


class AttentionState(NamedTuple):
    """Keys and values that later tokens may still see, [B, G, S, K] each, and how many tokens went by."""

    k_BGSK: Tensor
    v_BGSK: Tensor
    offset: int


class Attention(Block):
    """Softmax attention; with fewer key-value than query heads, grouped-query attention (arXiv 2305.13245).

    heads: query heads, each of width // heads dimensions. kv_heads: key-value heads, each shared by
    heads // kv_heads query heads. position: "rope" rotates queries and keys (arXiv 2104.09864), "alibi"
    penalises distance (arXiv 2108.12409), "none" adds nothing. window: a token sees itself and the window - 1
    before it; None: all before it. qk_norm: queries and keys pass an RMSNorm over the dimensions of a head (arXiv
    2010.04245), before they are rotated.

    Raises ValueError if the heads do not divide the width, the key-value heads do not divide the heads,
    the head dim is odd under "rope", the window is below 1 or the position is unknown.
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int,
        kv_heads: int,
        position: Literal["rope", "alibi", "none"],
        window: int | None,
        qk_norm: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(width=width, heads=heads, kv_heads=kv_heads)
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        if heads % kv_heads:
            raise ValueError(f"heads {heads} is not a multiple of kv_heads {kv_heads}")
        if position not in ("rope", "alibi", "none"):
            raise ValueError(f"unknown position {position!r}: use 'rope', 'alibi' or 'none'")
        if position == "rope" and width // heads % 2:
            raise ValueError(
                f"rope rotates pairs of dimensions and needs an even head dim; "
                f"width {width} / heads {heads} is {width // heads}"
            )
        if window is not None and window < 1:
            raise ValueError(f"window {window} is below 1: a token sees at least itself")
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, width // heads
        self.position, self.window = position, window
        self.q_norm = rms_norm(self.head_dim) if qk_norm else None
        self.k_norm = rms_norm(self.head_dim) if qk_norm else None
        self.qkv = linear(width, (heads + 2 * kv_heads) * self.head_dim)
        self.out = linear(width, width)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        y_BLD, _, _, state = self.attended(x_BLD, state, segments_BL)
        return y_BLD, state

    def attended(
        self, x_BLD: Tensor, state: State | None, segments_BL: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, State | None]:
        """The output, all keys and values [B, G, S, K] that were there to see, and the state after it."""
        refuse_both(state, segments_BL)
        cache = None if state is None else AttentionState(*state)
        start = 0 if cache is None else cache.offset
        qkv_BLHK = self.qkv(x_BLD).unflatten(-1, (-1, self.head_dim))
        q_BLHK, k_BLGK, v_BLGK = qkv_BLHK.split((self.heads, self.kv_heads, self.kv_heads), dim=2)
        if self.q_norm is not None and self.k_norm is not None:
            q_BLHK, k_BLGK = self.q_norm(q_BLHK), self.k_norm(k_BLGK)
        if self.position == "rope":
            q_BLHK, k_BLGK = rotate(q_BLHK, start), rotate(k_BLGK, start)
        q_BHLK, k_BGSK, v_BGSK = (heads.transpose(1, 2) for heads in (q_BLHK, k_BLGK, v_BLGK))
        if cache is not None:
            k_BGSK = torch.cat([cache.k_BGSK, k_BGSK], dim=2)
            v_BGSK = torch.cat([cache.v_BGSK, v_BGSK], dim=2)
        y_BLD = self.out(self.mix(q_BHLK, k_BGSK, v_BGSK, segments_BL))
        if cache is None:
            return y_BLD, k_BGSK, v_BGSK, None
        # The next token sees window - 1 before it; what it cannot see need not be kept.
        drop = 0 if self.window is None else max(0, k_BGSK.shape[2] - self.window + 1)
        # Cloned, since a view would keep the whole sequence alive.
        k_kept, v_kept = (x[:, :, drop:].clone() if drop else x for x in (k_BGSK, v_BGSK))
        return y_BLD, k_BGSK, v_BGSK, AttentionState(k_kept, v_kept, start + x_BLD.shape[1])

    def init_state(self, batch: int) -> AttentionState:
        empty_BGSK = self.out.weight.new_zeros(batch, self.kv_heads, 0, self.head_dim)
        return AttentionState(empty_BGSK, empty_BGSK, 0)

    def mix(self, q_BHLK: Tensor, k_BGSK: Tensor, v_BGSK: Tensor, segments_BL: Tensor | None) -> Tensor:
        """What the L last of S positions read, [B, L, D], before the output projection."""
        slopes = alibi_slopes(self.heads) if self.position == "alibi" else None
        y_BHLK = attend(q_BHLK, k_BGSK, v_BGSK, segments_BL, window=self.window, slopes=slopes)
        return y_BHLK.transpose(1, 2).flatten(2)


def attend(
    q_BHLK: Tensor,
    k_BGSK: Tensor,
    v_BGSK: Tensor,
    segments_BS: Tensor | None,
    *,
    window: int | None,
    slopes: Sequence[float] | None,
    scale: float | None = None,
) -> Tensor:
    """Attention of the L last of S positions over all S that window and documents leave visible.

    Packed documents are attended to each alone, in time and memory linear in the length, where no window is shorter
    than them. An exported graph, whose shapes may not hang on documents, tells them apart by masks for some queries at
    a time: in linear memory, but in the time of attention to all.

    slopes: of ALiBi, for each query head. scale: what scores are multiplied with, 1 / sqrt(K) unless told.
    """
    length = q_BHLK.shape[2]
    starts_at_nothing = length == k_BGSK.shape[2]
    if (
        segments_BS is not None
        and starts_at_nothing
        and not torch.compiler.is_exporting()
        # A window that holds every document is none; traced, that cannot be asked, and a window is linear anyway.
        and (
            window is None
            or (not torch.compiler.is_compiling() and int(positions(segments_BS).max()) < window)
        )
    ):
        attend_alone = partial(attend, window=None, slopes=slopes, scale=scale)
        return in_documents(attend_alone, q_BHLK, k_BGSK, v_BGSK, segments_BS)
    if window is not None and length >= 2 * window:
        attend_block = partial(attend, window=window, slopes=slopes, scale=scale)
        return in_blocks(attend_block, q_BHLK, k_BGSK, v_BGSK, segments_BS, window)
    # Where scores are written out anyway, a bias written out is as good; traced, that cannot be asked.
    fast = torch.compiler.is_compiling() or torch.backends.cuda.flash_sdp_enabled()
    if slopes is not None and window is None and starts_at_nothing and fast:
        q_BHLX, k_BGSX, v_BGSX = with_columns(q_BHLK, k_BGSK, v_BGSK, slopes)
        y_BHLX = attend(q_BHLX, k_BGSX, v_BGSX, segments_BS, window=None, slopes=None, scale=1.0)
        return y_BHLX[..., ALIBI_COLUMNS:]
    whole = segments_BS is None and (window is None or length <= window)
    if starts_at_nothing and whole and slopes is None:
        return fused(q_BHLK, k_BGSK, v_BGSK, None, scale)
    if segments_BS is not None and window is None and starts_at_nothing and length > QUERIES:
        return in_pieces(
            partial(attend, window=None, slopes=slopes, scale=scale), q_BHLK, k_BGSK, v_BGSK, segments_BS
        )
    distance_LS, mask = reach(length, k_BGSK.shape[2], window, segments_BS, q_BHLK.device)
    if slopes is not None:
        slopes_H = on_device(slopes, q_BHLK)
        # Four dimensions, as the fast kernel of CPUs takes no bias of three.
        mask = (-slopes_H[None, :, None, None] * distance_LS).masked_fill(~mask, -math.inf)
    return fused(q_BHLK, k_BGSK, v_BGSK, mask, scale)


def fused(q_BHLK: Tensor, k_BGSK: Tensor, v_BGSK: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """Attention by PyTorch's kernels; causal where there is no mask."""
    heads = q_BHLK.shape[1] // k_BGSK.shape[1]
    if heads > 1 and scores_written_out(q_BHLK.device.type, q_BHLK.dtype, mask is not None):
        k_BGSK, v_BGSK = (part.repeat_interleave(heads, dim=1) for part in (k_BGSK, v_BGSK))
    return F.scaled_dot_product_attention(
        q_BHLK, k_BGSK, v_BGSK, mask, is_causal=mask is None, scale=scale, enable_gqa=True
    )


def scores_written_out(device: str, dtype: torch.dtype, masked: bool) -> bool:
    """Whether PyTorch has no kernel for fewer key-value heads than query heads, and would write out all scores.

    On GPUs its flash attention takes them, but neither masks nor float32; its memory-efficient attention takes these,
    but as many heads of either (PyTorch's sdp_utils.cpp).
    """
    return device == "cuda" and (masked or dtype not in (torch.float16, torch.bfloat16))


def on_device(numbers: Sequence[float], like: Tensor) -> Tensor:
    """A few numbers in the dtype and on the device of a tensor; a GPU is not waited for."""
    return torch.tensor(numbers, dtype=like.dtype).to(like.device, non_blocking=True)


def with_columns(
    q_BHLK: Tensor, k_BGLK: Tensor, v_BGLK: Tensor, slopes: Sequence[float]
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, already scaled, keys and values whose products hold ALiBi's bias -slope * (t - s): no matrix has to.

    Four columns stand before the others: the query at t has -slope * t, in two parts, and the slope twice; the key
    at s has 1 twice and s, in two parts. The parts are a bfloat16 and what is left, so that in bfloat16 too keys tell
    131,072 positions apart. How exact -slope * t is does not matter, as it is the same for all keys; that it stands
    first does: the two cancel before anything else is added. Values have zeros there, since fast kernels take but one
    width for all three.
    """
    length, scale = q_BHLK.shape[2], q_BHLK.shape[3] ** -0.5
    t_L = torch.arange(length, device=q_BHLK.device, dtype=torch.promote_types(q_BHLK.dtype, torch.float32))
    slopes_H1 = on_device(slopes, t_L)[:, None]
    slopes_HL = slopes_H1.expand(-1, length)
    q_HLC = torch.stack([*_in_two(-slopes_H1 * t_L), slopes_HL, slopes_HL], dim=-1)
    k_LC = torch.stack([torch.ones_like(t_L), torch.ones_like(t_L), *_in_two(t_L)], dim=-1)
    q_BHLX, k_BGLX = (
        torch.cat([columns.to(x).expand(*x.shape[:3], -1), x], dim=-1)
        for columns, x in ((q_HLC, q_BHLK * scale), (k_LC, k_BGLK))
    )
    return q_BHLX, k_BGLX, F.pad(v_BGLK, (ALIBI_COLUMNS, 0))


def _in_two(x: Tensor) -> tuple[Tensor, Tensor]:
    """`x` rounded to bfloat16, and what that leaves; each of them exact in bfloat16 for whole numbers below 2^17."""
    high = x.bfloat16().to(x.dtype)
    return high, x - high


def reach(
    length: int, total: int, window: int | None, segments_BS: Tensor | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    """How far the L last of S positions are from all S, [L, S], and which they see, [L, S] or [B, 1, L, S]."""
    positions_S = torch.arange(total, device=device)
    distance_LS = positions_S[total - length :, None] - positions_S
    seen_LS = distance_LS >= 0
    if window is not None:
        seen_LS = seen_LS & (distance_LS < window)
    if segments_BS is None:
        return distance_LS, seen_LS
    same_BLS = segments_BS[:, total - length :, None] == segments_BS[:, None]
    return distance_LS, (seen_LS & same_BLS)[:, None]


# How many documents there are, and how long, are no shapes of a graph: torch.compile calls this as it is.
@torch.compiler.disable
def in_documents(
    attend: Callable[[Tensor, Tensor, Tensor, None], Tensor],
    q_BHLK: Tensor,
    k_BGLK: Tensor,
    v_BGLK: Tensor,
    segments_BL: Tensor,
) -> Tensor:
    """What `attend` gives for each document alone: a mask would be as large as the square of the whole length."""
    parts_BLHK = [part.transpose(1, 2) for part in (q_BHLK, k_BGLK, v_BGLK)]
    sizes = [part.shape[2] for part in parts_BLHK]
    x_BLD = torch.cat(parts_BLHK, dim=2).flatten(2)

    def alone(x_BLD: Tensor) -> Tensor:
        q, k, v = x_BLD.unflatten(-1, (sum(sizes), -1)).transpose(1, 2).split(sizes, dim=1)
        return attend(q, k, v, None).transpose(1, 2).flatten(2)

    return each_alone(alone, x_BLD, segments_BL).unflatten(-1, (sizes[0], -1)).transpose(1, 2)


def in_pieces(
    attend: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
    q_BHLK: Tensor,
    k_BGLK: Tensor,
    v_BGLK: Tensor,
    segments_BL: Tensor,
) -> Tensor:
    """What `attend` gives for some queries at a time, so that no mask is as large as the square of the length."""
    pieces, end = [], 0
    for q_BHQK in q_BHLK.split(QUERIES, dim=2):
        end += q_BHQK.shape[2]
        pieces.append(attend(q_BHQK, k_BGLK[:, :, :end], v_BGLK[:, :, :end], segments_BL[:, :end]))
    return torch.cat(pieces, dim=2)


def in_blocks(
    attend: Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor],
    q_BHLK: Tensor,
    k_BGSK: Tensor,
    v_BGSK: Tensor,
    segments_BS: Tensor | None,
    window: int,
) -> Tensor:
    """What `attend` gives under a window, for L much longer than it, in O(L * window).

    Queries in blocks of `window` see no further back than the previous block, so every block but the
    first (which sees the cache) attends to two blocks of keys under one common bias.
    """
    batch, _, length, _ = q_BHLK.shape
    past = k_BGSK.shape[2] - length
    ends = past + window
    first_segments = None if segments_BS is None else segments_BS[:, :ends]
    first_BHWK = attend(q_BHLK[:, :, :window], k_BGSK[:, :, :ends], v_BGSK[:, :, :ends], first_segments)
    tail = -length % window

    def blocks(x_BHLK: Tensor) -> Tensor:
        return F.pad(x_BHLK, (0, 0, 0, tail)).unflatten(2, (-1, window))

    def pairs(x_BGSK: Tensor) -> Tensor:
        own = blocks(x_BGSK[:, :, past:])
        both = torch.cat([own[:, :, :-1], own[:, :, 1:]], dim=3)
        return both.transpose(1, 2).flatten(0, 1)

    q_blocks = blocks(q_BHLK)[:, :, 1:].transpose(1, 2).flatten(0, 1)
    segments = None if segments_BS is None else pairs(segments_BS[:, None, :, None]).flatten(1)
    y_blocks = attend(q_blocks, pairs(k_BGSK), pairs(v_BGSK), segments)
    rest_BHLK = y_blocks.unflatten(0, (batch, -1)).transpose(1, 2).flatten(2, 3)
    return torch.cat([first_BHWK, rest_BHLK[:, :, : length - window]], dim=2)


def rotate(x_BLHK: Tensor, start: int) -> Tensor:
    """Rotary position embedding (RoFormer, arXiv 2104.09864, section 3.2.2), first token at `start`.

    Dimension i is paired with i + K/2; pair i turns by position * 10000^(-2i/K) radians. Angles are taken in
    float32 at least: in bfloat16 positions beyond 256 would fall together.
    """
    _, length, _, head_dim = x_BLHK.shape
    dtype = torch.promote_types(x_BLHK.dtype, torch.float32)
    positions_L = torch.arange(start, start + length, device=x_BLHK.device, dtype=dtype)
    pairs = torch.arange(0, head_dim, 2, device=x_BLHK.device, dtype=dtype)
    angles = positions_L[:, None, None] * ROPE_BASE ** (-pairs / head_dim)
    cos, sin = angles.cos().to(x_BLHK.dtype), angles.sin().to(x_BLHK.dtype)
    a, b = x_BLHK.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def alibi_slopes(heads: int) -> list[float]:
    """Slope of each head (ALiBi, arXiv 2108.12409, section 3).

    For n = 2^k heads the geometric sequence 2^(-8/n), 2^(-16/n), ..., 2^-8. For other counts the authors take
    the slopes of the next smaller power of two, then every second slope of the next larger one.
    """
    lower = 2 ** int(math.log2(heads))
    slopes = [2 ** (-8 * i / lower) for i in range(1, lower + 1)]
    between = [2 ** (-4 * i / lower) for i in range(1, 2 * lower, 2)]
    return slopes + between[: heads - lower]
