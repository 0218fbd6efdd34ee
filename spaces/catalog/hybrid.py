"""Pre-norm residual decoders that mix attention, state space, convolution, experts and memory.

A model is a pattern of layers, repeated; a layer is a residual branch, parallel branches on one norm, or a
nested pattern. What comes before and after (embedding, final norm, head) follows from the input and output.
Known models are genomes: Transformer++ (Touvron et al. 2023: RoPE attention and SwiGLU), Mamba-2 (Dao and Gu
2024), Jamba-like (Lieber et al. 2024: one attention in eight mixers, experts in every other layer, here with
Mamba-2), BlackMamba-like (Anthony et al. 2024: Mamba and experts in turn, here with Mamba-2), and a Transformer
with a product-key memory in place of one feed-forward layer (Lample et al. 2019).
"""

from __future__ import annotations

from spaces.grammar import Grammar, child, choice, many

hybrid = Grammar("hybrid", start="model", attributes={"nested": 0})


@hybrid.production(
    "model",
    "layer",
    weight=0.5,
    where=lambda at: at.nested < 2,
    attributes=lambda at: {"nested": at.nested + 1},
)
def stack(layers=many("layer", 1, 8), repeat=choice(1, 2, 3, 4, 6, 8, 12, ordered=True)): ...


@hybrid.production("layer", weight=4)
def residual(body=child("mixer")): ...


@hybrid.production("layer", weight=1)
def parallel(branches=many("mixer", 2, 3)): ...


def _heads_fit(at, heads, kv_heads, position):
    head_dim, rest = divmod(at.width, heads)
    return rest == 0 and heads % kv_heads == 0 and head_dim >= 8 and (position != "rope" or head_dim % 2 == 0)


@hybrid.production("mixer", weight=2, where=_heads_fit)
def attention(
    heads=choice(1, 2, 4, 8, 16, 32, ordered=True),
    kv_heads=choice(1, 2, 4, 8, 16, 32, ordered=True),
    position=choice("rope", "alibi", "none"),
    window=choice(None, 32, 64, 128, 256, 1024, ordered=True),
): ...


@hybrid.production("mixer", weight=2, where=lambda at, expand, head_dim: expand * at.width % head_dim == 0)
def mamba2(
    state=choice(16, 32, 64, 128, ordered=True),
    expand=choice(1, 2, ordered=True),
    head_dim=choice(16, 32, 64, ordered=True),
): ...


@hybrid.production("mixer")
def gated_conv(kernel=choice(2, 3, 4, 8, 16, ordered=True)): ...


@hybrid.production("mixer", weight=2)
def swiglu(mult=choice(1, 2, 3, 4, ordered=True)): ...


@hybrid.production("mixer")
def mlp(mult=choice(1, 2, 4, 8, ordered=True), activation=choice("gelu", "relu2")): ...


@hybrid.production("mixer", where=lambda at, experts, top_k: top_k < experts)
def moe(
    experts=choice(4, 8, 16, 32, ordered=True),
    top_k=choice(1, 2, 4, 8, ordered=True),
    mult=choice(1, 2, 3, ordered=True),
): ...


@hybrid.production("mixer", weight=0.5)
def product_key_memory(
    keys=choice(16, 32, 64, 128, 256, ordered=True),
    heads=choice(1, 2, 4, ordered=True),
    top_k=choice(4, 8, 16, ordered=True),
): ...


def _attention(width: int) -> str:
    """Attention with heads of 32 features and, from four heads on, a quarter as many key-value heads."""
    heads = next(h for h in (32, 16, 8, 4, 2, 1) if width % h == 0 and width // h >= min(32, width))
    return (
        f"residual(body=attention(heads={heads}, kv_heads={max(1, heads // 4)}, position=rope, window=none))"
    )


def _mamba(width: int) -> str:
    head_dim = next(d for d in (64, 32, 16) if 2 * width % d == 0)
    return f"residual(body=mamba2(state=64, expand=2, head_dim={head_dim}))"


def _pattern(layers: list[str], repeat: int) -> str:
    return f"stack(layers=[{', '.join(layers)}], repeat={repeat})"


_FEED_FORWARD = "residual(body=swiglu(mult=3))"


@hybrid.architecture("transformer++")
def _transformer(width: int, depth: int) -> str:
    return _pattern([_attention(width), _FEED_FORWARD], depth)


@hybrid.architecture("mamba-2")
def _mamba2(width: int, depth: int) -> str:
    return _pattern([_mamba(width)], depth)


@hybrid.architecture("jamba-like")
def _jamba(width: int, depth: int) -> str:
    """Eight layers a period: the fifth mixes by attention, every second one has experts."""
    experts = "residual(body=moe(experts=16, top_k=2, mult=1))"
    before = _pattern([_mamba(width), _FEED_FORWARD, _mamba(width), experts], 2)
    after = [
        _attention(width),
        _FEED_FORWARD,
        _mamba(width),
        experts,
        _pattern([_mamba(width), _FEED_FORWARD, _mamba(width), experts], 1),
    ]
    return _pattern([before, *after], depth)


@hybrid.architecture("blackmamba-like")
def _blackmamba(width: int, depth: int) -> str:
    return _pattern([_mamba(width), "residual(body=moe(experts=8, top_k=1, mult=2))"], depth)


@hybrid.architecture("product-key-memory transformer")
def _memory_transformer(width: int, depth: int) -> str:
    """The feed-forward of the last layer but one (or of the only one) is a memory of 128² slots."""
    layer = [_attention(width), _FEED_FORWARD]
    memory = [_attention(width), "residual(body=product_key_memory(keys=128, heads=4, top_k=16))"]
    if depth == 1:
        return _pattern(memory, 1)
    ahead = [_pattern(layer, depth - 2)] if depth - 2 in (1, 2, 4, 6, 10) else []
    return _pattern([*ahead, *memory, *layer], 1)
