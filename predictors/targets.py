"""Losses as surrogates learn them: what order to put on a scale, and which of many to learn from."""

from __future__ import annotations

import numpy as np

MOST = 512
"""Labels that a surrogate learns from."""

EXTREME = 1e300
"""Losses beyond it count as it, such as the largest number of all, by which some tell failures."""

EVERY = 64
"""Up to so many labels, what is slow is fitted at each; from there on, at each 12th part more."""


def normal_ranks(y: np.ndarray) -> np.ndarray:
    """The normal quantiles of ranks, [n]: of (rank - 1/2) / n, where equal values share their mean rank."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    quantiles: np.ndarray = ndtri((rankdata(y) - 0.5) / len(y))
    return quantiles


def spread(y: np.ndarray) -> np.ndarray:
    """Losses on a scale of mean 0 and standard deviation 1, [n], on which they are about normal; NaN: as the worst.

    Yeo and Johnson's power transformation (2000, A New Family of Power Transformations to Improve Normality or
    Symmetry) of how far they are behind the best, in median deviations, so that neither units nor a loss of a thousand
    times the others' count, while near the best distances stay what they are. Ranks, where that cannot be told.
    """
    from scipy.stats import yeojohnson

    measured = np.isfinite(y)
    values = np.clip(y[measured], -EXTREME, EXTREME)
    if len(values) < 3 or np.ptp(values) == 0:
        return normal_ranks(np.where(measured, y, np.inf))
    behind = values - values.min()
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        units = (np.median(np.abs(values - np.median(values))), values.std(), behind.max())
        unit = next(float(unit) for unit in units if 0 < unit < np.inf)
        bent = yeojohnson(np.minimum(behind / unit, EXTREME))[0]
    bent = (bent - bent.mean()) / (bent.std() or 1.0)
    z = np.full(len(y), bent.max())
    z[measured] = bent
    return z


def fitted_at(labels: int) -> int:
    """How many labels the slow part of a fit is made of, once there are so many: the same whenever it is asked."""
    if labels <= EVERY:
        return labels
    number = EVERY
    while (following := number + max(2, number // 12)) <= labels:
        number = following
    return number


def telling(y: np.ndarray, most: int = MOST) -> np.ndarray:
    """The places of the labels to learn from, ascending: all, or half of the `most` the best, and half the newest."""
    if len(y) <= most:
        return np.arange(len(y))
    newest = np.arange(len(y) - most // 2, len(y))
    older = np.argsort(np.where(np.isfinite(y), y, np.inf)[: newest[0]], kind="stable")[: most - len(newest)]
    return np.sort(np.concatenate([older, newest]))
