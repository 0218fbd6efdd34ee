"""Sizes inside blocks that no choice says: blocks are built with them, and costs count them. Imports no torch."""

CONV_KERNEL = 4
"""Taps of the short convolution inside Mamba, Mamba-2, Gated DeltaNet and the gated recurrent block."""
GATE_RANK = 16
"""Rank of the map from a token to its decays in gated linear attention."""
HYENA_KERNEL = 3
"""Taps of the short convolution of the Hyena operator."""
POSITION_BANDS = 8
"""Pairs of cosine and sine that tell its filter a position."""
ENCODER_LAYERS = 3
"""Hidden layers of the relative position encoder of the gated Toeplitz unit."""
QUERY_DIM = 64
"""Width of one query of the product-key memory: two halves of 32."""


def hidden_width(width: int, mult: float) -> int:
    """Hidden units of a feed-forward layer: mult * width, rounded. Raises ValueError if there are none."""
    hidden = round(mult * width)
    if hidden < 1:
        raise ValueError(f"mult {mult} of width {width} leaves no hidden units")
    return hidden


def step_rank(width: int) -> int:
    """Rank of Mamba's step sizes: a sixteenth of the width, rounded up."""
    return -(-width // 16)
