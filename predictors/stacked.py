"""A Gaussian process and extra trees, each with as much weight as it has earned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from predictors.gaussian import GaussianProcess
from predictors.labels import COLUMNS
from predictors.targets import fitted_at, spread, telling
from predictors.trees import each, grow, unchecked
from predictors.types import Context, Prediction, checked_losses, refuse_context
from spaces import Genome, Space

WEIGHTS = np.linspace(0, 1, 21)


class Stacked:
    """The mixture of a Gaussian process and of extra trees on the same features.

    The process is better where losses are smooth in the choices, trees where few features decide; which it is shows in
    the errors on labels that were left out: of the process in closed form, of the trees out of bag. The weight of the
    process is the mean of its weights by how likely they make those errors (after Wolpert 1992, Stacked
    Generalization). Trees and weight are fitted anew at set numbers of labels, see `fitted_at`.

    Args:
        space: what the genomes are from, see `Features`.
        seed: what the trees' random cuts follow from.

    Raises:
        InvalidPredictor: the space does not say what stands in its graphs.
    """

    best: float

    def __init__(self, space: Space, seed: int = 0) -> None:
        self.process = GaussianProcess(space)
        self.seed = seed
        self._first: tuple[list[Genome], np.ndarray] | None = None

    def fit(
        self, items: Sequence[Genome], y: np.ndarray | Sequence[float], context: Context | None = None
    ) -> Self:
        refuse_context(context, "stacked")
        y = checked_losses(items, y)
        self.process.fit(items, y)
        first = fitted_at(len(items))
        known = self._first
        if known is None or known[0] != list(items[:first]) or not np.array_equal(known[1], y[:first], True):
            if first < len(items):
                self.process.fit(items[:first], y[:first])
            self._grow(items[:first], y[:first])
            self._first = (list(items[:first]), y[:first].copy())
            if first < len(items):
                self.process.fit(items, y)
        self.best = self.process.best
        return self

    def _grow(self, items: Sequence[Genome], y: np.ndarray) -> None:
        """Fits the trees, and weighs them against the process, which was fitted to the same labels."""
        rows = telling(y)
        z = spread(y[rows])
        x_ND = self._inputs([items[i] for i in rows.tolist()])
        with unchecked():
            self._trees, out_of_bag = grow(x_ND, z, self.seed)
        mixed = np.outer(WEIGHTS, self.process.left_out) + np.outer(1 - WEIGHTS, out_of_bag)
        errors = np.maximum(((mixed - z) ** 2).sum(axis=1), 1e-12)
        likely = np.exp(-len(z) / 2 * np.log(errors / errors.min()))
        self.weight = float(likely @ WEIGHTS / likely.sum())

    def _inputs(self, items: Sequence[Genome]) -> np.ndarray:
        """What the trees read, [n, d]: all features but the counts of labels."""
        return self.process.features(items)[:, :-COLUMNS].astype(np.float32)

    def predict(self, items: Sequence[Genome], context: Context | None = None) -> Prediction:
        process = self.process.predict(items, context)
        if not len(items):
            return process
        trees = self._each(items)
        mean, w = trees.mean(axis=0), self.weight
        variance = w * process.std**2 + (1 - w) * trees.var(axis=0)
        apart = w * (1 - w) * (process.mean - mean) ** 2
        return Prediction(w * process.mean + (1 - w) * mean, np.sqrt(variance + apart), process.failure)

    def covariance(self, items: Sequence[Genome], others: Sequence[Genome]) -> np.ndarray:
        """Of what is predicted for items with what is predicted for others, [n, m]."""
        w = self.weight
        one, other = self._each(items), self._each(others)
        a, b = (trees - trees.mean(axis=0) for trees in (one, other))
        apart = [
            self.process.predict(some).mean - trees.mean(axis=0)
            for some, trees in ((items, one), (others, other))
        ]
        covariance: np.ndarray = (
            w * self.process.covariance(items, others)
            + (1 - w) * a.T @ b / len(a)
            + w * (1 - w) * np.outer(*apart)
        )
        return covariance

    def _each(self, items: Sequence[Genome]) -> np.ndarray:
        """What each tree predicts, [trees, n]."""
        with unchecked():
            return each(self._trees, self._inputs(items))
