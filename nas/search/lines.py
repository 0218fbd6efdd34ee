"""What a metric becomes with more training: lines from the values after one amount to those after the next."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

FEWEST = 3
"""Networks that were trained on, from which on a line is drawn through what that changed."""


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """A value after more training, from that after less."""

    slope: float
    intercept: float

    def __call__(self, value: float) -> float:
        return self.intercept + self.slope * value

    @classmethod
    def through(cls, pairs: Sequence[tuple[float, float]]) -> Line:
        """By least squares, of a slope from 0 to 1, as differences shrink with training; of few pairs of slope 1."""
        known = np.array([pair for pair in pairs if np.isfinite(pair).all()]).reshape(-1, 2)
        if not len(known):
            return cls(1.0, 0.0)
        unit = _power_of_two(known)  # in such units squares do not overflow, and nothing is rounded otherwise
        (low, high), slope = (known / unit).mean(axis=0), 1.0
        spread = known[:, 0] / unit - low
        if len(known) >= FEWEST and spread.any():
            width = _power_of_two(spread)
            spread = spread / width
            steep = spread @ (known[:, 1] / unit - high) / (spread @ spread)
            slope = float(np.clip(steep, 0.0, width)) / width
        return cls(slope, float(high - slope * low) * unit)


def _power_of_two(values: np.ndarray) -> float:
    """The greatest that is at most as large as the largest of the values, or 0.5 where all are 0."""
    return 2.0 ** (math.frexp(float(np.abs(values).max()))[1] - 1)
