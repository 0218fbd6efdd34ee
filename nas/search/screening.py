"""Screening: many candidates are made, a predictor ranks them, and one becomes a trial.

A surrogate inside the strategy, where candidates are made, as in BANANAS (White et al. 2021): what is proposed is the
candidate of the greatest expected improvement that is not likely to diverge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from nas.search.history import labels
from nas.types import Objective, Trial
from predictors import Predictor, expected_improvement
from predictors.evaluate import TauEstimate, out_of_fold_tau
from spaces import Genome


@dataclass(frozen=True)
class Fitted:
    """A predictor, the number of trials that it learnt from, and how well it ranks those that it has not seen."""

    predictor: Predictor
    labels: int
    tau: TauEstimate

    @property
    def trusted(self) -> bool:
        """Whether it ranks clearly better than chance; else it is set aside until the next fit."""
        return self.tau.low > 0


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

    def fitted(self, trials: Sequence[Trial], objectives: Sequence[Objective]) -> Fitted | None:
        """The predictor for the trials that have ended so far, in the order of their ends; None: too few."""
        known = self._labels(len(trials))
        if known == 0:
            return None
        if self._last is None or self._last.labels != known:
            genomes = [trial.proposal.genome for trial in trials[:known]]
            y = labels(trials[:known], objectives)
            tau = out_of_fold_tau(self.make, genomes, y)
            self._last = Fitted(self.make().fit(genomes, y), known, tau)
        return self._last

    def _labels(self, ended: int) -> int:
        """How many trials the fit is made of that is in force once so many have ended."""
        if ended < self.least:
            return 0
        labels = self.least
        while (following := labels + max(4, labels // 5)) <= ended:
            labels = following
        return labels

    def choose(self, genomes: Sequence[Genome], fitted: Fitted) -> int:
        """The place of the genome of the greatest expected improvement, weighed by its chance not to fail."""
        prediction = fitted.predictor.predict(genomes)
        return int(
            np.argmax(expected_improvement(prediction, fitted.predictor.best) * (1 - prediction.failure))
        )

    def notes(self, fitted: Fitted, candidates: int) -> Mapping[str, float]:
        """What the log keeps of a proposal: how many candidates it was chosen from, and how good the choice is."""
        return {
            "candidates": candidates,
            "labels": fitted.labels,
            "tau": fitted.tau.tau,
            "tau_low": fitted.tau.low,
        }
