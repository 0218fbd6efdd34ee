"""The engine of tables: trials are looked up, and end on a clock that jumps from one end to the next.

Training that took hours passes in microseconds, in the order in which so many workers would have finished it.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from benchmarks import Table
from nas.types import Fidelity, InvalidInput, Measurement, OnReport, Proposal, Split, Trial


@dataclass(frozen=True)
class Conditions:
    """What befalls simulated trials, each by a draw of its own that follows from its number, and when the clock stops.

    Attributes:
        noisy: a trial tells one training run of its row, where the table has several, not their mean.
        stragglers: the share of trials that take `slowdown` times as long.
        deaths: the share of trainings whose worker dies on the way. As on Ray, such a trial is trained once more from
            the start, and fails if that dies too.
        seconds: when the clock stops; trials that have not ended by then never do.

    Raises:
        InvalidInput: a share is not from 0 to 1, the slowdown is below 1, or there is no time.
    """

    noisy: bool = False
    stragglers: float = 0.0
    slowdown: float = 4.0
    deaths: float = 0.0
    seconds: float = math.inf

    def __post_init__(self) -> None:
        for key, share in (("stragglers", self.stragglers), ("deaths", self.deaths)):
            if not 0 <= share <= 1:
                raise InvalidInput(f"{key} = {share:g}, but it must be a share from 0 to 1")
        if not self.slowdown >= 1:
            raise InvalidInput(f"slowdown = {self.slowdown:g}, but it must be at least 1")
        if not self.seconds > 0:
            raise InvalidInput(f"seconds = {self.seconds:g}, but it must be above 0")


def whole(table: Table) -> Fidelity:
    """What a trial spends that trains to the end of a table's trainings."""
    axis = table.fidelities
    return Fidelity(1) if axis is None else Fidelity(axis.amounts[-1], axis.unit)


def rungs(table: Table) -> tuple[int, ...]:
    """Amounts below the whole of a table's trainings, ascending, each at most a third of the next.

    None where the objective is known at the end alone.
    """
    axis = table.fidelities
    if axis is None or not table.objective.curve:
        return ()
    chosen = [axis.amounts[-1]]
    for amount in reversed(axis.amounts[:-1]):
        if 3 * amount <= chosen[-1]:
            chosen.append(amount)
    return tuple(reversed(chosen[1:]))


def unseen(table: Table) -> np.ndarray:
    """Rows whose objective is known in the end, but not after each of the `rungs`, ascending: trials fail there."""
    known = [np.isfinite(table.column(fidelity=amount)) for amount in rungs(table)]
    return np.flatnonzero(np.isfinite(table.column()) & ~np.all([np.ones(len(table), bool), *known], axis=0))


