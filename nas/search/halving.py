"""Successive halving and Hyperband: brackets of trials that are compared at rungs, each when all of it have ended.

Successive halving (Jamieson and Talwalkar 2016, Non-stochastic Best Arm Identification and Hyperparameter Optimization)
trains so many networks for the least amount that one of them remains at the full one. Hyperband (Li et al. 2018) hedges
that bet with brackets that begin at higher rungs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

from annotated_types import Gt

from nas.search.multifidelity import MultiFidelity, Sampler
from nas.search.rungs import Bracket, Move
from nas.search.screening import Screening
from nas.types import Fidelity, Objective
from spaces import Space


class SuccessiveHalving(MultiFidelity):
    """Brackets from the lowest rung, one after the other; see `MultiFidelity` for the options.

    While the last trials of a rung run, free workers begin the next bracket. Where the full fidelity was raised, the
    brackets of the log are filled up to their new sizes, and what was trained is kept (after Iterative Deepening
    Hyperband: Brandt et al. 2023, Iterative Deepening Hyperband, arXiv 2302.00511, the efficient variant).
    """

    _finished = 0
    """Of how many brackets, the first ones, nothing is left to train."""

    def lowest(self) -> int:
        """The rung at which the next bracket begins."""
        return 0

    def next(self, may_start: bool) -> Move | None:
        for number in range(self._finished, len(self.brackets)):
            move, ended = self._within(number, self.brackets[number], may_start)
            if move is not None:
                return move
            if ended and may_start and number == self._finished:
                self._finished += 1
        return Move(len(self.brackets), self.lowest()) if may_start else None

    def _within(self, number: int, bracket: Bracket, may_start: bool) -> tuple[Move | None, bool]:
        """What is trained next in a bracket, and where nothing is, whether nothing ever will be."""
        sizes = self.ladder.sizes(bracket.start)
        if may_start and len(bracket.rungs[0].entered) < sizes[0]:
            return Move(number, bracket.start), False
        for place, rung in enumerate(bracket.rungs):
            if rung.ended < len(rung.entered):
                return None, False
            if place + 1 < len(sizes) and len(bracket.rungs[place + 1].entered) < sizes[place + 1]:
                best = rung.best()
                if best is not None:
                    return Move(number, bracket.start + place + 1, best), False
        return None, True

    def resumable(self) -> set[int]:
        """Trials of brackets that are not finished, and those at the top, which go on where the fidelity is raised."""
        found = super().resumable()
        for bracket in self.brackets[: self._finished]:
            for rung in bracket.rungs[:-1]:
                found.difference_update(rung.entered)
        return found


class Hyperband(SuccessiveHalving):
    """Brackets that begin at each rung in turn, from the lowest, each of about the same cost."""

    def lowest(self) -> int:
        begun = Counter(bracket.start for bracket in self.brackets)
        return min(range(len(self.ladder)), key=lambda rung: begun[rung])


def bohb(
    space: Space,
    objectives: Sequence[Objective],
    seed: int,
    fidelity: Fidelity,
    rungs: Sequence[int] = (),
    sampler: Sampler = "bayesian",
    eta: Annotated[float, Gt(1)] | None = None,
    screening: Screening | None = None,
) -> Hyperband:
    """Hyperband whose networks a model proposes (Falkner et al. 2018, BOHB: Robust and Efficient Hyperparameter
    Optimization at Scale), ours, which needs no vectors, in place of its kernel density estimator."""
    return Hyperband(space, objectives, seed, fidelity, rungs, sampler, eta, screening)
