"""Bayesian optimisation over genomes of any space.

A surrogate learns the losses of what was measured; what is proposed next is the genome whose measurement promises
most, sought by evolution over the space itself, so that grammars need no vectors (as NAS-BOWL did over cells: Ru et
al. 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge

import predictors
from nas.search.history import TRIES, HistoryStrategy, label
from nas.search.initial import spread_out
from nas.search.promising import most_promising
from nas.search.random_search import draw
from nas.types import Fidelity, Objective, Proposal
from predictors import Prediction, Predictor, log_expected_improvement
from spaces import Genome, Space
from spaces.pareto import lowest

CONFIDENCE = 2.0
"""Standard deviations below the mean, for the lower confidence bound."""

REFERENCE = 1.1
"""The reference point of several objectives, where the best of each is 0 and the worst on the front so far is 1."""

Acquisition = Literal["improvement", "bound", "thompson"]


class BayesianOptimisation(HistoryStrategy):
    """Proposes what promises most by a surrogate of all trials so far; a network is proposed once.

    Trials that run have no loss yet: the surrogate is fitted once more, as if each had the loss of the trial that it is
    predicted to be most like (a Kriging believer: Ginsbourger et al. 2010, Kriging is Well-Suited to Parallelize
    Optimization), so that workers do not crowd in one place.

    Of several objectives, each proposal minimises a scalar of its own: how far the worst of them is from a reference
    point, in a direction drawn evenly. The mean over all directions is the hypervolume (Golovin and Zhang 2020, Random
    Hypervolume Scalarizations for Provable Multi-Objective Black Box Optimization, section 3), so that the proposals
    spread over the part of the Pareto front that counts.

    Args:
        surrogate: a predictor by name, as in `predictors.PREDICTORS`.
        initial: trials before the surrogate is asked, spread over the space where it is a cube, else random.
        acquisition: "improvement", the greatest expected one; "bound", the least mean less two standard deviations;
            "thompson", the least of a draw of each candidate by itself (White et al. 2021, BANANAS). The first two
            are weighed by the chance not to fail.
        named: architectures of the space by name that stand first.
    """

    several = True

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        seed: int,
        fidelity: Fidelity,
        surrogate: str = "stacked",
        initial: Annotated[int, Ge(2)] = 10,
        acquisition: Acquisition = "improvement",
        named: tuple[str, ...] = (),
    ) -> None:
        super().__init__(space, objectives, seed, fidelity)
        self.initial = max(initial, len(named) + 2)
        self.acquisition = acquisition
        self.named = tuple((name, space.architecture(name)) for name in named)
        self.points = spread_out(space, initial, seed)
        self._surrogate = predictors.load(surrogate, space=space, seed=seed)
        self._believer = predictors.load(surrogate, space=space, seed=seed)
        self._known: np.ndarray | None = None

    def propose(
        self, k: int, rng: np.random.Generator, taken: set[str], running: Sequence[Proposal]
    ) -> Proposal:
        if k < len(self.named) and self.named[k][1].digest not in taken:
            name, genome = self.named[k]
            return self.proposal(k, genome, name)
        if k < self.initial or not self.ended:
            if k < len(self.points) and self.points[k].digest not in taken:
                return self.proposal(k, self.points[k], "spread")
            return draw(self, k, rng, taken)
        losses = self._losses(rng)
        model = self._fitted(losses, running)
        genomes = [trial.proposal.genome for trial in self.ended]
        order = np.argsort(np.where(np.isfinite(losses), losses, np.inf), kind="stable")
        chosen = most_promising(
            self.space,
            [genomes[i] for i in order[:TRIES].tolist()],
            lambda some: self._promise(model, some, rng),
            taken,
            rng,
        )
        return draw(self, k, rng, taken) if chosen is None else self.proposal(k, chosen, "bayesian")

    def _losses(self, rng: np.random.Generator) -> np.ndarray:
        """What the surrogate learns of the trials that have ended, [n]; NaN for what failed or breaks a constraint."""
        y = np.array([label(trial, self.objectives) for trial in self.ended])
        if len(self.aims) == 1:
            return y
        direction = np.abs(rng.standard_normal(len(self.aims)))
        losses_NA = np.array([[aim.loss(trial.merits) for aim in self.aims] for trial in self.ended])
        measured = np.isfinite(y) & np.isfinite(losses_NA).all(axis=1)
        if not measured.any():
            return np.full(len(y), np.nan)
        front_FA = np.array(lowest(map(tuple, losses_NA[measured].tolist())))
        low, width = front_FA.min(axis=0), np.ptp(front_FA, axis=0)
        beyond_NA = (losses_NA - low) / np.where(width > 0, width, np.abs(low) + 1e-12) - REFERENCE
        return np.where(measured, (beyond_NA / direction).max(axis=1), np.nan)

    def _fitted(self, y: np.ndarray, running: Sequence[Proposal]) -> Predictor:
        """The surrogate of all trials that have ended, and of what those that run are believed to give."""
        genomes = [trial.proposal.genome for trial in self.ended]
        if self._known is None or not np.array_equal(self._known, y, equal_nan=True):
            self._surrogate.fit(genomes, y)
            self._known = y
        if not running or not np.isfinite(y).any():
            return self._surrogate
        known = np.flatnonzero(np.isfinite(y))
        like = self._surrogate.predict([genomes[i] for i in known.tolist()]).mean
        waiting = [proposal.genome for proposal in running]
        nearest = np.abs(self._surrogate.predict(waiting).mean[:, None] - like).argmin(axis=1)
        return self._believer.fit([*genomes, *waiting], np.concatenate([y, y[known[nearest]]]))

    def _promise(self, model: Predictor, genomes: Sequence[Genome], rng: np.random.Generator) -> np.ndarray:
        """How much each genome promises, more is better, [n]."""
        found: Prediction = model.predict(genomes)
        if self.acquisition == "thompson":
            return -(found.mean + found.std * rng.standard_normal(len(found.mean)))
        if self.acquisition == "bound":
            return CONFIDENCE * found.std - found.mean - 10 * np.asarray(found.failure)
        with np.errstate(divide="ignore"):
            return log_expected_improvement(found, model.best) + np.log1p(-np.asarray(found.failure))
