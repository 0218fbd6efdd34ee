"""Screening: many candidates are made, a predictor ranks them, and one becomes a trial.

A surrogate where candidates are made, as in BANANAS (White et al. 2021): what is proposed is the candidate of the
greatest expected improvement, of several objectives of the hypervolume, that is not likely to diverge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from nas.search.hypervolume import FrontSurrogate
from nas.search.losses import labels
from nas.search.promising import Promise
from nas.types import Objective, Trial
from predictors import Predictor, expected_improvement
from predictors.evaluate import TauEstimate, out_of_fold_tau
from spaces import Genome, Space

KNOWN = TauEstimate(1.0, 1.0)
"""Of objectives that are all costs, which are known without a predictor."""


@dataclass(frozen=True)
class Fitted:
    """What was learned from so many trials, and how well it ranks those that it has not seen: of several objectives,
    the one that is ranked worst."""

    promise: Promise
    labels: int
    tau: TauEstimate

    @property
    def trusted(self) -> bool:
        """Whether it ranks clearly better than chance; else it is set aside until the next fit."""
        return self.tau.low > 0

    def choose(self, genomes: Sequence[Genome]) -> int:
        """The place of the genome that promises most."""
        return int(np.argmax(self.promise(genomes)))

    def notes(self, candidates: int) -> Mapping[str, float]:
        """What the log keeps of a proposal: how many candidates it was chosen from, and how good the choice is."""
        return {
            "candidates": candidates,
            "labels": self.labels,
            "tau": self.tau.tau,
            "tau_low": self.tau.low,
        }


class Screening:
    """Chooses among candidates by a predictor that learns from the trials of the campaign.

    It is a function of those trials alone: the first fit is made of the first `least` to end, the next of so many
    more (a fifth, four at least), whenever it is asked in between.

    Args:
        make: gives a predictor that was not fitted.
        candidates: how many are made for one proposal.
        least: trials before the first fit.
        explore: the share of proposals that are not screened, so that the predictor does not only see what it likes.
    """

    def __init__(
        self,
        make: Callable[[], Predictor],
        candidates: Annotated[int, Ge(2)] = 16,
        least: Annotated[int, Ge(5)] = 20,
        explore: Annotated[float, Ge(0), Le(1)] = 0.2,
    ) -> None:
        self.make, self.candidates, self.least, self.explore = make, candidates, least, explore
        self._last: Fitted | None = None

    def anew(self) -> Screening:
        """The same that has learned nothing, for a strategy that is told other trials."""
        return Screening(self.make, self.candidates, self.least, self.explore)

    def fitted(self, trials: Sequence[Trial], objectives: Sequence[Objective], space: Space) -> Fitted | None:
        """The predictor for the trials that have ended so far, in the order of their ends; None: too few."""
        known = self._labels(len(trials))
        if known == 0:
            return None
        if self._last is None or self._last.labels != known:
            self._last = self._fit(trials[:known], objectives, space)
        return self._last

    def _labels(self, ended: int) -> int:
        """How many trials the fit is made of that is in force once so many have ended."""
        if ended < self.least:
            return 0
        labels = self.least
        while (following := labels + max(4, labels // 5)) <= ended:
            labels = following
        return labels

    def _fit(self, trials: Sequence[Trial], objectives: Sequence[Objective], space: Space) -> Fitted:
        genomes = [trial.proposal.genome for trial in trials]
        if sum(objective.bound is None for objective in objectives) > 1:
            front = FrontSurrogate(self.make, space, objectives)
            if front.learn(trials, [], np.random.default_rng(0)):
                taus = [out_of_fold_tau(self.make, genomes, y) for y in front.labels.values()]
                return Fitted(front.promise, len(trials), min(taus, key=lambda tau: tau.low, default=KNOWN))
        y = labels(trials, objectives)
        predictor = self.make().fit(genomes, y)
        tau = out_of_fold_tau(self.make, genomes, y)
        return Fitted(partial(improvement, predictor), len(trials), tau)


def improvement(predictor: Predictor, genomes: Sequence[Genome]) -> np.ndarray:
    """The expected improvement, weighed by the chance not to fail, [n]."""
    prediction = predictor.predict(genomes)
    promised: np.ndarray = expected_improvement(prediction, predictor.best) * (1 - prediction.failure)
    return promised
