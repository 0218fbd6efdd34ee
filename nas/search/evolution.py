"""Regularised evolution (Real et al. 2019, Regularized Evolution for Image Classifier Architecture Search).

The population is the last trials to finish: the oldest die, however good they are. A parent is the best of a
random tournament, and its child is one mutation away. A child is proposed whenever a worker is free.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import islice
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from nas.search.history import TRIES, HistoryStrategy
from nas.search.random_search import draw
from nas.search.screening import Screening
from nas.types import Fidelity, InvalidInput, Objective, Proposal, Trial, standing
from spaces import NoNeighbour, Space


class RegularisedEvolution(HistoryStrategy):
    """Ageing evolution with tournaments; a network is proposed once.

    Args:
        population: how many trials live at a time; so many are proposed before the first child.
        tournament: how many of them compete to be a parent.
        crossover: the share of children that cross two parents instead of mutating one.
        named: architectures of the space by name that stand first in the first population, the rest of which
            is random.
        screening: children are made many to one and the most promising is proposed, once a predictor can tell.
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        seed: int,
        fidelity: Fidelity,
        population: Annotated[int, Ge(2)] = 20,
        tournament: Annotated[int, Ge(1)] = 5,
        crossover: Annotated[float, Ge(0), Le(1)] = 0.0,
        named: tuple[str, ...] = (),
        screening: Screening | None = None,
    ) -> None:
        super().__init__(space, objectives, seed, fidelity)
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
        self.crossover = crossover
        self.screening = screening
        self.named = tuple((name, space.architecture(name)) for name in named)

    @property
    def living(self) -> list[Trial]:
        """The trials that can be parents."""
        newest = (trial for trial in reversed(self.ended) if trial.status == "done")
        return [*islice(newest, self.population)][::-1]

    def propose(
        self, k: int, rng: np.random.Generator, taken: set[str], running: Sequence[Proposal]
    ) -> Proposal:
        if k < len(self.named):
            name, genome = self.named[k]
            if genome.digest not in taken:
                return self.proposal(k, genome, name)
        living = self.living
        if k < self.population or not living:
            return draw(self, k, rng, taken)
        screening = self.screening
        fitted = None if screening is None else screening.fitted(self.ended, self.objectives)
        if screening is None or fitted is None:
            children = self._children(1, k, living, rng, taken)
            return children[0] if children else draw(self, k, rng, taken)
        screened = fitted.trusted and rng.random() >= screening.explore
        children = self._children(screening.candidates if screened else 1, k, living, rng, taken)
        children = children or [draw(self, k, rng, taken)]
        chosen = screening.choose([child.genome for child in children], fitted) if len(children) > 1 else 0
        return dataclasses.replace(children[chosen], notes=screening.notes(fitted, len(children)))

    def _children(
        self, number: int, k: int, living: list[Trial], rng: np.random.Generator, taken: set[str]
    ) -> list[Proposal]:
        """At most so many children of different new networks; fewer where they are hard to find."""
        children: dict[str, Proposal] = {}
        for _ in range(TRIES + number):
            child = self._child(k, living, rng)
            if child is not None and child.genome.digest not in taken:
                children.setdefault(child.genome.digest, child)
                if len(children) == number:
                    break
        return list(children.values())

    def _child(self, k: int, living: list[Trial], rng: np.random.Generator) -> Proposal | None:
        parent = self._parent(living, rng)
        if self.crossover and rng.random() < self.crossover:
            other = self._parent(living, rng)
            genome = self.space.crossover(parent.proposal.genome, other.proposal.genome, rng)
            if genome is None:
                return None
            return self.proposal(k, genome, f"crossover of {parent.id} and {other.id}", (parent.id, other.id))
        try:
            genome = self.space.mutate(parent.proposal.genome, rng)
        except NoNeighbour:
            return None
        return self.proposal(k, genome, f"mutation of {parent.id}", (parent.id,))

    def _parent(self, living: list[Trial], rng: np.random.Generator) -> Trial:
        number = min(self.tournament, len(living))
        candidates = [living[i] for i in rng.choice(len(living), number, replace=False)]
        return min(candidates, key=lambda trial: standing(self.objectives, trial))
