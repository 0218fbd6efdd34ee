"""Cross-layer attention, each follower as an attention of its own with the first one's keys and values."""

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor

from spaces.blocks.cross_layer import CrossLayerAttention, Follower
from spaces.blocks.reference.attention import attention, heads_of, read, rms_norm


def cross_layer_attention(
    block: CrossLayerAttention, x_BLD: Tensor, layer: Callable[[Any, Tensor], Tensor]
) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]; `layer` is the twin of the layer of each follower."""
    own = block.attention
    normed_BLD = rms_norm(x_BLD, block.norm.weight)
    _, k, v = heads_of(own, normed_BLD @ own.qkv.weight.T)
    x_BLD = x_BLD + attention(own, normed_BLD)
    for follower in cast(Iterable[Follower], block.followers):
        x_BLD = layer(follower.layer, x_BLD)
        query_BLD = rms_norm(x_BLD, follower.norm.weight) @ follower.query.weight.T
        keys = torch.zeros(*query_BLD.shape[:2], 2 * own.kv_heads * own.head_dim, dtype=x_BLD.dtype)
        q, _, _ = heads_of(own, torch.cat([query_BLD, keys], dim=-1))
        x_BLD = x_BLD + read(own, q, k, v) @ follower.out.weight.T
    return x_BLD
