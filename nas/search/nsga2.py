"""Several objectives at a time: evolution whose population is the best-spread Pareto fronts.

NSGA-II (Deb et al. 2002, A Fast and Elitist Multiobjective Genetic Algorithm), made for workers that never wait:
children are proposed whenever one is free, and who lives is decided whenever so many of them have ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import is_
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Ge, Le

from nas.search.history import TRIES, HistoryStrategy
from nas.search.random_search import draw
from nas.search.survival import Selection, survivors
from nas.search.variation import Variation
from nas.types import Fidelity, InvalidInput, Objective, Proposal, Trial, standing
from spaces import Space
from spaces.pareto import at_most, fronts


class Point(NamedTuple):
    """A trial, by how much it breaks constraints, and its losses."""

    trial: Trial
    violation: float
    losses: tuple[float, ...]

    def dominates(self, other: Point) -> bool:
        """As in `fronts`: constraints first."""
        if self.violation != other.violation:
            return self.violation < other.violation
        return self.losses != other.losses and at_most(self.losses, other.losses)


def _arrays(points: Sequence[Point]) -> tuple[np.ndarray, np.ndarray]:
    """Losses, [n, m], and violations, [n]."""
    return np.array([point.losses for point in points]), np.array([point.violation for point in points])


class NSGA2(HistoryStrategy):
    """Evolution towards the Pareto front of any number of objectives, constraints first; a network is proposed once.

    Trials that break constraints less come before all others, then those on better fronts, then those in emptier parts
    of theirs; parents are the best of tournaments in that order.

    Args:
        population: how many trials live at a time; so many are proposed before the first child.
        offspring: trials that end between one population and the next, which is the best of both: 1 is the steady
            state, which is better than generations (Durillo et al. 2009, On the Effect of the Steady-State Selection
            Scheme in Multi-Objective Genetic Algorithms).
        elitism: so many of the old population live on at most, and the newest trials are the rest; default: all may.
        tournament: how many of the population compete to be a parent.
        crossover: the share of children that cross two parents; all others are mutated.
        mutation: the share of crossed children that are mutated too.
        selection: who lives of the last front that has room: by "crowding", by the "hypervolume" that they dominate
            alone, or by evenly spread "directions", which is NSGA-III, for three objectives and more (see
            `nas.search.survival`).
        named: architectures of the space, by name or text, that stand first in the first population, the rest of which
            is random.
    """

    several = True

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        seed: int,
        fidelity: Fidelity,
        population: Annotated[int, Ge(2)] = 20,
        offspring: Annotated[int, Ge(1)] = 1,
        elitism: Annotated[int, Ge(1)] | None = None,
        tournament: Annotated[int, Ge(1)] = 2,
        crossover: Annotated[float, Ge(0), Le(1)] = 0.5,
        mutation: Annotated[float, Ge(0), Le(1)] = 0.5,
        selection: Selection = "crowding",
        named: tuple[str, ...] = (),
    ) -> None:
        super().__init__(space, objectives, seed, fidelity)
        self.begin_with(named)
        for key, number in (("tournament", tournament), ("elitism", elitism or 0)):
            if number > population:
                raise InvalidInput(
                    f"strategy.{key} = {number}, but a population of {population} cannot hold more"
                )
        if len(named) > population:
            raise InvalidInput(
                f"strategy.named has {len(named)} architectures, more than the population of {population}"
            )
        if elitism is not None and elitism + offspring < population:
            raise InvalidInput(
                f"strategy.elitism = {elitism} and strategy.offspring = {offspring} do not make up a population of "
                f"{population}"
            )
        self.population, self.offspring, self.elitism, self.tournament = (
            population,
            offspring,
            elitism,
            tournament,
        )
        self.selection = selection
        self.variation = Variation(space, crossover, mutation)
        self._living: list[Point] = []
        self._last: list[Point] | None = None
        """The last front of those that live, once it is asked for."""
        self._settled = False
        """Whether those that live are in the order in which they would be chosen of themselves."""
        self._new: list[Point] = []
        self._seen = 0

    @property
    def living(self) -> list[Trial]:
        """The trials that can be parents, best first; as of the last time that a population was chosen."""
        for trial in self.ended[self._seen :]:
            self._seen += 1
            if trial.status != "done":
                continue
            losses = tuple(aim.loss(trial.merits) for aim in self.aims)
            self._new.append(Point(trial, standing(self.objectives, trial)[0], losses))
            if len(self._new) == (self.offspring if self._living else self.population):
                self._choose(self._new)
                self._new = []
        return [point.trial for point in self._living or self._best(self._new)]

    def _choose(self, new: list[Point]) -> None:
        """The population after this one, of which so many trials have ended."""
        old = self._living
        if self.elitism is not None and old:
            self._living = self._best([*old[: self.elitism], *new[self.elitism - self.population :]])
            return
        # Trials behind the last front neither live nor change who does: most of a long campaign.
        if self._last is None and old:
            self._last = self._last_front()
        lost = all(any(last.dominates(point) for last in self._last or ()) for point in new)
        if not (lost and self._settled):
            self._living = self._best([*old, *new])
            self._settled = lost and all(map(is_, self._living, old))
            self._last = self._last if lost else None

    def _last_front(self) -> list[Point]:
        number = fronts(*_arrays(self._living))
        return [point for point, last in zip(self._living, number == number.max(), strict=True) if last]

    def _best(self, points: Sequence[Point]) -> list[Point]:
        if not points:
            return []
        places = survivors(*_arrays(points), self.population, self.selection)
        return [points[place] for place in places.tolist()]

    def propose(
        self, k: int, rng: np.random.Generator, taken: set[str], running: Sequence[Proposal]
    ) -> Proposal:
        living = self.living
        if k < self.population or not living:
            return draw(self, k, rng, taken)
        made = (self.variation.child(lambda: self._parent(living, rng), rng) for _ in range(TRIES))
        child = self.first_within(made, taken)
        return draw(self, k, rng, taken) if child is None else self.proposal(k, *child)

    def _parent(self, living: list[Trial], rng: np.random.Generator) -> Trial:
        """The best of a random tournament."""
        return living[int(rng.integers(len(living), size=self.tournament).min())]


def star(
    space: Space,
    objectives: Sequence[Objective],
    seed: int,
    fidelity: Fidelity,
    population: Annotated[int, Ge(2)] = 16,
    elitism: Annotated[int, Ge(1)] = 2,
    tournament: Annotated[int, Ge(1)] = 2,
    mutation: Annotated[float, Ge(0), Le(1)] = 0.1,
    named: tuple[str, ...] = (),
) -> NSGA2:
    """NSGA-II as STAR was searched (arXiv 2411.17800): generations of 16 with an elite of 2, all children crossed.

    One in ten is mutated too. The crossover is the space's: in STAR's, of two points, with repair.
    """
    return NSGA2(
        space,
        objectives,
        seed,
        fidelity,
        population=population,
        offspring=max(1, population - elitism),
        elitism=elitism,
        tournament=tournament,
        crossover=1.0,
        mutation=mutation,
        named=named,
    )
