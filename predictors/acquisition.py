"""What is to be gained from measuring a genome."""

from __future__ import annotations

import math

import numpy as np

from predictors.types import Prediction


def expected_improvement(prediction: Prediction, best: float) -> np.ndarray:
    """By how much each item is expected to fall below `best`, [n], at least 0; on the scale of the predictions.

    With u = (best - mean) / std: std (u Φ(u) + φ(u)) (Jones et al. 1998, eq. 15). Where std is 0, it is
    max(best - mean, 0).
    """
    improvement: np.ndarray = np.exp(log_expected_improvement(prediction, best))
    return improvement


def log_expected_improvement(prediction: Prediction, best: float) -> np.ndarray:
    """The logarithm of the same, [n], which tells items apart that can hardly improve; -inf where none is expected.

    Where u is small, the two terms almost cancel and are taken together by the scaled complementary error function, or
    by its limit 1 / u² (Ament et al. 2023, Unexpected Improvements to Expected Improvement, section 4.1).
    """
    from scipy.special import erfcx, ndtr

    gain = best - prediction.mean
    sure = prediction.std <= 0
    std = np.where(sure, 1.0, prediction.std)
    u = gain / std
    with np.errstate(divide="ignore", over="ignore"):
        head = np.maximum(u, -1.0)
        near = np.log(head * ndtr(head) + np.exp(-0.5 * head**2) / math.sqrt(2 * math.pi))
        tail = np.clip(u, -1e4, -1.0)
        share = np.log1p(tail * math.sqrt(math.pi / 2) * erfcx(-tail / math.sqrt(2)))
        share = np.where(u < -1e4, -2 * np.log(np.maximum(np.abs(u), 1.0)), share)
        far = -0.5 * u**2 - math.log(2 * math.pi) / 2 + share
        uncertain = np.log(std) + np.where(u > -1, near, far)
        known: np.ndarray = np.log(np.maximum(gain, 0.0))
    return np.where(sure, known, uncertain)
