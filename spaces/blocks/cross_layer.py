"""Attention layers that share the keys and values of the first of them.

Letters in tensor names: B batch, L length, D width, H query heads, K head dim, G key-value heads, S keys.
"""

from collections.abc import Iterable
from typing import Literal, cast

from torch import Tensor, nn

from spaces.blocks.attention import Attention, AttentionState, rotate
from spaces.blocks.base import Block, State, linear, rms_norm


class Follower(nn.Module):
    """A layer, then attention with queries of its own to keys and values that it is given."""

    def __init__(self, width: int, layer: Block) -> None:
        super().__init__()
        self.layer = layer
        self.norm = rms_norm(width)
        self.query = linear(width, width)
        self.out = linear(width, width)


class CrossLayerAttention(Block):
    """Cross-layer attention (Brandon et al., arXiv 2405.12981): attention layers that read one layer's keys and values.

        x <- x + attention(norm(x));   for each follower:   x <- layer(x);   x <- x + attention'(norm'(x))

    heads, kv_heads and position: as of `Attention`, for all of them. Followers have norms, queries and output
    projections of their own, and no keys, no values and no cache: with f of them the cache is that of one attention
    in f + 1.

    Raises ValueError for what `Attention` refuses.
    """

    def __init__(
        self,
        width: int,
        followers: Iterable[Follower],
        *,
        heads: int,
        kv_heads: int,
        position: Literal["rope", "alibi", "none"],
    ) -> None:
        super().__init__()
        self.norm = rms_norm(width)
        self.attention = Attention(width, heads=heads, kv_heads=kv_heads, position=position, window=None)
        self.followers = nn.ModuleList(followers)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        first, *others = state or [None] * (1 + len(self.followers))
        y_BLD, k_BGSK, v_BGSK, after = self.attention.attended(self.norm(x_BLD), first, segments_BL)
        x_BLD = x_BLD + y_BLD
        states = [after]
        for follower, before in zip(self.followers, others, strict=True):
            follower = cast(Follower, follower)
            x_BLD, after = follower.layer(x_BLD, before, segments_BL)
            states.append(after)
            q_BLHK = follower.query(follower.norm(x_BLD)).unflatten(-1, (-1, self.attention.head_dim))
            if self.attention.position == "rope":
                q_BLHK = rotate(q_BLHK, 0 if first is None else AttentionState(*first).offset)
            read_BLD = self.attention.mix(q_BLHK.transpose(1, 2), k_BGSK, v_BGSK, segments_BL)
            x_BLD = x_BLD + follower.out(read_BLD)
        return x_BLD, None if state is None else tuple(states)

    def init_state(self, batch: int) -> State:
        layers = (cast(Follower, follower).layer for follower in self.followers)
        return (self.attention.init_state(batch), *(layer.init_state(batch) for layer in layers))
