"""Linear input-varying operators (STAR, arXiv 2411.17800): their structure, shapes and costs, without torch.

An operator maps its input to y_i = M sum_{j <= i} T_ij V_j. T weighs tokens by features of the input, C of the token
that reads and B of those that are read; V are the values, and M is a matrix on channels. `spaces.blocks.liv` says what
each structure of T computes. The features come from a featurizer, a map of its own on tokens and channels.

Letters of features: A decay, B what is read, C what reads, V values. Two more letters stand for what is no feature of
a token but may be shared like one: K the kernel of a convolution, T the short convolution of the featurizer.

Shapes are groups x outputs: every feature belongs to a head, or, with a repeat factor, to several heads.
"""

from dataclasses import dataclass
from functools import lru_cache

from spaces.blocks.chunking import UNMODELLED, chunk_size
from spaces.blocks.sizes import CONV_KERNEL
from spaces.cost import FLOAT_BYTES, Cost

DIAGONAL, LOW_RANK, TOEPLITZ, SEMI_SEPARABLE = 1, 2, 3, 4
"""Token mixing: each token by itself; scores of pairs; a convolution; a recurrence."""
UNBANDED, BANDED = 1, 2
"""Sparsity: all earlier tokens, or a band of the last ones."""
LINEAR, SOFTMAX, RELU, SWISH = 1, 2, 3, 4
"""Nonlinearity: of the scores where tokens are mixed by them, of C elsewhere."""
BY_CHANNEL, DENSE, GROUPED = 1, 2, 3
"""Channel mixing: none, all channels, those of one head."""

BAND = 64
"""Tokens that banded scores reach, the own included; a banded kernel has `CONV_KERNEL` taps."""
MODES = 4
"""Decaying exponentials that an unbanded kernel is the sum of, for each channel."""


@dataclass(frozen=True, slots=True)
class Operator:
    """The numbers of an operator genome and of its featurizer, and whether two of them are subtracted."""

    token_mixing: int
    sparsity: int
    nonlinearity: int
    channel_mixing: int
    featurizer_token_mixing: int
    featurizer_channel_mixing: int
    expansion: int
    repeat: int
    differential: bool

    @property
    def arms(self) -> int:
        """How many token mixings there are."""
        return 2 if self.differential else 1

    @property
    def remembers_scores(self) -> bool:
        """Whether B and V of the tokens that are read are kept, and not a state of fixed size."""
        return self.token_mixing == LOW_RANK and (self.nonlinearity != LINEAR or self.sparsity == BANDED)

    @property
    def letters(self) -> str:
        """What may be shared of it: its features and, of a convolution, the kernel."""
        return {DIAGONAL: "CV", LOW_RANK: "BCV", TOEPLITZ: "BCKV", SEMI_SEPARABLE: "ABCV"}[self.token_mixing]


@dataclass(frozen=True, slots=True)
class Layer:
    """A LIV of a backbone, with what it shares.

    Attributes:
        operator: what it computes.
        leader: the layer that it takes features from, by number; its own number where it takes none.
        taken: the letters of what it takes.
        weights: the letters of the featurizer that it applies, in alphabetical order.
        owners: for each of `weights`, the first layer that applies the same weights, by number.
    """

    operator: Operator
    leader: int
    taken: str
    weights: str
    owners: tuple[int, ...]


