"""What a model-based search believes of genomes: a predictor of what has ended, and of how running trials may end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

import predictors
from predictors import Fantasies, Prediction, log_expected_improvement
from spaces import Genome, Space

CONFIDENCE = 2.0
"""Standard deviations below the mean, for the lower confidence bound."""

FANTASIES = 16
"""Of how the trials that run may end."""

Acquisition = Literal["improvement", "bound", "thompson"]


class Surrogate:
    """A predictor that tells what genomes promise.

    Trials that run have no loss yet: what they promise is the mean over draws of how they may end, all from the
    surrogate itself (see `Fantasies`), so that workers do not crowd in one place. A predictor that does not know
    how its predictions go together leaves them out.

    Args:
        name: of a predictor, as in `predictors.PREDICTORS`.
        acquisition: "improvement", the greatest expected one; "bound", the least mean less two standard deviations;
            "thompson", the least of a draw of each candidate by itself (White et al. 2021, BANANAS). The first two
            are weighed by the chance not to fail.
    """

    def __init__(self, name: str, space: Space, seed: int, acquisition: Acquisition = "improvement") -> None:
        self.acquisition = acquisition
        self._predictor = predictors.load(name, space=space, seed=seed)
        self._model: predictors.Predictor | Fantasies = self._predictor
        self._known: np.ndarray | None = None

    def learn(
        self, genomes: Sequence[Genome], y: np.ndarray, running: Sequence[Genome], rng: np.random.Generator
    ) -> None:
        """Takes in what has ended, with losses y, [n] (NaN: failed), and what runs."""
        if self._known is None or not np.array_equal(self._known, y, equal_nan=True):
            self._predictor.fit(genomes, y)
            self._known = y
        self._model = self._predictor
        if running and isinstance(self._predictor, predictors.Joint):
            normal = rng.standard_normal((FANTASIES, len(running)))
            self._model = Fantasies(self._predictor, running, normal)

    def mean(self, genomes: Sequence[Genome]) -> np.ndarray:
        """The losses predicted from what has ended, [n]."""
        return self._predictor.predict(genomes).mean

    def promise(self, genomes: Sequence[Genome], rng: np.random.Generator) -> np.ndarray:
        """How much each genome promises, more is better, [n]."""
        found: Prediction = self._model.predict(genomes)
        means = np.atleast_2d(found.mean)
        failure = np.asarray(found.failure)
        if self.acquisition == "thompson":
            return -(means[0] + found.std * rng.standard_normal(len(genomes)))
        if self.acquisition == "bound":
            bound: np.ndarray = CONFIDENCE * found.std - means.mean(axis=0) - 10 * failure
            return bound
        with np.errstate(divide="ignore"):
            gains = np.atleast_2d(log_expected_improvement(found, self._model.best))
            return np.logaddexp.reduce(gains, axis=0) - np.log(len(gains)) + np.log1p(-failure)
