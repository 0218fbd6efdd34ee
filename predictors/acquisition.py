"""What is to be gained from measuring a genome."""

from __future__ import annotations

import math

import numpy as np

from predictors.types import Prediction


def expected_improvement(prediction: Prediction, best: float) -> np.ndarray:
    """By how much each item is expected to fall below `best`, [n], at least 0; on the scale of the predictions.

    With u = (best - mean) / std: std (u Φ(u) + φ(u)) (Jones et al. 1998, eq. 15). Where u is small, the two terms
    almost cancel and are taken together by the scaled complementary error function (Ament et al. 2023, Unexpected
    Improvements to Expected Improvement, section 4.1). Where std is 0, it is max(best - mean, 0).
    """
    from scipy.special import erfcx, ndtr

    gain = best - prediction.mean
    sure = prediction.std <= 0
    std = np.where(sure, 1.0, prediction.std)
    u = gain / std
    density = np.exp(-0.5 * u**2) / math.sqrt(2 * math.pi)
    tail = np.minimum(u, -1.0)
    near = u * ndtr(u) + density
    far = density * (1 + tail * math.sqrt(math.pi / 2) * erfcx(-tail / math.sqrt(2)))
    improvement: np.ndarray = std * np.maximum(np.where(u > -1, near, far), 0.0)
    return np.where(sure, np.maximum(gain, 0.0), improvement)
