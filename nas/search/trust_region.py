"""A trust region of the unit cube: where a search looks while it gets better, and how it gives up.

After TuRBO (Eriksson et al. 2019, Scalable Global Optimization via Local Bayesian Optimization, arXiv 1910.01739,
section 2 and its supplement), with one region and trials that end one at a time.
"""

from __future__ import annotations

import math

import numpy as np

FIRST, LONGEST, SHORTEST = 0.8, 1.6, 2.0**-7
"""Its side at the beginning, at most, and at least: shorter, it is given up. The paper's."""

SUCCESSES, FAILURES = 3, 4
"""So many in a row double the side; so many, or as many as the best genome has coordinates that decide, halve it."""


class TrustRegion:
    """How long the sides of a box around the best trial are, a function of the trials that ended, in their order.

    Where it begins, trials are spread over the cube; those do not count as successes or failures. It is given up for
    another one when its side is too short, or shorter than the box of the best genome is anywhere, so that it holds
    nothing else.

    Args:
        initial: trials before the best is trusted.
        since: the number of the first proposal that belongs to it.

    Attributes:
        length: of its sides, before the length scales of a model weigh them.
    """

    def __init__(self, initial: int, since: int = 0) -> None:
        self.initial, self.since = initial, since
        self.length = FIRST
        self._ended = self._successes = self._failures = 0
        self._best = (math.inf, math.inf)
        self._sides_D = np.ones(1)

    def improves(self, standing: tuple[float, float]) -> bool:
        """Whether a trial is better than all that belong to the region."""
        return standing < self._best

    def tell(self, standing: tuple[float, float], sides_D: np.ndarray, proposals: int) -> TrustRegion:
        """The region after a trial that belongs to it: itself, or one that begins.

        Args:
            standing: how good the trial is, lower is better.
            sides_D: of the box of its genome, [dimensions].
            proposals: made by now.
        """
        better = self.improves(standing)
        if better:
            self._best, self._sides_D = standing, sides_D
        self._ended += 1
        if self._ended <= self.initial:
            return self
        self._successes, self._failures = (self._successes + 1, 0) if better else (0, self._failures + 1)
        if self._successes == SUCCESSES:
            self.length, self._successes = min(2 * self.length, LONGEST), 0
        elif self._failures >= max(FAILURES, int((self._sides_D < 1).sum())):
            self.length, self._failures = self.length / 2, 0
        if self.length < max(SHORTEST, float(self._sides_D.min())):
            return TrustRegion(self.initial, proposals)
        return self

    def box(self, centre_D: np.ndarray, scales_D: np.ndarray) -> np.ndarray:
        """Its lower and upper corner within the cube, [2, dimensions].

        Args:
            scales_D: length scales of a model, [dimensions]; the sides are in proportion, and of the same volume.
        """
        half_D = self.length / 2 * scales_D / np.exp(np.log(scales_D).mean())
        return np.clip(np.stack([centre_D - half_D, centre_D + half_D]), 0.0, 1.0)
