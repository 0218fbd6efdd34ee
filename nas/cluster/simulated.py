"""The engine of tables: trials are looked up, and end on a clock that jumps from one end to the next.

Training that took hours passes in microseconds, in the order in which so many workers would have finished it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

from benchmarks import Table
from benchmarks.table import TRAIN_TIME
from nas.types import Proposal, Split, Trial


class SimulatedEngine:
    """Runs proposals on simulated workers, each one trial at a time for as long as its training took in the table.

    Trials have all metrics of their row, means over seeds, but for those of the test split, and `started` and
    `duration` in simulated seconds from the start of the engine. A row whose objective was not measured makes a failed
    trial, which takes no time where none is known. Where a table has no "train_time", every trial takes a second.

    Attributes:
        now: the simulated time in seconds.
    """

    def __init__(self, table: Table, workers: int = 1) -> None:
        self.workers = workers
        self.now = 0.0
        self._table = table
        self._metrics = [name for name, metric in table.metrics.items() if metric.split != "test"]
        self._free = [(0.0, number) for number in range(workers)]
        self._ends: list[tuple[float, int, Trial]] = []

    def submit(self, proposal: Proposal, splits: tuple[Split, ...] = ("valid",)) -> None:
        """Starts a proposal on the worker that is free first."""
        row = self._table.row(proposal.genome)
        free, number = heapq.heappop(self._free)
        started = max(free, self.now)
        duration = row.get(TRAIN_TIME, 1.0)
        duration = duration if math.isfinite(duration) else 0.0
        heapq.heappush(self._free, (started + duration, number))
        metrics = {name: row[name] for name in self._metrics if math.isfinite(row[name])}
        objective = self._table.objective.name
        done = objective in metrics
        trial = Trial(
            proposal,
            "done" if done else "failed",
            metrics if done else {},
            started=started,
            duration=duration,
            worker=f"simulated-{number}",
            error=None if done else f"the table has no {objective} of this genome",
        )
        heapq.heappush(self._ends, (started + duration, proposal.id, trial))

    def poll(self, timeout: float) -> Sequence[Trial]:
        """Jumps to the next end, whatever `timeout` says; none if nothing runs."""
        if not self._ends:
            return []
        self.now, _, trial = heapq.heappop(self._ends)
        return [trial]

    def close(self) -> None:
        """Forgets what runs."""
        self._ends.clear()
