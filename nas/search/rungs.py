"""Rungs: the trials that train for one amount, and which of them may go on to the next."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.search.survival import survivors
from nas.types import InvalidInput, Objective, Trial, standing


class Rung:
    """The trials of one bracket that train for one amount.

    Attributes:
        entered: the ids of its trials, in their order.
        ended: how many of them have ended.
        resumed: the ids of those that a trial of the next rung resumes.
    """

    def __init__(self, objectives: Sequence[Objective]) -> None:
        self.entered: list[int] = []
        self.ended = 0
        self.resumed: set[int] = set()
        self._objectives = objectives
        self._aims = [objective for objective in objectives if objective.bound is None]
        self._done: list[tuple[tuple[float, float], int, Trial]] = []
        self._ranking: list[int] | None = None

    def end(self, trial: Trial) -> None:
        """Takes a trial of this rung that has ended."""
        self.ended += 1
        if trial.status == "done":
            bisect.insort(
                self._done, (standing(self._objectives, trial), trial.id, trial), key=lambda done: done[:2]
            )
            self._ranking = None

    @property
    def ranking(self) -> list[int]:
        """The ids of the trials that are done, best first: by constraints, then the objective, or the Pareto fronts."""
        if self._ranking is None:
            ranking = [id for _, id, _ in self._done]
            if len(self._aims) > 1:
                losses = [[aim.loss(trial.merits) for aim in self._aims] for *_, trial in self._done]
                violations = np.array([stands[0] for stands, *_ in self._done])
                order = survivors(
                    np.array(losses).reshape(len(ranking), len(self._aims)), violations, len(ranking)
                )
                ranking = [ranking[place] for place in order.tolist()]
            self._ranking = ranking
        return self._ranking

    def best(self, number: int | None = None) -> int | None:
        """The best trial that none resumes, if it is among so many of the best."""
        return next((id for id in self.ranking[:number] if id not in self.resumed), None)


class Bracket:
    """Rungs one above the other, of which the first is rung number `start` of the campaign."""

    def __init__(self, start: int, rungs: int, objectives: Sequence[Objective]) -> None:
        self.start = start
        self.rungs = [Rung(objectives) for _ in range(start, rungs)]

    def rung(self, number: int) -> Rung:
        """A rung by its number in the campaign."""
        return self.rungs[number - self.start]


@dataclass(frozen=True, slots=True)
class Move:
    """What is trained next: at a rung of a bracket, a new network, or that of a trial of the rung below."""

    bracket: int
    rung: int
    trial: int | None = None


@dataclass(frozen=True)
class Ladder:
    """The amounts of training of all rungs, ascending, and the share of each that goes on to the next.

    Where no `eta` is given, the share is the ratio of the two amounts, so that all rungs together cost about alike.
    """

    amounts: tuple[int, ...]
    eta: float | None = None

    def __len__(self) -> int:
        return len(self.amounts)

    def going_on(self, rung: int, number: int) -> int:
        """How many of so many trials of a rung go on to the next, rounded down."""
        if self.eta is None:
            return number * self.amounts[rung] // self.amounts[rung + 1]
        return int(number / self.eta + 1e-9)

    def sizes(self, start: int) -> list[int]:
        """How many trials each rung of a bracket has that begins at one of them.

        As in Hyperband (Li et al. 2018, Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization,
        Algorithm 1), brackets cost about alike, and one trial at least reaches the top.
        """
        top = len(self.amounts) - 1
        ratio = self.amounts[-1] / self.amounts[start] if self.eta is None else self.eta ** (top - start)
        sizes = [int(np.ceil((top + 1) / (top - start + 1) * ratio - 1e-9))]
        for rung in range(start, top):
            sizes.append(max(1, self.going_on(rung, sizes[-1])))
        return sizes


def ladder(rungs: Sequence[int], full: int, eta: float | None) -> Ladder:
    """The ladder of a strategy with these amounts below the full one.

    Raises:
        InvalidInput: there are none, or they do not ascend to the full one, or that is 1, of which there is no less.
    """
    if full < 2:
        raise InvalidInput(
            "the strategy compares trials after less training first, but they are trained for 1 in full: say for how "
            "long in 'budget.steps' (or tokens, or epochs), and in 'budget.rungs' after how much they are compared"
        )
    if not rungs:
        examples = sorted({max(1, full // 9), max(1, full // 3)})
        raise InvalidInput(
            "the strategy compares trials after less training first: say after how much, as in 'budget.rungs' = "
            f"{examples}"
        )
    amounts = (*rungs, full)
    if amounts[0] < 1 or any(low >= high for low, high in itertools.pairwise(amounts)):
        raise InvalidInput(
            f"'budget.rungs' is {list(rungs)}, but must be amounts that ascend from 1 or more and stay below {full}"
        )
    return Ladder(amounts, eta)
