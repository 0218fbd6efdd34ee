"""The engine of tables: trials are looked up, and end on a clock that jumps from one end to the next.

Training that took hours passes in microseconds, in the order in which so many workers would have finished it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks import Table
from benchmarks.description import TRAIN_TIME
from nas.types import InvalidInput, Proposal, Split, Trial


@dataclass(frozen=True)
class Conditions:
    """What befalls simulated trials, each by a draw of its own that follows from its number.

    Attributes:
        noisy: a trial tells one training run of its row, where the table has several, not their mean.
        stragglers: the share of trials that take `slowdown` times as long.
        deaths: the share of trainings whose worker dies on the way. As on Ray, such a trial is trained once more from
            the start, and fails if that dies too.

    Raises:
        InvalidInput: a share is not from 0 to 1, or the slowdown is below 1.
    """

    noisy: bool = False
    stragglers: float = 0.0
    slowdown: float = 4.0
    deaths: float = 0.0

    def __post_init__(self) -> None:
        for key, share in (("stragglers", self.stragglers), ("deaths", self.deaths)):
            if not 0 <= share <= 1:
                raise InvalidInput(f"{key} = {share:g}, but it must be a share from 0 to 1")
        if not self.slowdown >= 1:
            raise InvalidInput(f"slowdown = {self.slowdown:g}, but it must be at least 1")


class SimulatedEngine:
    """Runs proposals on simulated workers, each one trial at a time for as long as its training took in the table.

    Trials have all metrics of their row, means over seeds, but for those of the test split, and `started` and
    `duration` in simulated seconds from the start of the engine. A row whose objective was not measured makes a failed
    trial, which takes no time where none is known. Where a table has no "train_time", every trial takes a second.

    Attributes:
        now: the simulated time in seconds.
    """

    def __init__(
        self, table: Table, workers: int = 1, conditions: Conditions = Conditions(), seed: int = 0
    ) -> None:
        self.workers = workers
        self.now = 0.0
        self._table, self._conditions, self._seed = table, conditions, seed
        self._eventful = conditions != Conditions()
        self._metrics = [name for name, metric in table.metrics.items() if metric.split != "test"]
        self._free = [(0.0, number) for number in range(workers)]
        self._ends: list[tuple[float, int, Trial]] = []

    def submit(self, proposal: Proposal, splits: tuple[Split, ...] = ("valid",)) -> None:
        """Starts a proposal on the worker that is free first."""
        rank = self._table.rank(proposal.genome)
        rng = np.random.default_rng([self._seed, proposal.id]) if self._eventful else None
        row = self._table.row(rank) if rng is None else self._row(rank, rng)
        free, number = heapq.heappop(self._free)
        started = max(free, self.now)
        duration = row.get(TRAIN_TIME, 1.0)
        duration = duration if math.isfinite(duration) else 0.0
        died = False
        if rng is not None:
            duration, died = self._course(duration, rng)
        heapq.heappush(self._free, (started + duration, number))
        metrics = {name: row[name] for name in self._metrics if math.isfinite(row[name])}
        objective = self._table.objective.name
        error = None if objective in metrics else f"the table has no {objective} of this genome"
        error = "its worker died twice" if died else error
        trial = Trial(
            proposal,
            "done" if error is None else "failed",
            metrics if error is None else {},
            started=started,
            duration=duration,
            worker=f"simulated-{number}",
            error=error,
        )
        heapq.heappush(self._ends, (started + duration, proposal.id, trial))

    def _row(self, rank: int, rng: np.random.Generator) -> dict[str, float]:
        """The metrics of a row: of one training run that was measured, where conditions are noisy."""
        if not self._conditions.noisy:
            return self._table.row(rank)
        objective = self._table.objective
        runs = [k for k in range(objective.seeds) if math.isfinite(self._table.query(rank, seed=k))]
        run = runs[rng.integers(len(runs))] if runs else 0
        return {
            name: self._table.query(rank, name, run if metric.seeds > run else None)
            for name, metric in self._table.metrics.items()
        }

    def _course(self, duration: float, rng: np.random.Generator) -> tuple[float, bool]:
        """How long a training that takes so long by itself keeps a worker, and whether it came to nothing."""
        conditions = self._conditions
        straggles, first, second, way, second_way = rng.random(5)
        duration *= conditions.slowdown if straggles < conditions.stragglers else 1.0
        if first >= conditions.deaths:
            return duration, False
        if second >= conditions.deaths:
            return duration * (way + 1), False
        return duration * (way + second_way), True

    def poll(self, timeout: float) -> Sequence[Trial]:
        """Jumps to the next end, whatever `timeout` says; none if nothing runs."""
        if not self._ends:
            return []
        self.now, _, trial = heapq.heappop(self._ends)
        return [trial]

    def close(self) -> None:
        """Forgets what runs."""
        self._ends.clear()
