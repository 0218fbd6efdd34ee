"""A deep ensemble: small neural networks on the features of genomes, which differ by where their training began."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from predictors.features import Features
from predictors.targets import spread, telling
from predictors.trees import unchecked
from predictors.types import Context, InvalidPredictor, Prediction, checked_losses, refuse_context
from spaces import Genome, Space

NETWORKS = 5
"""As many as the paper and BANANAS take."""

HIDDEN = (32, 32)
"""Features of the hidden layers."""

DECAY = 1.0
"""Of the weights' squares, over the number of labels: keeps networks from following the noise of a few labels."""

STEPS = 100
"""Of L-BFGS, at most."""


class DeepEnsemble:
    """A predictor that averages neural networks, whose spread is its uncertainty.

    Each begins at random weights and learns all labels (Lakshminarayanan et al. 2017, Simple and Scalable Predictive
    Uncertainty Estimation Using Deep Ensembles; as a surrogate of architectures: White et al. 2021, BANANAS). Losses
    are put on a scale by `spread`; the `std` of predictions is that of the networks, without noise. A second output
    says how probable it is that a loss is not finite. One thread; the same seed and labels give the same bits.

    Args:
        space: what the genomes are from, see `Features`.
        seed: what the weights at the beginning follow from.

    Raises:
        InvalidPredictor: the space does not say what stands in its graphs.
    """

    best: float

    def __init__(self, space: Space, seed: int = 0) -> None:
        self.features = Features(space)
        self.seed = seed
        self._networks: list[Any] = []

    def fit(
        self, items: Sequence[Genome], y: np.ndarray | Sequence[float], context: Context | None = None
    ) -> Self:
        from sklearn.neural_network import MLPRegressor

        refuse_context(context, "deep")
        y = checked_losses(items, y)
        rows = telling(y)
        z = spread(y[rows])
        self.best = float(z.min())
        x_ND = self.features([items[i] for i in rows.tolist()]).astype(np.float64)
        self._centre, scatter = x_ND.mean(axis=0), x_ND.std(axis=0)
        self._unit = np.where(scatter > 1e-9, scatter, 1.0)
        targets_N2 = np.column_stack([z, ~np.isfinite(y[rows])])
        self._networks = []
        with unchecked(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that more steps would fit closer
            for number in range(NETWORKS):
                network = MLPRegressor(
                    hidden_layer_sizes=HIDDEN,
                    activation="tanh",
                    solver="lbfgs",
                    alpha=DECAY,
                    max_iter=STEPS,
                    random_state=self.seed + number,
                )
                self._networks.append(network.fit(self._scaled(x_ND), targets_N2))
        return self

    def predict(self, items: Sequence[Genome], context: Context | None = None) -> Prediction:
        refuse_context(context, "deep")
        if not self._networks:
            raise InvalidPredictor("nothing was fitted yet: call fit before predict")
        if not len(items):
            return Prediction(np.empty(0), np.empty(0), np.empty(0))
        losses_EN, failing_EN = np.moveaxis(self._each(items), -1, 0)
        return Prediction(
            losses_EN.mean(axis=0), losses_EN.std(axis=0), np.clip(failing_EN.mean(axis=0), 0.0, 1.0)
        )

    def covariance(self, items: Sequence[Genome], others: Sequence[Genome]) -> np.ndarray:
        """Over the networks, [n, m]."""
        one, other = (self._each(some)[..., 0] for some in (items, others))
        covariance: np.ndarray = (one - one.mean(axis=0)).T @ (other - other.mean(axis=0)) / len(one)
        return covariance

    def _each(self, items: Sequence[Genome]) -> np.ndarray:
        """The loss and the failure that each network predicts, [networks, n, 2]."""
        x_ND = self._scaled(self.features(items).astype(np.float64))
        with unchecked():
            return np.array([network.predict(x_ND) for network in self._networks])

    def _scaled(self, x_ND: np.ndarray) -> np.ndarray:
        scaled: np.ndarray = (x_ND - self._centre) / self._unit
        return scaled
