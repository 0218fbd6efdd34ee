"""Asynchronous successive halving (Li et al. 2020, A System for Massively Parallel Hyperparameter Tuning)."""

from __future__ import annotations

from nas.search.multifidelity import MultiFidelity
from nas.search.rungs import Move

FEW = 8
"""The least checkpoints that a rung keeps, as the best of few trials may yet turn out to be among the best of many."""


class ASHA(MultiFidelity):
    """A trial goes on as soon as it is among the best of its rung so far; see `MultiFidelity` for the options.

    A free worker trains the best of the highest rung that has one to go on, else a new network, so that none waits.
    Where the full fidelity was raised, the best of what was the top go on.
    """

    def next(self, may_start: bool) -> Move | None:
        if self.brackets:
            rungs = self.brackets[0].rungs
            for number in reversed(range(len(rungs) - 1)):
                best = rungs[number].best(self.ladder.going_on(number, rungs[number].ended))
                if best is not None:
                    return Move(0, number + 1, best)
        return Move(0, 0) if may_start else None

    def resumable(self) -> set[int]:
        """Of each rung those that could go on if it had twice as many trials, and a few as long as it has few."""
        found = super().resumable()
        for bracket in self.brackets:
            for number, rung in enumerate(bracket.rungs[:-1]):
                kept = max(FEW, self.ladder.going_on(number, 2 * rung.ended))
                found.difference_update(rung.ranking[kept:])
        return found
