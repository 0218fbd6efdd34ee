"""Known models as genomes of the hybrid space; each is a function from the width to texts, the largest first.

Transformer++ (Touvron et al. 2023: RoPE attention and SwiGLU), Mamba-2 (Dao and Gu 2024), Jamba-like (Lieber et al.
2024: one attention in eight mixers, experts in every other layer, here with Mamba-2), BlackMamba-like (Anthony et al.
2024: Mamba and experts in turn, here with Mamba-2), WideNet-like (Xue et al. 2022: one layer of attention and experts,
passed over and over, each pass with norms of its own), Hydra-like (Chaudhary et al. 2025: a state space backbone with
attention now and then, experts for each chunk, a workspace and a product-key memory; here with Mamba-2 and windowed
attention), a Transformer with cross-layer attention (Brandon et al. 2024: two attentions to one of keys and values),
and a Transformer with a product-key memory in place of one feed-forward layer (Lample et al. 2019).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

DEPTHS = (12, 8, 6, 4, 3, 2, 1)


def attention_layer(width: int, kv_share: int, position: str, window: str = "none") -> str:
    """Heads of 32 features where the width allows; one key-value head for `kv_share` heads."""
    heads = max(h for h in (32, 16, 8, 4, 2, 1) if width % h == 0 and (h == 1 or width // h >= 32))
    kv_heads = max(1, heads // kv_share)
    choices = f"heads={heads}, kv_heads={kv_heads}, position={position}, window={window}, qk_norm=false"
    return f"residual(body=attention({choices}))"


def mamba_layer(width: int) -> str:
    """Heads of 64 features, or as many as the width allows; where it allows none, the text is no genome."""
    head_dim = next((d for d in (64, 32) if 2 * width % d == 0), 16)
    return f"residual(body=mamba2(state=64, expand=2, head_dim={head_dim}, init=decaying))"


def pattern(layers: list[str], repeat: int) -> str:
    return f"stack(layers=[{', '.join(layers)}], repeat={repeat})"


FEED_FORWARD = "residual(body=swiglu(mult=3))"


def transformer(width: int) -> Iterator[str]:
    for depth in DEPTHS:
        yield pattern([attention_layer(width, 1, "rope"), FEED_FORWARD], depth)


def mamba2(width: int) -> Iterator[str]:
    for depth in DEPTHS:
        yield pattern([mamba_layer(width)], depth)


def jamba(width: int) -> Iterator[str]:
    """Eight mixers a period, the fifth of them attention without positions; every second feed-forward has experts."""
    for depth, experts in itertools.product(DEPTHS, (16, 8, 4)):
        sparse = f"residual(body=moe(experts={experts}, top_k=2, mult=1, shared=0))"
        pair = [mamba_layer(width), FEED_FORWARD, mamba_layer(width), sparse]
        middle = [attention_layer(width, 4, "none"), FEED_FORWARD, mamba_layer(width), sparse]
        yield pattern([pattern(pair, 2), *middle, pattern(pair, 1)], depth)


def blackmamba(width: int) -> Iterator[str]:
    for depth, experts in itertools.product(DEPTHS, (8, 4)):
        yield pattern(
            [mamba_layer(width), f"residual(body=moe(experts={experts}, top_k=1, mult=2, shared=0))"], depth
        )


def widenet(width: int) -> Iterator[str]:
    """Attention and experts, all the depth with the same weights."""
    for passes, experts in itertools.product(DEPTHS[:-1], (16, 8, 4)):
        sparse = f"residual(body=moe(experts={experts}, top_k=2, mult=1, shared=0))"
        layer = pattern([attention_layer(width, 1, "rope"), sparse], 1)
        yield pattern([f"shared(layer={layer}, passes={passes}, templates=1)"], 1)


def hydra(width: int) -> Iterator[str]:
    """Four mixers a period, the last of them windowed attention, each before experts; then both memories."""
    choices = itertools.product(DEPTHS, (16, 8, 4), (128, 64, 32), ((64, 256), (64, 64), (16, 32)))
    for depth, experts, keys, (chunk, window) in choices:
        sparse = f"residual(body=chunk_moe(experts={experts}, top_k=2, mult=1, chunk={chunk}, shared=0))"
        facts = f"product_key_memory(keys={keys}, heads=4, top_k=16)"
        memories = f"parallel(branches=[workspace(slots=16, chunk={chunk}), {facts}])"
        pairs = pattern([mamba_layer(width), sparse], 3)
        yield pattern([pairs, attention_layer(width, 4, "rope", str(window)), sparse, memories], depth)


def cross_layer(width: int) -> Iterator[str]:
    """Every second attention reads the keys and values of the one before it; each is followed by a feed-forward."""
    first = attention_layer(width, 1, "rope").removeprefix("residual(body=attention(").split(", window")[0]
    for depth in DEPTHS:
        second = f"followers(layers=[follower(layer={FEED_FORWARD})], repeat=1)"
        pair = f"cross_layer_attention({first}, followers={second})"
        yield pattern([pair, FEED_FORWARD], depth)


def memory_transformer(width: int) -> Iterator[str]:
    """The feed-forward before the last layer, or the only one, is a memory."""
    attention = attention_layer(width, 1, "rope")
    for below, keys in itertools.product((*DEPTHS, 0), (128, 64, 32)):
        memory = [attention, f"residual(body=product_key_memory(keys={keys}, heads=4, top_k=16))"]
        layer = [attention, FEED_FORWARD]
        yield pattern([pattern(layer, below), *memory, *layer] if below else memory, 1)


MODELS: dict[str, Callable[[int], Iterator[str]]] = {
    "transformer++": transformer,
    "mamba-2": mamba2,
    "jamba-like": jamba,
    "blackmamba-like": blackmamba,
    "widenet-like": widenet,
    "hydra-like": hydra,
    "cross-layer-attention transformer": cross_layer,
    "product-key-memory transformer": memory_transformer,
}
