"""Evolution of one objective: regularised (Real et al. 2019, Regularized Evolution for Image Classifier Architecture
Search), or of the best so far.

A parent is the best of a random tournament among those that live, and a child is proposed whenever a worker is free. In
regularised evolution the population is the last trials to finish: the oldest die, however good they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le

from nas.search.history import TRIES, HistoryStrategy
from nas.search.random_search import draw
from nas.search.variation import Variation
from nas.types import Ended, Event, Fidelity, InvalidInput, Objective, Proposal, Trial, standing
from spaces import Space


class RegularisedEvolution(HistoryStrategy):
    """Evolution with tournaments, in the steady state; a network, told by its digest, is proposed once.

    Args:
        population: how many trials live at a time; so many are proposed before the first child.
        tournament: how many of them compete to be a parent.
        survival: who dies when a trial joins a full population: the oldest ("age"), or the worst ("best", known as
            steady-state or (μ + 1) evolution).
        crossover: the share of children that cross two parents; all others are mutated.
        mutation: the share of crossed children that are mutated too.
        adapt: whether mutations are drawn by how often they did good, see `Variation`; else as the space draws them.
        restart: after so many children in a row that were no better than the best since the last start, all die, and a
            new population is drawn; default: never.
        named: architectures of the space, by name or text, that stand first in the first population, the rest of which
            is random.
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        seed: int,
        fidelity: Fidelity,
        population: Annotated[int, Ge(2)] = 20,
        tournament: Annotated[int, Ge(1)] = 5,
        survival: Literal["age", "best"] = "age",
        crossover: Annotated[float, Ge(0), Le(1)] = 0.0,
        mutation: Annotated[float, Ge(0), Le(1)] = 0.0,
        adapt: bool = False,
        restart: Annotated[int, Ge(1)] | None = None,
        named: tuple[str, ...] = (),
    ) -> None:
        super().__init__(space, objectives, seed, fidelity)
        self.begin_with(named)
        if tournament > population:
            raise InvalidInput(
                f"strategy.tournament = {tournament}, but a population of {population} cannot hold more"
            )
        if len(named) > population:
            raise InvalidInput(
                f"strategy.named has {len(named)} architectures, more than the population of {population}"
            )
        self.population = population
        self.tournament = tournament
        self.survival = survival
        self.restart = restart
        self.variation = Variation(space, crossover, mutation, adapt)
        self.living: list[Trial] = []
        """The trials that can be parents, in the order of their ends."""
        self._standings: dict[int, tuple[float, float]] = {}
        self._best = (np.inf, np.inf)
        self._worse = 0
        self._began = 0

    def tell(self, event: Event) -> None:
        super().tell(event)
        if isinstance(event, Ended):
            self._ended(event.trial)

    def _ended(self, trial: Trial) -> None:
        """Who lives, what changes do good, and whether to start anew, now that a trial has ended."""
        stands = standing(self.objectives, trial) if trial.status == "done" else (np.inf, np.inf)
        self._standings[trial.id] = stands
        parents = trial.proposal.parents
        if parents:
            self.variation.learn(trial.proposal.origin, stands < self._standings.get(parents[0], stands))
        if trial.id < self._began:
            return  # it ran when all others died
        if trial.status == "done":
            self.living.append(trial)
            if len(self.living) > self.population:
                dies = 0
                if self.survival == "best":
                    dies = max(range(len(self.living)), key=lambda i: self._standings[self.living[i].id])
                del self.living[dies]
        if trial.id >= self._began + self.population:
            self._worse = 0 if stands < self._best else self._worse + 1
        self._best = min(self._best, stands)
        if self.restart is not None and self._worse >= self.restart:
            self.living, self._best, self._worse, self._began = [], (np.inf, np.inf), 0, len(self.proposals)

    def propose(
        self, k: int, rng: np.random.Generator, taken: set[str], running: Sequence[Proposal]
    ) -> Proposal:
        if k - self._began < self.population or not self.living:
            return draw(self, k, rng, taken)
        made = (self.variation.child(lambda: self._parent(rng), rng) for _ in range(TRIES))
        child = self.first_within(made, taken)
        return draw(self, k, rng, taken) if child is None else self.proposal(k, *child)

    def _parent(self, rng: np.random.Generator) -> Trial:
        number = min(self.tournament, len(self.living))
        candidates = [self.living[i] for i in rng.choice(len(self.living), number, replace=False)]
        return min(candidates, key=lambda trial: standing(self.objectives, trial))
