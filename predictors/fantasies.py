"""What a predictor would say if it knew how the trials end that still run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from predictors.types import Joint, Prediction
from spaces import Genome

JITTER = 1e-6
"""Added to variances, which keeps covariances positive definite."""


class Fantasies:
    """A predictor that is told losses of items that it has not seen, drawn from what it predicts for them.

    Predictions are taken to be jointly normal, so that telling a loss moves those of all items that covary with it,
    and takes from their variance (Snoek et al. 2012, Practical Bayesian Optimization of Machine Learning Algorithms,
    section 3.2).

    Args:
        model: what was fitted; `covariance` says how its predictions go together.
        pending: the items, m of them.
        normal: standard normal draws, one row for each fantasy, [s, m].

    Attributes:
        told: the losses of the items in each fantasy, [s, m].
        best: the least loss in each fantasy, [s, 1].
    """

    def __init__(self, model: Joint, pending: Sequence[Genome], normal: np.ndarray) -> None:
        self._model, self._pending = model, pending
        covariance = model.covariance(pending, pending)
        covariance[np.diag_indices(len(pending))] += JITTER
        self._root = np.linalg.cholesky(covariance)
        beyond = normal @ self._root.T
        self._weights = np.linalg.solve(covariance, beyond.T).T
        self.told: np.ndarray = model.predict(pending).mean + beyond
        self.best = np.minimum(model.best, self.told.min(axis=1, keepdims=True))

    def predict(self, items: Sequence[Genome]) -> Prediction:
        """The losses of items in each fantasy: mean [s, n], std [n], failure [n]."""
        from scipy.linalg import solve_triangular

        found = self._model.predict(items)
        across = self._model.covariance(items, self._pending)
        explained = solve_triangular(self._root, across.T, lower=True, check_finite=False)
        variance = np.maximum(found.std**2 - (explained**2).sum(axis=0), JITTER)
        return Prediction(found.mean + self._weights @ across.T, np.sqrt(variance), found.failure)
