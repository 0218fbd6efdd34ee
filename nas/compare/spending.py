"""How much training trials take, counted in full trainings of their table."""

from __future__ import annotations

from benchmarks import Table
from nas.types import Proposal, Trial


class Spending:
    """Counts the training of trials; on a table that was measured at the end of training only, each is a whole one."""

    def __init__(self, table: Table) -> None:
        self._axis = table.fidelities
        self._reached: dict[int, int] = {}

    def asked(self, proposal: Proposal) -> float:
        """What a proposal takes that trains to its end."""
        return self._share(proposal, proposal.fidelity.amount)

    def ended(self, trial: Trial) -> float:
        """What a trial took, as far as it came."""
        self._reached[trial.id] = amount(trial)
        return self._share(trial.proposal, self._reached[trial.id])

    def _share(self, proposal: Proposal, amount: int) -> float:
        axis = self._axis
        if axis is None:
            return 1.0
        before = proposal.resume_from if axis.resumable else None
        resumed = 0 if before is None else self._reached.get(before, 0)
        return (min(amount, axis.amounts[-1]) - resumed) / axis.amounts[-1]


def amount(trial: Trial) -> int:
    """For how long a trial was trained, in the unit of its fidelity."""
    stopped = trial.status == "stopped" and trial.curve
    return trial.curve[-1].step if stopped else trial.proposal.fidelity.amount
