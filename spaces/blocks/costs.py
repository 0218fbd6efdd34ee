"""What each block costs, in closed form and without torch: grammars price thousands of genomes a second.

Every function takes `at` (anything with a `.width`), `context` (tokens in the sequence) and the choices of
the production, and returns the block's own cost, children excluded. The conformance suite
(`spaces.blocks.testing`) holds these formulas to the blocks as built.

FLOPs are those of one forward pass of one sequence of `context` tokens without a state, divided by
`context`: 2 for each multiply-add of matrix products, attention and convolutions, as torch's FlopCounterMode
counts them; elementwise work, biases of scores, norms, lookups, top-k and Fourier transforms are free. Causal
attention is counted as the full square, masked half included, and padding to whole chunks (of the CPU, see `chunking`)
or windows as the work that it is.
"""

from collections.abc import Callable
from typing import Protocol

from spaces.blocks.chunking import chunk_size
from spaces.blocks.sizes import (
    CONV_KERNEL,
    ENCODER_LAYERS,
    GATE_RANK,
    HYENA_KERNEL,
    POSITION_BANDS,
    QUERY_DIM,
    hidden_width,
    step_rank,
)
from spaces.cost import FLOAT_BYTES, INDEX_BYTES, Cost


class HasWidth(Protocol):
    """Where a block stands in the network; only the width matters here."""

    @property
    def width(self) -> int: ...


def attention(
    at: HasWidth,
    context: int,
    *,
    heads: int,
    kv_heads: int,
    position: str,
    window: int | None,
    qk_norm: bool = False,
) -> Cost:
    head_dim = at.width // heads
    kv_width = head_dim * kv_heads
    matrices = 2 * at.width * (at.width + kv_width)
    parameters = matrices + (2 * head_dim if qk_norm else 0)
    kept = context if window is None else min(context, window - 1)
    flops = 2 * matrices + 4 * _keys_seen(context, window) * at.width
    return Cost(parameters, parameters, flops, FLOAT_BYTES * 2 * kv_width * kept)


