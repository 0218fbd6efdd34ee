"""Residual decoders that mix attention, linear attention, state space, convolution, experts and memory.

A model is a pattern of layers, repeated; a layer is a residual branch, parallel branches on one norm, a nested
pattern, attention whose keys later attentions read too, or a layer that runs several times with the same weights, or
with mixtures of a few templates, one after the other or in parallel streams. One draw in ten is post-norm instead, with
DeepNet's layers everywhere (Wang et al. 2022). What comes before and after (embedding, final norm, head) follows from
the input and output. Known models are genomes: Transformer++ (Touvron et al. 2023: RoPE
attention and SwiGLU), Mamba-2 (Dao and Gu 2024), Jamba-like (Lieber et al. 2024: one attention in eight mixers, experts
in every other layer, here with Mamba-2), BlackMamba-like (Anthony et al. 2024: Mamba and experts in turn, here with
Mamba-2), WideNet-like (Xue et al. 2022: one layer of attention and experts, passed over and over, here with its norms
shared too), Hydra-like (Chaudhary et al. 2025: a state space backbone with attention now and then, experts for each
chunk, a workspace and a product-key memory; here with Mamba-2 and windowed attention), a Transformer with cross-layer
attention (Brandon et al. 2024: two attentions to one of keys and values), and a Transformer with a product-key memory
in place of one feed-forward layer (Lample et al. 2019).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from spaces.fields import child, choice, many
from spaces.grammar import Grammar

hybrid = Grammar("hybrid", start="model", attributes={"nested": 0, "run": False, "scaled": False})


@hybrid.production(
    "model",
    "layer",
    weight=0.5,
    where=lambda at: at.nested < 2,
    attributes=lambda at: {"nested": at.nested + 1},
)
def stack(layers=many("layer", 1, 8), repeat=choice(1, 2, 3, 4, 6, 8, 12, ordered=True)): ...


# Post-norm layers learn where a network has no others: how much each keeps of its input follows from their number. Each
# has a gain, so that a scale would be one of a scale.
@hybrid.production("model", weight=0.05, attributes=lambda at: {"scaled": True})
def deep_net(layers=child("post_norms")): ...


@hybrid.production("post_norms", form="sequence")
def post_norms(layers=many("post_norm", 1, 8), repeat=choice(1, 2, 3, 4, 6, 8, 12, ordered=True)): ...


@hybrid.production("post_norm")
def post_norm(body=child("mixer")): ...


@hybrid.production("layer", weight=4)
def residual(body=child("mixer")): ...


@hybrid.production("layer", weight=1)
def parallel(branches=many("mixer", 2, 3)): ...


# Passes of passes would be other words for more of them, so nothing that is run again stands in another.
@hybrid.production(
    "layer",
    weight=0.25,
    where=lambda at, passes, templates: not at.run and templates < passes,
    attributes=lambda at: {"run": True},
)
def shared(
    layer=child("layer"),
    passes=choice(2, 3, 4, 6, 8, 12, ordered=True),
    templates=choice(1, 2, 3, ordered=True),
): ...


@hybrid.production("layer", weight=0.25, where=lambda at: not at.run, attributes=lambda at: {"run": True})
def parallel_streams(layer=child("layer"), streams=choice(2, 4, 8, ordered=True)): ...


def _attends(at, heads, kv_heads, position, window):
    """Heads divide the width and rotate in pairs; a window that holds the whole context would be none."""
    head_dim, rest = divmod(at.width, heads)
    fits = rest == 0 and heads % kv_heads == 0 and head_dim >= 8 and (position != "rope" or head_dim % 2 == 0)
    return fits and (window is None or window < at.context)


@hybrid.production(
    "layer",
    weight=0.25,
    where=lambda at, heads, kv_heads, position: (
        at.nested < 2 and _attends(at, heads, kv_heads, position, None)
    ),
    attributes=lambda at: {"nested": at.nested + 1},
)
def cross_layer_attention(
    heads=choice(1, 2, 4, 8, 16, 32, ordered=True),
    kv_heads=choice(1, 2, 4, 8, 16, 32, ordered=True),
    position=choice("rope", "alibi", "none"),
    followers=child("followers"),
): ...


@hybrid.production("followers", form="sequence")
def followers(layers=many("follower", 1, 3), repeat=choice(1, 2, 3, 4, ordered=True)): ...


@hybrid.production("follower")
def follower(layer=child("layer")): ...


# A scale of a scale would be one scale.
@hybrid.production("mixer", where=lambda at: not at.scaled, attributes=lambda at: {"scaled": True})
def layer_scale(body=child("mixer")): ...


@hybrid.production(
    "mixer", weight=0.5, where=lambda at: not at.scaled, attributes=lambda at: {"scaled": True}
)
def rezero(body=child("mixer")): ...


@hybrid.production("mixer", weight=2, where=_attends)
def attention(
    heads=choice(1, 2, 4, 8, 16, 32, ordered=True),
    kv_heads=choice(1, 2, 4, 8, 16, 32, ordered=True),
    position=choice("rope", "alibi", "none"),
    window=choice(None, 32, 64, 128, 256, 1024, ordered=True),
    qk_norm=choice(False, True),
): ...


@hybrid.production("mixer")
def mamba(
    state=choice(4, 8, 16, 32, ordered=True),
    expand=choice(1, 2, ordered=True),
    init=choice("decaying", "mimetic"),
): ...


def _attends_in_pairs(at, heads, kv_heads, position, window):
    """Each head has two of queries and keys."""
    return _attends(at, 2 * heads, 2 * kv_heads, position, window)


@hybrid.production("mixer", where=_attends_in_pairs)
def differential_attention(
    heads=choice(1, 2, 4, 8, 16, ordered=True),
    kv_heads=choice(1, 2, 4, 8, 16, ordered=True),
    position=choice("rope", "alibi", "none"),
    window=choice(None, 32, 64, 128, 256, 1024, ordered=True),
): ...


def _splits(at, heads):
    """Heads of at least 8 features, which may be halved."""
    return at.width % (2 * heads) == 0 and at.width // heads >= 8


@hybrid.production("mixer", weight=0.5, where=_splits)
def linear_attention(heads=choice(1, 2, 4, 8, 16, 32, ordered=True)): ...


@hybrid.production("mixer", where=_splits)
def gated_linear_attention(heads=choice(1, 2, 4, 8, 16, 32, ordered=True)): ...


@hybrid.production("mixer", where=lambda at, heads: at.width % heads == 0 and at.width // heads >= 8)
def gated_delta_net(heads=choice(1, 2, 4, 8, 16, 32, ordered=True), expand=choice(1, 2, ordered=True)): ...


@hybrid.production("mixer", weight=2, where=lambda at, expand, head_dim: expand * at.width % head_dim == 0)
def mamba2(
    state=choice(16, 32, 64, 128, ordered=True),
    expand=choice(1, 2, ordered=True),
    head_dim=choice(16, 32, 64, ordered=True),
    init=choice("decaying", "mimetic"),
): ...


@hybrid.production("mixer", where=lambda at, expand, heads: expand * at.width % heads == 0)
def rg_lru(expand=choice(1, 2, ordered=True), heads=choice(1, 2, 4, 8, 16, ordered=True)): ...


@hybrid.production("mixer", weight=0.5)
def s4d(
    state=choice(8, 16, 32, 64, ordered=True),
    init=choice("lin", "inv", "legs", "real"),
    rate=choice("exp", "stable"),
): ...


@hybrid.production("mixer", weight=0.5)
def s4(state=choice(8, 16, 32, 64, ordered=True)): ...


@hybrid.production("mixer", weight=0.5)
def companion_ssm(state=choice(8, 16, 32, 64, ordered=True)): ...


@hybrid.production("mixer", weight=0.5)
def s5(state=choice(16, 32, 64, 128, 256, ordered=True), rate=choice("exp", "stable")): ...


@hybrid.production("mixer", weight=0.5)
def ltc(expand=choice(1, 2, ordered=True), steps=choice(1, 2, 4, 6, ordered=True)): ...


@hybrid.production("mixer", weight=0.5)
def cfc(mult=choice(1, 2, ordered=True)): ...


@hybrid.production("mixer", weight=0.5, where=lambda at, span: span <= max(at.context, 64))
def long_conv(
    hidden=choice(16, 32, 64, ordered=True),
    span=choice(64, 256, 1024, 4096, ordered=True),
): ...


@hybrid.production("mixer", weight=0.5, where=lambda at, span: span <= max(at.context, 64))
def gated_toeplitz(
    expand=choice(1, 2, 3, ordered=True),
    hidden=choice(16, 32, 64, ordered=True),
    span=choice(64, 256, 1024, ordered=True),
): ...


@hybrid.production("mixer", weight=0.5)
def token_parameter_attention(tokens=choice(32, 64, 128, 256, 512, 1024, ordered=True)): ...


@hybrid.production("mixer", weight=0.5, where=lambda at, chunk: chunk < at.context)
def workspace(
    slots=choice(4, 8, 16, 32, ordered=True),
    chunk=choice(16, 32, 64, 128, 256, ordered=True),
): ...


@hybrid.production("mixer")
def gated_conv(kernel=choice(2, 3, 4, 8, 16, ordered=True)): ...


@hybrid.production("mixer", weight=2)
def swiglu(mult=choice(1, 2, 3, 4, ordered=True)): ...


@hybrid.production("mixer", weight=0.5)
def glu(mult=choice(1, 2, 3, 4, ordered=True), activation=choice("sigmoid", "relu", "gelu")): ...


@hybrid.production("mixer")
def mlp(mult=choice(1, 2, 4, 8, ordered=True), activation=choice("gelu", "relu2")): ...


@hybrid.production("mixer", weight=0.5, where=lambda at, blocks: at.width % blocks == 0)
def einfft(blocks=choice(2, 4, 8, 16, ordered=True)): ...


@hybrid.production("mixer", where=lambda at, experts, top_k: top_k < experts)
def moe(
    experts=choice(4, 8, 16, 32, ordered=True),
    top_k=choice(1, 2, 4, 8, ordered=True),
    mult=choice(1, 2, 3, ordered=True),
    shared=choice(0, 1, 2, ordered=True),
): ...


@hybrid.production("mixer", weight=0.5, where=lambda at, experts, capacity: capacity < experts)
def expert_choice_moe(
    experts=choice(4, 8, 16, 32, ordered=True),
    capacity=choice(1, 2, 4, 8, ordered=True),
    mult=choice(1, 2, 3, ordered=True),
    shared=choice(0, 1, 2, ordered=True),
): ...


@hybrid.production("mixer", weight=0.5)
def sinkhorn_moe(
    experts=choice(4, 8, 16, 32, ordered=True),
    mult=choice(1, 2, 3, ordered=True),
    shared=choice(0, 1, 2, ordered=True),
): ...


@hybrid.production("mixer", weight=0.5)
def hashed_moe(
    experts=choice(4, 8, 16, 32, ordered=True),
    mult=choice(1, 2, 3, ordered=True),
    shared=choice(0, 1, 2, ordered=True),
): ...


@hybrid.production(
    "mixer", weight=0.5, where=lambda at, experts, top_k, chunk: top_k < experts and chunk < at.context
)
def chunk_moe(
    experts=choice(4, 8, 16, 32, ordered=True),
    top_k=choice(1, 2, 4, 8, ordered=True),
    mult=choice(1, 2, 3, ordered=True),
    chunk=choice(16, 32, 64, 128, 256, ordered=True),
    shared=choice(0, 1, 2, ordered=True),
): ...


@hybrid.production("mixer", weight=0.5)
def product_key_memory(
    keys=choice(16, 32, 64, 128, 256, ordered=True),
    heads=choice(1, 2, 4, ordered=True),
    top_k=choice(4, 8, 16, ordered=True),
): ...


@hybrid.production("mixer", weight=0.5, where=lambda at, chunk: chunk < at.context)
def hierarchical_memory(
    mult=choice(1, 2, 3, ordered=True),
    branches=choice(4, 8, 16, ordered=True),
    levels=choice(1, 2, 3, ordered=True),
    units=choice(8, 16, 32, 64, ordered=True),
    chunk=choice(32, 64, 128, 256, ordered=True),
): ...


DEPTHS = (12, 8, 6, 4, 3, 2, 1)


def _attention(width: int, kv_share: int, position: str, window: str = "none") -> str:
    """Heads of 32 features where the width allows; one key-value head for `kv_share` heads."""
    heads = max(h for h in (32, 16, 8, 4, 2, 1) if width % h == 0 and (h == 1 or width // h >= 32))
    kv_heads = max(1, heads // kv_share)
    choices = f"heads={heads}, kv_heads={kv_heads}, position={position}, window={window}, qk_norm=false"
    return f"residual(body=attention({choices}))"


def _mamba(width: int) -> str:
    """Heads of 64 features, or as many as the width allows; where it allows none, the text is no genome."""
    head_dim = next((d for d in (64, 32) if 2 * width % d == 0), 16)
    return f"residual(body=mamba2(state=64, expand=2, head_dim={head_dim}, init=decaying))"


def _pattern(layers: list[str], repeat: int) -> str:
    return f"stack(layers=[{', '.join(layers)}], repeat={repeat})"


_FEED_FORWARD = "residual(body=swiglu(mult=3))"


@hybrid.architecture("transformer++")
def _transformer(width: int) -> Iterator[str]:
    for depth in DEPTHS:
        yield _pattern([_attention(width, 1, "rope"), _FEED_FORWARD], depth)


@hybrid.architecture("mamba-2")
def _mamba2(width: int) -> Iterator[str]:
    for depth in DEPTHS:
        yield _pattern([_mamba(width)], depth)


@hybrid.architecture("jamba-like")
def _jamba(width: int) -> Iterator[str]:
    """Eight mixers a period, the fifth of them attention without positions; every second feed-forward has experts."""
    for depth, experts in itertools.product(DEPTHS, (16, 8, 4)):
        sparse = f"residual(body=moe(experts={experts}, top_k=2, mult=1, shared=0))"
        pair = [_mamba(width), _FEED_FORWARD, _mamba(width), sparse]
        middle = [_attention(width, 4, "none"), _FEED_FORWARD, _mamba(width), sparse]
        yield _pattern([_pattern(pair, 2), *middle, _pattern(pair, 1)], depth)


@hybrid.architecture("blackmamba-like")
def _blackmamba(width: int) -> Iterator[str]:
    for depth, experts in itertools.product(DEPTHS, (8, 4)):
        yield _pattern(
            [_mamba(width), f"residual(body=moe(experts={experts}, top_k=1, mult=2, shared=0))"], depth
        )


@hybrid.architecture("widenet-like")
def _widenet(width: int) -> Iterator[str]:
    """Attention and experts, all the depth with the same weights."""
    for passes, experts in itertools.product(DEPTHS[:-1], (16, 8, 4)):
        sparse = f"residual(body=moe(experts={experts}, top_k=2, mult=1, shared=0))"
        layer = _pattern([_attention(width, 1, "rope"), sparse], 1)
        yield _pattern([f"shared(layer={layer}, passes={passes}, templates=1)"], 1)


@hybrid.architecture("hydra-like")
def _hydra(width: int) -> Iterator[str]:
    """Four mixers a period, the last of them windowed attention, each before experts; then both memories."""
    choices = itertools.product(DEPTHS, (16, 8, 4), (128, 64, 32), ((64, 256), (64, 64), (16, 32)))
    for depth, experts, keys, (chunk, window) in choices:
        sparse = f"residual(body=chunk_moe(experts={experts}, top_k=2, mult=1, chunk={chunk}, shared=0))"
        facts = f"product_key_memory(keys={keys}, heads=4, top_k=16)"
        memories = f"parallel(branches=[workspace(slots=16, chunk={chunk}), {facts}])"
        pairs = _pattern([_mamba(width), sparse], 3)
        yield _pattern([pairs, _attention(width, 4, "rope", str(window)), sparse, memories], depth)


@hybrid.architecture("cross-layer-attention transformer")
def _cross_layer(width: int) -> Iterator[str]:
    """Every second attention reads the keys and values of the one before it; each is followed by a feed-forward."""
    first = _attention(width, 1, "rope").removeprefix("residual(body=attention(").split(", window")[0]
    for depth in DEPTHS:
        second = f"followers(layers=[follower(layer={_FEED_FORWARD})], repeat=1)"
        pair = f"cross_layer_attention({first}, followers={second})"
        yield _pattern([pair, _FEED_FORWARD], depth)


@hybrid.architecture("product-key-memory transformer")
def _memory_transformer(width: int) -> Iterator[str]:
    """The feed-forward before the last layer, or the only one, is a memory."""
    attention = _attention(width, 1, "rope")
    for below, keys in itertools.product((*DEPTHS, 0), (128, 64, 32)):
        memory = [attention, f"residual(body=product_key_memory(keys={keys}, heads=4, top_k=16))"]
        layer = [attention, _FEED_FORWARD]
        yield _pattern([_pattern(layer, below), *memory, *layer] if below else memory, 1)
