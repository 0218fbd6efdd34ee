"""What adapters of other libraries share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from benchmarks import Table
from nas.cluster.simulated import whole
from nas.types import Ended, Event, Measurement, Proposal


class Peer(ABC):
    """A method of another library on the space of a table, asked and told as a strategy.

    The library sees one parameter for each field of the space, of numbers where it makes use of their order and of
    categories elsewhere, and is told losses: lower is better, and logarithms where the metric spans decades, which
    spares it a scale that it could not know. Where it proposes a genome again, that is an evaluation as any other.
    Asking advances the library's own state, so a peer cannot be replayed from a log: peers are for comparisons, not
    for campaigns.
    """

    def __init__(self, table: Table, seed: int) -> None:
        self.table, self.seed = table, seed
        self.space = table.space
        self._open: dict[int, Any] = {}
        self._asked = 0

    @abstractmethod
    def suggest(self) -> tuple[Any, Mapping[str, Any]]:
        """The library's own trial, and a value for each field of the space."""

    @abstractmethod
    def report(self, trial: Any, loss: float | None) -> None:
        """Tells the library the loss of a trial of its own; None: it failed."""

    def ask(self, n: int) -> list[Proposal]:
        proposals = []
        for _ in range(n):
            trial, values = self.suggest()
            genome = self.space.genome(**values)
            self._open[self._asked] = trial
            proposals.append(
                Proposal(self._asked, genome, whole(self.table), self.seed, (), type(self).__name__)
            )
            self._asked += 1
        return proposals

    def tell(self, event: Event) -> None:
        if not isinstance(event, Ended):
            return
        trial, objective = event.trial, self.table.objective
        loss = None
        if trial.status == "done":
            value = trial.metrics[objective.name]
            value = math.log10(value) if objective.log else value
            loss = value if objective.direction == "min" else -value
        self.report(self._open.pop(trial.id), loss)

    def proceed(self, trial_id: int, measurement: Measurement) -> bool:
        """Always: a row of a table has no curve to be stopped on."""
        return True