def _keys_seen(context: int, window: int | None) -> float:
    """Keys that a query is multiplied with, masked ones included, on average."""
    if window is None or context < 2 * window:
        return context
    # Query blocks of `window` see two blocks of keys, the first block only itself.
    blocks = -(-context // window)
    return window * window * (2 * blocks - 1) / context


def differential_attention(
    at: HasWidth, context: int, *, heads: int, kv_heads: int, position: str, window: int | None
) -> Cost:
    whole = attention(at, context, heads=heads, kv_heads=kv_heads, position=position, window=window)
    # Four vectors of half a head for lambda, the norm of a head, and scores for both halves of the values.
    parameters = 3 * at.width // heads
    return whole + Cost(parameters, parameters, 4 * _keys_seen(context, window) * at.width, 0)


def cross_layer_attention(at: HasWidth, context: int, *, heads: int, kv_heads: int, position: str) -> Cost:
    first = attention(at, context, heads=heads, kv_heads=kv_heads, position=position, window=None)
    return norm(at, context) + first


def follower(at: HasWidth, context: int) -> Cost:
    """A layer that attends to another one's keys: it has queries, an output and a norm, and no cache."""
    matrices = 2 * at.width * at.width
    parameters = matrices + at.width
    return Cost(parameters, parameters, 2 * matrices + 4 * context * at.width, 0)


def mamba2(
    at: HasWidth, context: int, *, state: int, expand: int, head_dim: int, init: str = "decaying"
) -> Cost:
    inner = expand * at.width
    heads = inner // head_dim
    mixed = inner + 2 * state
    projections = at.width * (inner + mixed + heads) + inner * at.width
    parameters = projections + CONV_KERNEL * mixed + 3 * heads + inner
    chunk = chunk_size("ssd", context, inner)
    padded = -(-context // chunk) * chunk
    scan = (2 * chunk * (state + inner) + 4 * inner * state) * padded / context
    flops = 2 * projections + 2 * CONV_KERNEL * mixed + scan
    kept = (CONV_KERNEL - 1) * mixed + inner * state
    return Cost(parameters, parameters, flops, FLOAT_BYTES * kept)


def mamba(at: HasWidth, context: int, *, state: int, expand: int, init: str) -> Cost:
    inner, rank = expand * at.width, step_rank(at.width)
    matrices = 3 * at.width * inner + inner * (2 * rank + 2 * state)
    parameters = matrices + (CONV_KERNEL + state + 3) * inner
    flops = 2 * matrices + 2 * CONV_KERNEL * inner + 2 * state * inner
    kept = (CONV_KERNEL - 1 + state) * inner
    return Cost(parameters, parameters, flops, FLOAT_BYTES * kept)


def rg_lru(at: HasWidth, context: int, *, expand: int, heads: int) -> Cost:
    inner = expand * at.width
    matrices = 3 * at.width * inner + 2 * inner * inner // heads
    parameters = matrices + (CONV_KERNEL + 3) * inner
    flops = 2 * matrices + 2 * CONV_KERNEL * inner
    return Cost(parameters, parameters, flops, FLOAT_BYTES * CONV_KERNEL * inner)


def s4d(at: HasWidth, context: int, *, state: int, init: str, rate: str = "exp") -> Cost:
    parameters = 2 * at.width * (1 + state + at.width)
    chunk = chunk_size("filter", context, at.width)
    padded = -(-context // chunk) * chunk
    flops = 2 * state * at.width * padded / context + 4 * at.width * at.width
    return Cost(parameters, parameters, flops, FLOAT_BYTES * state * at.width)


def s4(at: HasWidth, context: int, *, state: int) -> Cost:
    parameters = 2 * at.width * (1 + 2 * state + at.width)
    # Eight real sums at each of length + 1 complex points, for half as many modes as the state has dimensions.
    flops = 16 * state * at.width * (context + 1) / context + 4 * at.width * at.width
    return Cost(parameters, parameters, flops, FLOAT_BYTES * state * at.width)


def companion_ssm(at: HasWidth, context: int, *, state: int) -> Cost:
    parameters = at.width * (4 * state + 1 + 2 * at.width)
    return Cost(parameters, parameters, 4 * at.width * at.width, FLOAT_BYTES * state * at.width)


def s5(at: HasWidth, context: int, *, state: int, rate: str = "exp") -> Cost:
    matrices = 2 * at.width * state + at.width * at.width
    parameters = matrices + at.width + 3 * state // 2
    return Cost(parameters, parameters, 2 * matrices, FLOAT_BYTES * state)


def ltc(at: HasWidth, context: int, *, expand: int, steps: int) -> Cost:
    neurons = expand * at.width
    parameters = 2 * at.width * neurons + neurons * neurons + 3 * neurons
    # Once a call, the state's origin is moved into the inputs.
    flops = 4 * at.width * neurons + 2 * (steps + 1 / context) * neurons * neurons
    return Cost(parameters, parameters, flops, FLOAT_BYTES * neurons)


def cfc(at: HasWidth, context: int, *, mult: float) -> Cost:
    units = hidden_width(at.width, mult)
    matrices = at.width * (5 * units + at.width)
    parameters = matrices + units + 3 * at.width
    return Cost(parameters, parameters, 2 * matrices, FLOAT_BYTES * at.width)


def linear_attention(at: HasWidth, context: int, *, heads: int) -> Cost:
    parameters = 4 * at.width * at.width
    keys = at.width // heads
    chunk = chunk_size("linear attention", context, at.width + heads)
    padded = -(-context // chunk) * chunk
    # The values have one more dimension, which sums the weights.
    scan = 2 * chunk * at.width + 2 * heads * (keys + 1) * (chunk + 2 * keys)
    flops = 2 * parameters + scan * padded / context
    return Cost(parameters, parameters, flops, FLOAT_BYTES * at.width * (keys + 1))


def gated_linear_attention(at: HasWidth, context: int, *, heads: int) -> Cost:
    keys, values = at.width // 2, at.width // heads
    matrices = at.width * (2 * keys + 3 * at.width) + GATE_RANK * (at.width + keys)
    parameters = matrices + keys + values
    chunk = chunk_size("gated linear attention", context, at.width)
    padded = -(-context // chunk) * chunk
    # Halves of halves: a token meets the chunk but itself, each pair from one side only.
    scan = (chunk - 1) * (keys + at.width) + 4 * keys * values
    flops = 2 * matrices + scan * padded / context
    return Cost(parameters, parameters, flops, FLOAT_BYTES * keys * values)


def gated_delta_net(at: HasWidth, context: int, *, heads: int, expand: int) -> Cost:
    values = expand * at.width
    channels = 2 * at.width + values
    matrices = at.width * (channels + values + 2 * heads) + values * at.width
    parameters = matrices + CONV_KERNEL * channels + 2 * heads + values // heads
    chunk = chunk_size("delta", context, values)
    padded = -(-context // chunk) * chunk
    memory = at.width * values // heads
    inverse = 2 * heads * (chunk * chunk - 1) // 3
    scan = chunk * (6 * at.width + 4 * values) + 6 * memory + inverse
    flops = 2 * matrices + 2 * CONV_KERNEL * channels + scan * padded / context
    kept = (CONV_KERNEL - 1) * channels + memory
    return Cost(parameters, parameters, flops, FLOAT_BYTES * kept)


def long_conv(at: HasWidth, context: int, *, hidden: int, span: int) -> Cost:
    network = hidden * (1 + 2 * POSITION_BANDS + 2 * hidden + at.width)
    matrices = 4 * at.width * at.width + 3 * HYENA_KERNEL * at.width + network
    kept = (3 * (HYENA_KERNEL - 1) + 2 * context) * at.width
    parameters = matrices + 4 * hidden + at.width
    return Cost(parameters, parameters, 2 * matrices, FLOAT_BYTES * kept)


def gated_toeplitz(at: HasWidth, context: int, *, expand: int, hidden: int, span: int) -> Cost:
    inner = expand * at.width
    projections = 3 * at.width * inner
    encoder = hidden * (1 + ENCODER_LAYERS * hidden + inner)
    biases = 3 * (1 + ENCODER_LAYERS) * hidden + inner
    flops = 2 * projections + 2 * encoder * min(context, span) / context
    kept = 2 * inner * (span + context % span)
    parameters = projections + encoder + biases
    return Cost(parameters, parameters, flops, FLOAT_BYTES * kept)


def token_parameter_attention(at: HasWidth, context: int, *, tokens: int) -> Cost:
    parameters = 2 * tokens * at.width
    return Cost(parameters, parameters, 2 * parameters, 0)


def workspace(at: HasWidth, context: int, *, slots: int, chunk: int) -> Cost:
    matrices = 3 * at.width * at.width + slots * at.width
    parameters = matrices + 2 * slots * at.width + slots
    padded = -(-context // chunk) * chunk
    flops = 2 * matrices + 6 * slots * at.width * padded / context
    kept = slots * at.width + context % chunk * (at.width + slots)
    return Cost(parameters, parameters, flops, FLOAT_BYTES * kept)


def gated_conv(at: HasWidth, context: int, *, kernel: int) -> Cost:
    parameters = 4 * at.width * at.width + kernel * at.width
    return Cost(parameters, parameters, 2 * parameters, FLOAT_BYTES * (kernel - 1) * at.width)


def swiglu(at: HasWidth, context: int, *, mult: float) -> Cost:
    parameters = 3 * at.width * hidden_width(at.width, mult)
    return Cost(parameters, parameters, 2 * parameters, 0)


def mlp(at: HasWidth, context: int, *, mult: float, activation: str) -> Cost:
    parameters = 2 * at.width * hidden_width(at.width, mult)
    return Cost(parameters, parameters, 2 * parameters, 0)


def glu(at: HasWidth, context: int, *, mult: float, activation: str) -> Cost:
    return swiglu(at, context, mult=mult)


def einfft(at: HasWidth, context: int, *, blocks: int) -> Cost:
    parameters = 4 * at.width * (at.width // blocks + 1)
    # Complex products are four real ones; transforms over blocks are products with their matrices.
    flops = 16 * at.width * at.width // blocks + 8 * blocks * at.width
    return Cost(parameters, parameters, flops, 0)


def whole_einfft(at: HasWidth, context: int, *, blocks: int) -> Cost:
    # Its transforms are Fourier transforms, and free.
    return einfft(at, context, blocks=blocks) - Cost(0, 0, 8 * blocks * at.width, 0)


def fourier_layer(at: HasWidth, context: int, *, modes: int, columns: int | None = None) -> Cost:
    rows, row = (1, context) if columns is None else (context // columns, columns)
    of_rows, of_columns = min(1 if columns is None else 2 * modes, rows), min(modes, row // 2 + 1)
    matrix = at.width * at.width
    parameters = 2 * (1 if columns is None else 2 * modes) * modes * matrix + matrix + at.width
    # There and back, complex numbers by complex ones for rows, real ones to complex ones for columns.
    transforms = 8 * context * at.width * of_columns
    if columns is not None:
        transforms += 16 * rows * of_rows * of_columns * at.width
    flops = (transforms + 8 * matrix * of_rows * of_columns) / context + 2 * matrix
    return Cost(parameters, parameters, flops, 0)


def mamba_nd(at: HasWidth, context: int, *, state: int, expand: int, order: str, columns: int) -> Cost:
    scan = mamba(at, context, state=state, expand=expand, init="decaying")
    return scan - Cost(0, 0, 0, scan.state_bytes)


def moe(at: HasWidth, context: int, *, experts: int, top_k: int, mult: float, shared: int = 0) -> Cost:
    router = at.width * experts
    expert = 3 * at.width * hidden_width(at.width, mult)
    active = router + (top_k + shared) * expert
    return Cost(router + (experts + shared) * expert, active, 2 * active, 0)


def expert_choice_moe(
    at: HasWidth, context: int, *, experts: int, capacity: float, mult: float, shared: int = 0
) -> Cost:
    """Active parameters and FLOPs are means, as the number of experts that a token uses is."""
    router = at.width * experts
    expert = 3 * at.width * hidden_width(at.width, mult)
    active = router + (capacity + shared) * expert
    return Cost(router + experts + (experts + shared) * expert, round(active) + experts, 2 * active, 0)


def sinkhorn_moe(at: HasWidth, context: int, *, experts: int, mult: float, shared: int = 0) -> Cost:
    each = moe(at, context, experts=experts, top_k=1, mult=mult, shared=shared)
    return each + Cost(experts, experts, 0, 0)


def hashed_moe(at: HasWidth, context: int, *, experts: int, mult: float, shared: int = 0) -> Cost:
    expert = 3 * at.width * hidden_width(at.width, mult)
    active = (1 + shared) * expert
    return Cost((experts + shared) * expert, active, at.width * experts + 2 * active, 0)


def chunk_moe(
    at: HasWidth, context: int, *, experts: int, top_k: int, mult: float, chunk: int, shared: int = 0
) -> Cost:
    each = moe(at, context, experts=experts, top_k=top_k, mult=mult, shared=shared)
    # The router looks at one token a chunk.
    spared = 2 * at.width * experts * (1 - -(-context // chunk) / context)
    return each + Cost(0, 0, -spared, FLOAT_BYTES * experts)


def hierarchical_memory(
    at: HasWidth, context: int, *, mult: float, branches: int, levels: int, units: int, chunk: int
) -> Cost:
    """Active is what a chunk fetches: the units of one node a level, and the centroids that it chose among."""
    nodes = sum(branches**level for level in range(1, levels + 1))
    node, unit = at.width + 1, 3 * at.width
    common = unit * hidden_width(at.width, mult)
    used = common + levels * units * unit
    state_bytes = FLOAT_BYTES * at.width + INDEX_BYTES * levels
    return Cost(
        common + nodes * (node + units * unit), used + levels * branches * node, 2 * used, state_bytes
    )


def product_key_memory(at: HasWidth, context: int, *, keys: int, heads: int, top_k: int) -> Cost:
    matrices = heads * QUERY_DIM * (at.width + keys)
    dense = matrices + 2 * QUERY_DIM
    return Cost(dense + keys * keys * at.width, dense + heads * top_k * at.width, 2 * matrices, 0)


def norm(at: HasWidth, context: int) -> Cost:
    """A number for each channel: all that a layer scale owns itself."""
    return Cost(at.width, at.width, 0, 0)


def pre_norm(at: HasWidth, context: int) -> Cost:
    """All that a residual or a group of parallel branches owns itself: a norm, or one for each of so many `norms`."""
    gains = at.width * getattr(at, "norms", 1)
    return Cost(gains, gains, 0, 0)


def rezero(at: HasWidth, context: int) -> Cost:
    return Cost(1, 1, 0, 0)


def post_norm(at: HasWidth, context: int) -> Cost:
    """A LayerNorm's numbers, and a gain for each channel."""
    return Cost(3 * at.width, 3 * at.width, 0, 0)


def deep_norm(at: HasWidth, context: int, *, alpha: float) -> Cost:
    return post_norm(at, context)


def stack(at: HasWidth, context: int) -> Cost:
    return Cost(0, 0, 0, 0)


def shared(at: HasWidth, context: int, *, passes: int, templates: int = 1) -> Cost:
    shares = passes * templates if templates > 1 else 0
    return Cost(shares, shares, 0, 0)


def parallel_streams(at: HasWidth, context: int, *, streams: int) -> Cost:
    matrices = streams * at.width * (at.width + 1)
    parameters = matrices + (2 * streams + 1) * at.width
    return Cost(parameters, parameters, 2 * matrices, 0)


def frame(width: int, vocab: int) -> Cost:
    """The token model around the blocks: embedding, final RMSNorm, and an untied head to the vocabulary."""
    head = width * vocab
    return Cost(2 * head + width, head + 2 * width, 2 * head, 0)


COSTS: dict[str, Callable[..., Cost]] = {
    "attention": attention,
    "mamba": mamba,
    "differential_attention": differential_attention,
    "cross_layer_attention": cross_layer_attention,
    "follower": follower,
    "followers": stack,
    "linear_attention": linear_attention,
    "gated_linear_attention": gated_linear_attention,
    "gated_delta_net": gated_delta_net,
    "mamba2": mamba2,
    "rg_lru": rg_lru,
    "companion_ssm": companion_ssm,
    "s4": s4,
    "s4d": s4d,
    "s5": s5,
    "ltc": ltc,
    "cfc": cfc,
    "long_conv": long_conv,
    "gated_toeplitz": gated_toeplitz,
    "token_parameter_attention": token_parameter_attention,
    "workspace": workspace,
    "gated_conv": gated_conv,
    "swiglu": swiglu,
    "glu": glu,
    "mlp": mlp,
    "einfft": einfft,
    "whole_einfft": whole_einfft,
    "fourier_layer": fourier_layer,
    "mamba_nd": mamba_nd,
    "moe": moe,
    "expert_choice_moe": expert_choice_moe,
    "sinkhorn_moe": sinkhorn_moe,
    "hashed_moe": hashed_moe,
    "chunk_moe": chunk_moe,
    "hierarchical_memory": hierarchical_memory,
    "product_key_memory": product_key_memory,
    "residual": pre_norm,
    "parallel": pre_norm,
    "layer_scale": norm,
    "rezero": rezero,
    "deep_norm": deep_norm,
    "deep_net": stack,
    "post_norms": stack,
    "post_norm": post_norm,
    "stack": stack,
    "shared": shared,
    "parallel_streams": parallel_streams,
}
