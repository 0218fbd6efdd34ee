"""Residual decoders that mix attention, linear attention, state space, convolution, experts and memory.

A model is a pattern of layers, repeated; a layer is a residual branch, parallel branches on one norm, a nested
pattern, attention whose keys later attentions read too, or a layer that runs several times with the same weights, or
with mixtures of a few templates, one after the other or in parallel streams. One draw in ten is post-norm instead, with
DeepNet's layers everywhere (Wang et al. 2022). What comes before and after (embedding, final norm, head) follows from
the input and output. Known models are in `hybrid_models.py`.
"""

from __future__ import annotations

from spaces.catalog.hybrid_models import MODELS
from spaces.fields import child, choice, many
from spaces.grammar import Grammar

hybrid = Grammar("hybrid", start="model", attributes={"nested": 0, "run": False, "scaled": False, "norms": 1})


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


@hybrid.production("layer", weight=4, attributes=lambda at: {"norms": 1})
def residual(body=child("mixer")): ...


@hybrid.production("layer", weight=1, attributes=lambda at: {"norms": 1})
def parallel(branches=many("mixer", 2, 3)): ...


# Passes of passes would be other words for more of them, so nothing that is run again stands in another. Each pass has
# norms of its own (WideNet), of several templates those of their mixture.
@hybrid.production(
    "layer",
    weight=0.25,
    where=lambda at, passes, templates: not at.run and templates < passes,
    attributes=lambda at, passes, templates: {"run": True, "norms": passes if templates == 1 else 1},
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


for name, model in MODELS.items():
    hybrid.architecture(name)(model)
