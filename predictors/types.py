"""What every predictor takes and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

import numpy as np

from spaces import Genome
from spaces.errors import InvalidInput

Context = Mapping[str, np.ndarray]
"""What else is known of each item, such as the fidelity it was measured at: numbers by name, [n] each."""


class InvalidPredictor(InvalidInput):
    """A predictor that does not exist or is used as it cannot be: what, and what is allowed."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """Losses as predicted, on a scale of the predictor's own; lower is better.

    Attributes:
        mean, std: of each item, [n] float64.
        failure: the probability that training diverges, [n]; 0 where a predictor does not say.
    """

    mean: np.ndarray
    std: np.ndarray
    failure: np.ndarray | float = 0.0


class Predictor(Protocol):
    """Learns the losses of genomes, and predicts those of others.

    Attributes:
        best: the least loss that it was fitted to, on the scale of its predictions.
    """

    best: float

    def fit(
        self, items: Sequence[Genome], y: np.ndarray | Sequence[float], context: Context | None = None
    ) -> Self:
        """Learns losses y, [n], lower is better; NaN: training diverged. Forgets what it was fitted to before.

        Raises:
            InvalidPredictor: there are no items, or y or context is not [n].
        """

    def predict(self, items: Sequence[Genome], context: Context | None = None) -> Prediction:
        """The losses of items, each as if it were asked for alone.

        Raises:
            InvalidPredictor: nothing was fitted, or context has other columns than then.
        """


def checked_losses(items: Sequence[Genome], y: np.ndarray | Sequence[float]) -> np.ndarray:
    """The losses that items are fitted to, [n] float64.

    Raises:
        InvalidPredictor: there are no items, or not as many losses.
    """
    y = np.asarray(y, dtype=np.float64)
    if not len(items) or y.shape != (len(items),):
        raise InvalidPredictor(f"cannot fit {len(items)} items to targets of shape {y.shape}")
    return y


def refuse_context(context: Context | None, predictor: str) -> None:
    """Raises InvalidPredictor if there is context, which the predictor of that name does not learn from."""
    if context:
        raise InvalidPredictor(f"context has the columns {sorted(context)}, but {predictor!r} takes none")


@runtime_checkable
class Joint(Predictor, Protocol):
    """A predictor that knows how its predictions go together, so that it can be told losses as they may come."""

    def covariance(self, items: Sequence[Genome], others: Sequence[Genome]) -> np.ndarray:
        """Of the losses predicted for items with those for others, [n, m]; std² of one with itself."""
