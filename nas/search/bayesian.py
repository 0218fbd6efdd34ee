"""Bayesian optimisation over genomes of any space.

A surrogate learns the losses of what was measured; what is proposed next is the genome whose measurement promises
most, sought by evolution over the space itself, so that grammars need no vectors (as NAS-BOWL did over cells: Ru et
al. 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

import predictors
from nas.search.history import HistoryStrategy
from nas.search.hypervolume import FrontSurrogate
from nas.search.initial import spread_out
from nas.search.promising import BEST, FAR, NEAR, WIDE, Effort, most_promising
from nas.search.random_search import draw
from nas.search.surrogate import Acquisition, Surrogate
from nas.types import Fidelity, InvalidInput, Objective, Proposal
from spaces import Space

FEW = 50
"""Up to so many trials neighbours of the best are candidates enough, unless workers crowd there."""

CROWDED = 10**6
"""Spaces of at most so many genomes, where those of the best have few neighbours: workers crowd there."""


class BayesianOptimisation(HistoryStrategy):
    """Proposes what promises most by a surrogate of all trials so far; a network is proposed once.

    Of several objectives, the improvement is that of the hypervolume, with a surrogate of each, see `FrontSurrogate`.

    Args:
        surrogate: a predictor by name, as in `predictors.PREDICTORS`.
        initial: trials before the surrogate is asked, spread over the space where it is a cube, else random.
        acquisition: what a genome promises, and how trials that run count, see `Surrogate`.
        named: architectures of the space by name that stand first.

    Raises:
        InvalidInput: an acquisition other than "improvement" is of one objective, but there are several.
    """

    several = True
    screenable = False

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        seed: int,
        fidelity: Fidelity,
        surrogate: str = "stacked",
        initial: Annotated[int, Ge(2), Le(10_000)] = 10,
        acquisition: Acquisition = "improvement",
        named: tuple[str, ...] = (),
    ) -> None:
        super().__init__(space, objectives, seed, fidelity)
        self.begin_with(named)
        self.initial = max(initial, len(named) + 2)
        self.points = spread_out(space, initial, seed)
        self._surrogate = Surrogate(surrogate, space, seed, acquisition)
        self._front: FrontSurrogate | None = None
        if len(self.aims) > 1:
            if acquisition != "improvement":
                raise InvalidInput(
                    f"strategy.acquisition = {acquisition!r} is of one objective, but objectives has {len(self.aims)} "
                    'without a bound: leave it out, or take "improvement"'
                )
            make = partial(predictors.load, surrogate, space=space, seed=seed)
            self._front = FrontSurrogate(make, space, objectives)

    def propose(
        self, k: int, rng: np.random.Generator, taken: set[str], running: Sequence[Proposal]
    ) -> Proposal:
        if k < self.initial or not self.ended:
            if k < len(self.points) and self.is_open(self.points[k], taken):
                return self.proposal(k, self.points[k], "spread")
            return draw(self, k, rng, taken)
        if self._front is not None and self._front.learn(self.ended, running, rng):
            best, promise, effort = self._front.best, self._front.promise, WIDE if running else FAR
        else:
            losses = self.losses
            genomes = [trial.proposal.genome for trial in self.ended]
            self._surrogate.learn(genomes, losses, [proposal.genome for proposal in running], rng)
            order = np.argsort(np.where(np.isfinite(losses), losses, np.inf), kind="stable")
            best = [genomes[i] for i in order[:BEST].tolist()]
            promise = partial(self._surrogate.promise, rng=rng)
            effort = self._effort(len(genomes), bool(running))
        chosen = most_promising(self.space, best, effort, self.within(promise), taken, rng)
        return draw(self, k, rng, taken) if chosen is None else self.proposal(k, chosen, "bayesian")

    def _effort(self, ended: int, running: bool) -> Effort:
        size = getattr(self.space, "size", None)
        crowded = running and size is not None and size <= CROWDED
        if ended <= FEW and not crowded:
            return NEAR
        return WIDE if running else FAR
