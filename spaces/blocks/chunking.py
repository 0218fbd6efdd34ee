"""How many tokens chunked operators mix at once, from a small model of what that costs; needs no torch.

The same length, width and kind of device give the same chunks, and so the same bits. `tests/speed/chunks.py` measures
the model anew.
"""

from functools import lru_cache
from typing import NamedTuple

SMALLEST, LARGEST = 8, 256
UNMODELLED = 64
"""Tokens of a chunk where there is no model: on other devices, as in flash-linear-attention's kernels for GPUs, and of
Toeplitz convolutions, among whose sizes the best model chose no better, and made what they keep grow faster than the
length."""


class Seconds(NamedTuple):
    """Microseconds of one sequence of length L and width W in chunks of Q, forward and backward, that depend on Q.

        L Q (mix + mix_width W) + L / Q (step + step_width W) + Q (place + place_width W)

    mix: each token with all of its chunk. step: what is done for each chunk. place: for each position in all chunks.
    """

    mix: float
    mix_width: float
    step: float
    step_width: float
    place: float
    place_width: float


CPU = {
    "recurrence": Seconds(0.0, 1.7e-05, 3.9, 0.11, 14.0, 0.0),
    "ssd": Seconds(0.0056, 0.0012, 36.0, 1.1, 0.97, 0.0),
    "linear attention": Seconds(0.0, 0.0009, 10.0, 1.2, 0.0, 0.0),
    "gated linear attention": Seconds(0.003, 0.001, 36.0, 0.0, 3.8, 0.0),
    "delta": Seconds(0.0, 0.0051, 120.0, 1.7, 0.0, 0.0),
    "filter": Seconds(0.0, 0.0, 0.0, 1.2, 0.0, 0.57),
}
"""Measured on one thread of an AMD EPYC, float32, four sequences at once."""


@lru_cache(maxsize=1 << 12)
def chunk_size(operator: str, length: int, width: int, device: str = "cpu") -> int:
    """Tokens of a chunk: a power of two, at most the next one from `length`.

    operator: a name in `CPU`. width: channels of what is carried from chunk to chunk, all heads together. device: its
    type; "meta" is what the CPU would do.
    """
    # By comparisons alone, which torch.compile can follow where the length is a symbol.
    longest = 1
    while longest < length:
        longest *= 2
    if device not in ("cpu", "meta"):
        return min(UNMODELLED, longest)
    mix, mix_width, step, step_width, place, place_width = CPU[operator]

    def cost(size: int) -> float:
        return (
            length * size * (mix + mix_width * width)
            + length / size * (step + step_width * width)
            + size * (place + place_width * width)
        )

    best = size = min(SMALLEST, longest)
    while size < min(LARGEST, longest):
        size *= 2
        if cost(size) < cost(best):
            best = size
    return best