def head_count(width: int) -> int:
    """Heads of at least 32 channels, at most 16; up to four, of at least 8, where the width has no more."""
    return max(
        h for h in (16, 8, 4, 2, 1) if width % h == 0 and (h == 1 or width // h >= (8 if h <= 4 else 32))
    )


def shapes(operator: Operator, width: int) -> dict[str, tuple[int, int]]:
    """Groups and outputs of each feature at a width."""
    heads, arms = head_count(width), operator.arms
    few, head = heads // operator.repeat, width // heads
    wide = operator.expansion * head
    if operator.token_mixing == DIAGONAL:
        return {"C": (few, wide), "V": (heads, wide)}
    if operator.token_mixing == LOW_RANK:
        return {"B": (few, arms * wide), "C": (heads, arms * wide), "V": (few, wide)}
    if operator.token_mixing == TOEPLITZ:
        return {"B": (few, arms * wide), "C": (few, arms * wide), "V": (heads, wide)}
    state = arms * operator.expansion
    return {"A": (heads, arms), "B": (few, state), "C": (few, state), "V": (heads, head)}


def mixed_width(operator: Operator, width: int) -> int:
    """Channels that tokens are mixed in; a recurrence expands its state instead."""
    return width if operator.token_mixing == SEMI_SEPARABLE else operator.expansion * width


def problem(operator: Operator, width: int) -> str | None:
    """Why an operator cannot be, at this width; None if it can."""
    mixing, heads = operator.token_mixing, head_count(width)
    if operator.nonlinearity == SOFTMAX and mixing != LOW_RANK:
        return (
            "nonlinearity 2, softmax, is over the scores of tokens, which only token mixing 2, low-rank, has"
        )
    if operator.sparsity == BANDED and mixing not in (LOW_RANK, TOEPLITZ):
        return "sparsity 2, banded, needs token mixing 2, low-rank, or 3, scaled Toeplitz"
    if operator.differential and mixing == DIAGONAL:
        return "a difference is of two mixings of tokens, but token mixing 1 is diagonal"
    if operator.featurizer_token_mixing not in (DIAGONAL, TOEPLITZ):
        return "a featurizer mixes tokens by 1, diagonal, or 3, Toeplitz"
    if heads % operator.repeat:
        return f"repeat factor {operator.repeat} does not divide the {heads} heads of width {width}"
    if mixing == LOW_RANK and mixed_width(operator, width) // heads % 2:
        return (
            "token mixing 2, low-rank, rotates pairs of channels, but a head has an odd number of them at width "
            f"{width}"
        )
    if operator.featurizer_channel_mixing == BY_CHANNEL:
        for letter, (groups, outputs) in shapes(operator, width).items():
            inputs = width // groups
            if max(inputs, outputs) % min(inputs, outputs):
                return (
                    f"featurizer channel mixing 1, diagonal, cannot make {outputs} channels of {inputs}, as feature "
                    f"{letter} needs at width {width}"
                )
    return None


@lru_cache(maxsize=1 << 16)
def layer_cost(
    operator: Operator, width: int, context: int, taken: str, weights: str, owned: str
) -> tuple[int, int, int]:
    """Parameters, FLOPs of a whole sequence, and bytes of state of a layer with its norm (see `spaces.blocks.costs`).

    Args:
        taken: the letters of what it takes from its leader.
        weights: those of the featurizer that it applies.
        owned: those of them that are not another layer's too, and that it has itself.
    """
    heads, arms = head_count(width), operator.arms
    each, mixed = shapes(operator, width), mixed_width(operator, width)
    share = mixed // heads
    flops = per_head = 0
    parameters = width
    for letter in weights:
        if letter == "T":
            size = count = CONV_KERNEL * width
        else:
            size, count = _matrix(operator.featurizer_channel_mixing, each[letter], width // each[letter][0])
        parameters += size if letter in owned else 0
        flops += 2 * count * context
    size, count = _matrix(operator.channel_mixing, (heads, width // heads), share)
    parameters += size + (heads if operator.differential else 0)
    flops += 2 * count * context
    state = (CONV_KERNEL - 1) * width if "T" in weights else 0

    toeplitz = operator.token_mixing == TOEPLITZ
    chunk = min(UNMODELLED, context) if toeplitz else chunk_size("ssd", context, share)
    padded = -(-context // chunk) * chunk
    if operator.remembers_scores:
        seen, kept = float(context), context
        if operator.sparsity == BANDED:
            kept = min(context, BAND - 1)
            if context >= 2 * BAND:
                blocks = -(-context // BAND)
                seen = BAND * BAND * (2 * blocks - 1) / context
        flops += round(4 * seen * arms * mixed * context)
        state += sum(kept * each[letter][0] * each[letter][1] for letter in "BV" if letter not in taken)
    elif operator.token_mixing in (LOW_RANK, SEMI_SEPARABLE):
        linear = operator.token_mixing == LOW_RANK
        size = share if linear else operator.expansion
        per_head = 2 * chunk * (size + share) + 4 * size * share
        flops += arms * heads * per_head * padded
        if not holds_memory(operator, taken):
            states = heads // operator.repeat if linear else heads
            state += arms * states * size * share
        if not linear and "A" not in taken:
            parameters += 2 * arms * heads
    elif toeplitz and not holds_memory(operator, taken):
        short = operator.sparsity == BANDED
        parameters += arms * mixed * (CONV_KERNEL if short else 2 * MODES)
        long = (chunk + MODES) * padded + MODES * context
        flops += 2 * arms * mixed * (CONV_KERNEL * context if short else long)
        state += arms * mixed * (CONV_KERNEL - 1 if short else MODES)
    return parameters, flops, FLOAT_BYTES * state


def holds_memory(operator: Operator, taken: str) -> bool:
    """Whether all that a layer remembers of earlier tokens is that of its leader."""
    return set(operator.letters) - {"C"} <= set(taken)


def _matrix(mixing: int, shape: tuple[int, int], fan_in: int) -> tuple[int, int]:
    """Parameters, and multiply-adds a token, of a matrix from `fan_in` channels a group to groups x outputs."""
    groups, fan_out = shape
    if mixing == DENSE:
        return (groups * groups * fan_in * fan_out,) * 2
    if mixing == GROUPED:
        return (groups * fan_in * fan_out,) * 2
    return groups * max(fan_in, fan_out), 0


def cost_in_place(layer: Layer, number: int, width: int, context: int) -> tuple[int, int, int]:
    """`layer_cost` of the layer of a number in a backbone: what it shares with earlier ones is theirs."""
    owners = layer.owners
    owned = layer.weights
    if owners.count(number) < len(owners):
        owned = "".join([letter for letter, owner in zip(owned, owners, strict=True) if owner == number])
    return layer_cost(layer.operator, width, context, layer.taken, layer.weights, owned)


def backbone_cost(layers: tuple[Layer, ...], width: int, context: int) -> Cost:
    """What the layers of a backbone cost together."""
    each = [cost_in_place(layer, number, width, context) for number, layer in enumerate(layers)]
    parameters, flops, state = map(sum, zip(*each, strict=True)) if each else (0, 0, 0)
    return Cost(parameters, parameters, flops / context, state)
