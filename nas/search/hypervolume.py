"""What genomes promise a Pareto front: by how much they are expected to enlarge the volume that it dominates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from nas.search.losses import label
from nas.search.promising import BEST
from nas.search.surrogate import FANTASIES
from nas.search.survival import survivors
from nas.types import Objective, Proposal, Trial
from predictors import Fantasies, Joint, Prediction, Predictor, expected_improvement
from predictors.targets import MOST
from spaces import Genome, Space
from spaces.cost import COST_NAMES
from spaces.pareto import fronts, lowest, undominated

REFERENCE = 1.1
"""The reference point, where the best of each objective is 0 and the worst is 1. (Of all that was measured: if it were
the worst on the front, what lies beyond the ends of the front would promise nothing.)"""

DRAWN = 32
"""Points of the front whose true values are drawn, at most."""


class FrontSurrogate:
    """A predictor for each objective; what genomes cost is known without one.

    A genome promises its expected hypervolume improvement, in closed form for objectives that are independent (Yang et
    al. 2019, Efficient Computation of Expected Hypervolume Improvement Using Box Decomposition Algorithms). Where the
    front lies is uncertain, as measurements are noisy and what runs has none yet: the mean is taken over draws of both
    from the predictors (Daulton et al. 2021, Parallel Bayesian Optimization of Multiple Noisy Objectives with Expected
    Hypervolume Improvement; one proposal at a time). A predictor that does not know how its predictions go together
    is taken by its means.

    Args:
        make: gives a predictor that was not fitted.
        objectives: several without a bound; failures, and what breaks the constraints, count as failures of each.

    Attributes:
        labels: what the predictors were fitted to, [n] each; none for what is known.
        best: the genomes of the best fronts, best first, as parents of others.
    """

    def __init__(self, make: Callable[[], Predictor], space: Space, objectives: Sequence[Objective]) -> None:
        self.space, self.objectives = space, tuple(objectives)
        self.aims = [objective for objective in objectives if objective.bound is None]
        self._predictors = [make() for _ in self.aims]
        self.labels: dict[int, np.ndarray] = {}
        self.best: list[Genome] = []

    def learn(self, trials: Sequence[Trial], running: Sequence[Proposal], rng: np.random.Generator) -> bool:
        """Takes in what has ended and what runs; whether any of it was measured and meets the constraints."""
        met = np.array([np.isfinite(label(trial, self.objectives)) for trial in trials], dtype=bool)
        if not met.any():
            return False
        genomes = [trial.proposal.genome for trial in trials]
        losses_NA = np.array([[aim.loss(trial.merits) for aim in self.aims] for trial in trials])
        shown = _shown(losses_NA, np.flatnonzero(met))
        order = shown[survivors(losses_NA[shown], np.zeros(len(shown)), BEST)]
        self.best = [genomes[place] for place in order.tolist()]
        self._costs = [
            aim.metric in COST_NAMES and all(aim.metric in trials[place].cost for place in shown.tolist())
            for aim in self.aims
        ]
        for place, y in enumerate(np.where(met[:, None], losses_NA, np.nan).T):
            known = self.labels.get(place)
            if self._costs[place] or (known is not None and np.array_equal(known, y, equal_nan=True)):
                continue
            self._predictors[place].fit(genomes, y)
            self.labels[place] = y
        measured = [genomes[place] for place in shown.tolist()]
        values_NA = np.column_stack([self._mean(place, measured) for place in range(len(self.aims))])
        front = np.flatnonzero(fronts(values_NA) == 0)
        self._low, width = values_NA.min(axis=0), np.ptp(values_NA, axis=0)
        self._width = np.where(width > 0, width, 1.0)
        drawn = front if len(front) <= DRAWN else np.sort(rng.choice(front, DRAWN, replace=False))
        pending = [*(measured[place] for place in drawn.tolist()), *(proposal.genome for proposal in running)]
        self._models = [self._told(place, pending, rng) for place in range(len(self.aims))]
        drawn_ASM = [
            model.told if isinstance(model, Fantasies) else np.atleast_2d(self._mean(place, pending))
            for place, model in enumerate(self._models)
        ]
        drawn_SMA = np.stack(np.broadcast_arrays(*drawn_ASM), axis=-1)
        scaled_SMA = (drawn_SMA - self._low) / self._width
        self._boxes = [undominated(points, np.full(len(self.aims), REFERENCE)) for points in scaled_SMA]
        return True

    def promise(self, genomes: Sequence[Genome]) -> np.ndarray:
        """The logarithm of how much volume each genome is expected to add, [n]."""
        found = [self._predicted(place, genomes) for place in range(len(self.aims))]
        gains_SN = np.array(
            [
                np.prod(
                    [
                        _falls(each, draw, upper_K) - _falls(each, draw, lower_K)
                        for each, lower_K, upper_K in zip(found, lower_KA.T, upper_KA.T, strict=True)
                    ],
                    axis=0,
                ).sum(axis=0)
                for draw, (lower_KA, upper_KA) in enumerate(self._boxes)
            ]
        )
        failure = np.max([np.broadcast_to(each.failure, len(genomes)) for each in found], axis=0)
        with np.errstate(divide="ignore"):
            promised: np.ndarray = np.log(np.maximum(gains_SN, 0.0).mean(axis=0) * (1 - failure))
        return promised

    def _mean(self, place: int, genomes: Sequence[Genome]) -> np.ndarray:
        """What an objective is predicted to be, or is, [n]; costs by their logarithms, as they span decades."""
        if not self._costs[place]:
            return self._predictors[place].predict(genomes).mean
        metric, sign = self.aims[place].metric, self.aims[place].loss({self.aims[place].metric: 1.0})
        return sign * np.log1p([float(getattr(self.space.cost(genome), metric)) for genome in genomes])

    def _told(self, place: int, pending: Sequence[Genome], rng: np.random.Generator) -> Fantasies | None:
        """A predictor that is told drawn values, where values are not sure and it can be."""
        model = self._predictors[place]
        if self._costs[place] or not isinstance(model, Joint):
            return None
        return Fantasies(model, pending, rng.standard_normal((FANTASIES, len(pending))))

    def _predicted(self, place: int, genomes: Sequence[Genome]) -> Prediction:
        """An objective on the scale of the boxes: mean [s or 1, n], std [n]."""
        told = self._models[place]
        if self._costs[place]:
            found = Prediction(self._mean(place, genomes), np.zeros(len(genomes)))
        else:
            found = (told or self._predictors[place]).predict(genomes)
        mean_SN = (np.atleast_2d(found.mean) - self._low[place]) / self._width[place]
        return Prediction(mean_SN, found.std / self._width[place], found.failure)


def _shown(losses_NA: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Of many places those on the front, and the newest: on which front each is takes the square of their number."""
    least = set(lowest(map(tuple, losses_NA[places].tolist())))
    newest = len(places) - MOST
    shown = [k >= newest or tuple(row) in least for k, row in enumerate(losses_NA[places].tolist())]
    kept: np.ndarray = places[shown]
    return kept


def _falls(found: Prediction, draw: int, ends_K: np.ndarray) -> np.ndarray:
    """By how much values are expected to fall below each end, in one of the draws, [k, n]."""
    mean_N = found.mean[min(draw, len(found.mean) - 1)]
    distinct, place_K = np.unique(ends_K, return_inverse=True)
    one = Prediction(mean_N, found.std)
    falls = [
        np.zeros(len(mean_N)) if np.isneginf(end) else expected_improvement(one, float(end))
        for end in distinct
    ]
    return np.array(falls)[place_K]
