"""Learning-curve stopping: trials whose training goes worse than that of most others are stopped on the way."""

from __future__ import annotations

import bisect
import itertools
import statistics
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from nas.search.multifidelity import Sampler, made
from nas.search.screening import Screening
from nas.types import Ended, Event, Fidelity, Measured, Measurement, Objective, Proposal
from spaces import Space

TRAINING = "train_loss"
"""What trainings report."""


class MedianStopping:
    """Any strategy, whose trials are stopped by the median rule.

    At a report a trial is stopped where the best that it has reported is worse than the median, over the trials that
    have ended, of the mean of what each had reported by then (Golovin et al. 2017, Google Vizier: A Service for
    Black-Box Optimization, section 3.2.1; stopped trials count as far as they came). What counts is the objective where
    it is reported, as on tables, else the training loss: trials meet the same batches, so that it compares. Of several
    objectives it is the first.

    Args:
        sampler: the strategy that says which network is trained next, as its name or {name = ..., its options}.
        grace: the share of the training before which none is stopped.
        least: trials that must have reported at that point before one is stopped.
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        seed: int,
        fidelity: Fidelity,
        sampler: Sampler = "random",
        grace: Annotated[float, Ge(0), Le(1)] = 0.2,
        least: Annotated[int, Ge(1)] = 5,
        screening: Screening | None = None,
    ) -> None:
        self.objectives, self.fidelity, self.grace, self.least = tuple(objectives), fidelity, grace, least
        self._aim = next(objective for objective in objectives if objective.bound is None)
        self._sampler = made(sampler, space, objectives, seed, fidelity, screening)
        self._reports: dict[int, dict[int, float]] = {}
        self._means: dict[int, list[float]] = {}
        """For each step the means of what trials that have ended, and reported at it, had reported by then; sorted."""

    def ask(self, n: int) -> list[Proposal]:
        """At most n proposals of the sampler."""
        return self._sampler.ask(n)

    def tell(self, event: Event) -> None:
        """Takes the next event of the log."""
        self._sampler.tell(event)
        if isinstance(event, Measured):
            loss = self._loss(event.measurement)
            self._reports.setdefault(event.trial_id, {})[event.measurement.step] = loss
        elif isinstance(event, Ended) and event.trial.status != "failed":
            losses = sorted(self._reports.pop(event.trial.id, {}).items())
            sums = itertools.accumulate(loss for _, loss in losses)
            for count, ((step, _), total) in enumerate(zip(losses, sums, strict=True), start=1):
                bisect.insort(self._means.setdefault(step, []), total / count)
        elif isinstance(event, Ended):
            self._reports.pop(event.trial.id, None)

    def proceed(self, trial_id: int, measurement: Measurement) -> bool:
        """Whether a running trial is no worse than most were at this point."""
        step = measurement.step
        if step < self.grace * self.fidelity.amount:
            return True
        means = self._means.get(step, [])
        if len(means) < self.least:
            return True
        best = min([self._loss(measurement), *self._reports.get(trial_id, {}).values()])
        return best <= statistics.median(means)

    def _loss(self, measurement: Measurement) -> float:
        """What a report says, lower is better."""
        if self._aim.metric in measurement.metrics:
            return self._aim.loss(measurement.metrics)
        return measurement.metrics.get(TRAINING, np.inf)
