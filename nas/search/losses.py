"""How good trials are: what predictors and surrogates learn of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.types import Objective, Trial, standing


def label(trial: Trial, objectives: Sequence[Objective]) -> float:
    """What a predictor learns of a trial: its objective; NaN for what failed or breaks a constraint."""
    violation, loss = outcome(trial, objectives)
    return loss if violation == 0 and np.isfinite(loss) else np.nan


def labels(trials: Sequence[Trial], objectives: Sequence[Objective]) -> np.ndarray:
    """What a predictor learns of trials, [n], see `label`; while none meets the constraints, how far each breaks them.

    So a search comes to where they are met before it looks for what is good there.
    """
    return labels_of(np.array([outcome(trial, objectives) for trial in trials]).reshape(-1, 2))


def labels_of(outcomes_N2: np.ndarray) -> np.ndarray:
    """The same from the outcome of each trial."""
    violations, losses = outcomes_N2.T
    y = np.where((violations == 0) & np.isfinite(losses), losses, np.nan)
    if np.isfinite(y).any():
        return y
    return np.where(np.isfinite(violations) & (violations > 0), violations, np.nan)


def outcome(trial: Trial, objectives: Sequence[Objective]) -> tuple[float, float]:
    """By how far a trial breaks constraints, and its first objective, lower is better; NaN where it is not done."""
    return standing(objectives, trial) if trial.status == "done" else (np.nan, np.nan)
