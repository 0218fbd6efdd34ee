"""How well a predictor ranks: Kendall's tau, and its estimate from the labels at hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from predictors.types import InvalidPredictor, Predictor
from spaces import Genome

CLEARLY = 1.645
"""Standard deviations that chance exceeds once in twenty."""

FOLDED = 1.3
"""How much wider tau scatters on noise when it is out of fold, as the folds learn from each other's labels: measured
with `Trees` at 20 and 30 labels in 5 folds, where `low` is then above 0 in 4 to 5 of 100 draws of noise."""


@dataclass(frozen=True, slots=True)
class TauEstimate:
    """Kendall's tau-b of predictions with targets, and how far it is from chance.

    Attributes:
        tau: from -1 to 1; 0 where nothing can be ranked, because there are too few items or all are equal.
        low: tau less what chance reaches once in twenty, by the normal approximation; at least -1, and so where
            nothing can be ranked. Above 0, the predictor ranks better than chance at the level of 5 %.
    """

    tau: float
    low: float


def kendall(a: np.ndarray, b: np.ndarray) -> TauEstimate:
    """Kendall's tau-b of two rankings, [n] each; values that are not finite are the largest, and equal.

    The variance is that of independent rankings: 2 (2n + 5) / (9n (n - 1)), corrected for ties (Kendall 1970, Rank
    Correlation Methods).
    """
    from scipy.stats import kendalltau

    a, b = (np.where(np.isfinite(values), values, np.inf) for values in (a, b))
    n = float(len(a))
    s, t = (np.unique(values, return_counts=True)[1].astype(np.float64) for values in (a, b))
    if n < 3 or len(s) < 2 or len(t) < 2:
        return TauEstimate(0.0, -1.0)
    pairs, pairs_s, pairs_t = n * (n - 1), (s * (s - 1)).sum(), (t * (t - 1)).sum()
    triples_s, triples_t = (float((x * (x - 1) * (x - 2)).sum()) for x in (s, t))
    untied = pairs * (2 * n + 5) - sum(float((x * (x - 1) * (2 * x + 5)).sum()) for x in (s, t))
    variance = untied / 18 + pairs_s * pairs_t / (2 * pairs) + triples_s * triples_t / (9 * pairs * (n - 2))
    deviation = 2 * math.sqrt(variance / ((pairs - pairs_s) * (pairs - pairs_t)))
    tau = float(kendalltau(a, b).statistic)
    return TauEstimate(tau, max(-1.0, tau - CLEARLY * deviation))


def out_of_fold_tau(
    make: Callable[[], Predictor], items: Sequence[Genome], y: np.ndarray, folds: int = 5, seed: int = 0
) -> TauEstimate:
    """How well predictors rank genomes that they were not fitted to, from cross-validation.

    Genomes with one digest stay in one fold. The predictions of all folds are ranked together, which is fair where
    every fold predicts on the same scale, as ranks do. `low` allows for what the folds share, see `FOLDED`.

    Args:
        make: gives a predictor that was not fitted; called once a fold.
        y: losses, [n]; NaN: diverged, and so worse than all others.
        folds: lowered to the number of different genomes.
        seed: what the folds are drawn from.

    Raises:
        InvalidPredictor: y is not [n], or folds is below 2.
    """
    y = np.asarray(y, dtype=np.float64)
    if y.shape != (len(items),):
        raise InvalidPredictor(f"{len(items)} items have targets of shape {y.shape}")
    if folds < 2:
        raise InvalidPredictor(f"folds = {folds}, but it must be at least 2")
    networks, network = np.unique([item.digest for item in items], return_inverse=True)
    if len(networks) < 2:
        return TauEstimate(0.0, -1.0)
    folds = min(folds, len(networks))
    fold = np.random.default_rng(seed).permutation(len(networks))[network] % folds
    predicted = np.empty(len(items))
    for held in range(folds):
        inside, outside = np.flatnonzero(fold != held).tolist(), np.flatnonzero(fold == held).tolist()
        predictor = make().fit([items[i] for i in inside], y[inside])
        predicted[outside] = predictor.predict([items[i] for i in outside]).mean
    estimate = kendall(predicted, y)
    return TauEstimate(estimate.tau, max(-1.0, estimate.tau - FOLDED * (estimate.tau - estimate.low)))
