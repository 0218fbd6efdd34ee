"""Extra trees and gradient boosting on the features of genomes, for a few to some hundred labels.

Trees on such features outdo most predictors at few labels, and cost next to nothing (Kadlecová et al. 2024). The two
families err differently: extra trees (Geurts et al. 2006) average cuts made at random, boosting (Friedman
2001) fits what the trees before left over. Targets are ranks, spread as a normal distribution would be, so
that a few very bad genomes do not stretch the scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Self

import numpy as np

from predictors.features import Features
from predictors.targets import normal_ranks
from predictors.types import Context, InvalidPredictor, Prediction, checked_losses
from spaces import Genome, Space

FOREST = 64
"""Extra trees; their spread is a good part of the uncertainty."""
BOOSTED = 4
"""Boosted models, each of its own bootstrap of the labels."""
ROUNDS = 64
"""Trees of a boosted model."""


class Trees:
    """A predictor that ranks genomes by extra trees and gradient boosting, half and half.

    Predictions are normal quantiles of ranks: 0 is the median of the labels, -1 about their best sixth. Their `std`
    is that of the mixture of all trees of the forest and all boosted models; it leaves out the noise of a label, so
    that new labels scatter up to half as much again. Targets that are not finite share one rank, behind all
    others, and a forest of its own learns how probable they are. One thread; the same seed and labels give the
    same bits.

    Args:
        space: what the genomes are from, see `Features`.
        seed: what the trees' random cuts follow from.

    Raises:
        InvalidPredictor: the space does not say what stands in its graphs.
    """

    best: float

    def __init__(self, space: Space, seed: int = 0) -> None:
        self.features = Features(space)
        self.seed = seed
        self._columns: tuple[str, ...] | None = None

    def fit(
        self, items: Sequence[Genome], y: np.ndarray | Sequence[float], context: Context | None = None
    ) -> Self:
        y = checked_losses(items, y)
        self._columns = tuple(sorted(context or {}))
        x_ND = self._inputs(items, context)
        failed = ~np.isfinite(y)
        z = normal_ranks(np.where(failed, np.inf, y))
        self.best = float(z.min())
        with unchecked():
            self._forest = grow(x_ND, z, self.seed)[0]
            self._failing = grow(x_ND, failed.astype(np.float64), self.seed)[0] if failed.any() else []
            self._boosted = [self._boost(x_ND, z, self.seed + number) for number in range(BOOSTED)]
        return self

    def predict(self, items: Sequence[Genome], context: Context | None = None) -> Prediction:
        if self._columns is None:
            raise InvalidPredictor("nothing was fitted yet: call fit before predict")
        x_ND = self._inputs(items, context)
        if not len(x_ND):
            return Prediction(np.empty(0), np.empty(0), np.empty(0))
        families = self._families(x_ND)
        with unchecked():
            failing = each(self._failing, x_ND)
        means = np.array([family.mean(axis=0) for family in families])
        variances = np.array([family.var(axis=0) for family in families])
        return Prediction(
            mean=means.mean(axis=0),
            std=np.sqrt(variances.mean(axis=0) + means.var(axis=0)),
            failure=failing.mean(axis=0) if len(failing) else np.zeros(len(x_ND)),
        )

    def covariance(self, items: Sequence[Genome], others: Sequence[Genome]) -> np.ndarray:
        """Over the mixture of all trees and boosted models, without context, [n, m]."""
        one, other = (self._families(self._inputs(some, None)) for some in (items, others))
        within = [
            (a - a.mean(axis=0)).T @ (b - b.mean(axis=0)) / len(a) for a, b in zip(one, other, strict=True)
        ]
        a, b = (np.array([family.mean(axis=0) for family in families]) for families in (one, other))
        covariance: np.ndarray = np.mean(within, axis=0) + (a - a.mean(axis=0)).T @ (
            b - b.mean(axis=0)
        ) / len(a)
        return covariance

    def _families(self, x_ND: np.ndarray) -> list[np.ndarray]:
        """What each tree of the forest, and what each boosted model predicts, [models, n] each."""
        with unchecked():
            return [each(self._forest, x_ND), np.array([model.predict(x_ND) for model in self._boosted])]

    def _inputs(self, items: Sequence[Genome], context: Context | None) -> np.ndarray:
        """Features and context of items, [n, d] float32, as trees take them."""
        assert self._columns is not None
        given = dict(context or {})
        if tuple(sorted(given)) != self._columns:
            raise InvalidPredictor(
                f"context has the columns {sorted(given)}, but was fitted with {list(self._columns)}"
            )
        columns = [np.asarray(given[name], dtype=np.float64) for name in self._columns]
        for name, column in zip(self._columns, columns, strict=True):
            if column.shape != (len(items),):
                raise InvalidPredictor(
                    f"context {name!r} has shape {column.shape}, but items are {len(items)}"
                )
        return np.column_stack([self.features(items), *columns]).astype(np.float32)

    def _boost(self, x_ND: np.ndarray, z: np.ndarray, seed: int) -> Any:
        """Gradient boosting on a bootstrap of the rows."""
        from sklearn.ensemble import GradientBoostingRegressor

        drawn = np.random.default_rng(seed).integers(len(z), size=len(z))
        model = GradientBoostingRegressor(
            n_estimators=ROUNDS, max_depth=3, max_features=0.25, random_state=seed
        )
        return model.fit(x_ND[drawn], z[drawn])


def grow(x_ND: np.ndarray, z: np.ndarray, seed: int) -> tuple[list[Any], np.ndarray]:
    """Extra trees, each on a bootstrap of the rows, without which labels would be taken as free of noise.

    Returns:
        The trees, and what the trees that did not see a row predict for it, [n]; the mean where all saw it.
    """
    from sklearn.tree import ExtraTreeRegressor

    rng = np.random.default_rng(seed)
    n = len(z)
    trees, total, unseen = [], np.zeros(n), np.zeros(n)
    for number in range(FOREST):
        drawn = np.bincount(rng.integers(n, size=n), minlength=n).astype(np.float64)
        tree = ExtraTreeRegressor(max_features=1.0, random_state=seed + number)
        trees.append(tree.fit(x_ND, z, sample_weight=drawn, check_input=False))
        left = drawn == 0
        if left.any():
            total[left] += tree.predict(x_ND[left], check_input=False)
            unseen[left] += 1
    return trees, np.where(unseen > 0, total / np.maximum(unseen, 1), z.mean())


def unchecked() -> AbstractContextManager[None]:
    """Without scikit-learn's checks of what it is given, which take twice as long as such small fits themselves."""
    import sklearn

    return sklearn.config_context(assume_finite=True, skip_parameter_validation=True)


def each(trees: Sequence[Any], x_ND: np.ndarray) -> np.ndarray:
    """What each tree predicts, [trees, n]."""
    return np.array([tree.predict(x_ND, check_input=False) for tree in trees])