class SimulatedEngine:
    """Runs proposals on simulated workers, each one trial at a time for as long as its training took in the table.

    Trials have all metrics of their row, means over seeds, but for those of the test split other than the objective,
    which has to be asked for, and `started` and `duration` in simulated seconds from the start of the engine. A row
    whose objective was not measured makes a failed trial, which takes no time where none is known. Where a table has
    no "train_time", every trial takes a second.

    Where a table has fidelities, a trial has what was measured after the amount of training that it spends, to its end
    where the row was not trained for longer, and takes as long as that took; less what a trial of the same genome had
    spent that it resumes from. It reports at all amounts before at which the objective was measured, and may be stopped
    there. (Where each amount is a training of its own, it neither reports nor resumes.) Elsewhere every trial trains to
    the end.

    What is kept is of trials that run, and of each that others may resume from three numbers.

    Args:
        on_report: is asked at each report of a running trial, in the order of the clock, whether it goes on.

    Attributes:
        now: the simulated time in seconds.
    """

    def __init__(
        self,
        table: Table,
        workers: int = 1,
        conditions: Conditions = Conditions(),
        seed: int = 0,
        on_report: OnReport | None = None,
    ) -> None:
        self.workers = workers
        self.now = 0.0
        self._table, self._conditions, self._seed = table, conditions, seed
        self._on_report = on_report
        self._eventful = conditions.noisy or conditions.stragglers > 0 or conditions.deaths > 0
        asked = table.objective.name
        self._metrics = [
            name for name, known in table.metrics.items() if known.split != "test" or name == asked
        ]
        self._free = [(0.0, number) for number in range(workers)]
        self._waiting: deque[Proposal] = deque()
        self._next: list[tuple[float, int, int, float, Course]] = []
        self._reached: dict[int, Reached] = {}

    def submit(self, proposal: Proposal, splits: tuple[Split, ...] = ("valid",)) -> None:
        """Starts a proposal on the worker that has been free for longest, or queues it.

        Raises:
            InvalidInput: the table was measured after other amounts of training, or has no row of the genome.
        """
        self._waiting.append(proposal)
        self._start()

    def poll(self, timeout: float) -> Sequence[Trial]:
        """Jumps to the next end, whatever `timeout` says; none if nothing runs or the clock has stopped."""
        while self._next and self._next[0][0] <= self._conditions.seconds:
            self.now, number, worker, started, course = heapq.heappop(self._next)
            try:
                heapq.heappush(self._next, (next(course), number, worker, started, course))
            except StopIteration as end:
                heapq.heappush(self._free, (self.now, worker))
                self._start()
                return [end.value]
        return []

    @property
    def unfinished(self) -> list[float]:
        """For how many seconds each trial has been trained that runs, or ran when the clock stopped."""
        stopped = not self._next or self._next[0][0] > self._conditions.seconds
        until = self._conditions.seconds if stopped else self.now
        return [until - started for _, _, _, started, _ in self._next]

    def close(self) -> None:
        """Forgets what runs and what waits."""
        self._next.clear()
        self._waiting.clear()

    def _start(self) -> None:
        while self._waiting and self._free:
            proposal = self._waiting.popleft()
            _, worker = self._free[0]
            course = self._course(proposal, f"simulated-{worker}")
            heapq.heappush(self._next, (next(course), proposal.id, worker, self.now, course))
            heapq.heappop(self._free)

    def _course(self, proposal: Proposal, worker: str) -> Course:
        """A trial that starts now: yields when it next reports or ends, and returns what came of it."""
        started, table = self.now, self._table
        rng = np.random.default_rng([self._seed, proposal.id]) if self._eventful else None
        rank = table.rank(proposal.genome)
        resumed = self._resumed(proposal, rank)
        run = resumed.run if resumed else self._run(rank, rng)
        amount = self._amount(proposal, rank)
        spent = table.seconds(rank, resumed.amount, run) if resumed else 0.0
        duration = table.seconds(rank, amount, run) - spent
        duration = duration if math.isfinite(duration) else 0.0
        pace, lost, deaths = self._fate(duration, rng) if rng is not None else (1.0, 0.0, 0)
        row = table.row(rank, run, amount)

        def trial(
            status: Literal["done", "failed", "stopped"], took: float, metrics: dict[str, float], **more: Any
        ) -> Trial:
            more |= {"started": started, "duration": took, "worker": worker, "deaths": deaths}
            return Trial(proposal, status, metrics, **more)

        if deaths == 2:
            yield started + lost
            return trial("failed", lost, {}, error="its worker died twice")
        curve: list[Measurement] = []
        for point in self._points(rank, amount, resumed):
            took = lost + pace * (table.seconds(rank, point, run) - spent)
            yield started + took
            curve.append(Measurement(point, self._told(table.row(rank, run, point))))
            assert self._on_report is not None, "else there are no points"
            if not self._on_report(proposal.id, curve[-1]):
                self._reached[proposal.id] = Reached(rank, point, run)
                return trial("stopped", took, dict(curve[-1].metrics), curve=tuple(curve))
        took = lost + pace * duration
        yield started + took
        metrics, objective = self._told(row), table.objective.name
        if objective not in metrics:
            after = "" if amount is None else f" after {proposal.fidelity}"
            return trial("failed", took, {}, error=f"the table has no {objective} of this genome{after}")
        if amount is not None:
            self._reached[proposal.id] = Reached(rank, amount, run)
        return trial("done", took, metrics, curve=tuple(curve))

    def _told(self, row: Mapping[str, float]) -> dict[str, float]:
        """What of a row a search may see."""
        return {name: row[name] for name in self._metrics if math.isfinite(row.get(name, math.nan))}

    def _run(self, rank: int, rng: np.random.Generator | None) -> int | None:
        """The training run that a trial tells, one that was measured; None: the mean of all."""
        if rng is None or not self._conditions.noisy:
            return None
        objective = self._table.objective
        runs = [k for k in range(objective.seeds) if math.isfinite(self._table.query(rank, seed=k))]
        return runs[rng.integers(len(runs))] if runs else 0

    def _amount(self, proposal: Proposal, rank: int) -> int | None:
        """After how much training a trial ends; None: at the end of its row's."""
        axis, fidelity = self._table.fidelities, proposal.fidelity
        if axis is None:
            return None
        if fidelity.unit != axis.unit:
            raise InvalidInput(
                f"a trial cannot spend {fidelity} on table {self._table.name!r}, which counts training in {axis.unit}"
            )
        return None if fidelity.amount >= self._table.lengths[rank] else fidelity.amount

    def _resumed(self, proposal: Proposal, rank: int) -> Reached | None:
        """How far the training had come that a trial goes on with."""
        axis = self._table.fidelities
        if proposal.resume_from is None or axis is None or not axis.resumable:
            return None
        reached = self._reached.get(proposal.resume_from)
        return reached if reached is not None and reached.rank == rank else None

    def _points(self, rank: int, amount: int | None, resumed: Reached | None) -> Iterator[int]:
        """The amounts of training at which a trial reports."""
        axis = self._table.fidelities
        if self._on_report is None or axis is None or not (axis.resumable and self._table.objective.curve):
            return
        last = self._table.lengths[rank] if amount is None else amount
        for point in axis.amounts:
            if point >= last:
                return
            if (resumed is None or point > resumed.amount) and math.isfinite(
                self._table.query(rank, fidelity=point)
            ):
                yield point

    def _fate(self, duration: float, rng: np.random.Generator) -> tuple[float, float, int]:
        """How many times as long a training takes, how long it was in vain before, and how many workers died of it."""
        conditions = self._conditions
        straggles, first, second, way, second_way = rng.random(5)
        pace = conditions.slowdown if straggles < conditions.stragglers else 1.0
        if first >= conditions.deaths:
            return pace, 0.0, 0
        if second >= conditions.deaths:
            return pace, pace * duration * way, 1
        return pace, pace * duration * (way + second_way), 2


class Reached(NamedTuple):
    """How far the training of a row had come, and which of its runs it was."""

    rank: int
    amount: int
    run: int | None


Course = Generator[float, None, Trial]
"""A trial on the clock."""
