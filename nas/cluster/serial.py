"""The engine without workers: one trial after the other in this process, for debugging and small runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

from nas.cluster.worker import run_trial, trial_folder, worker_name
from nas.types import Evaluator, OnReport, Proposal, Split, Trial


class SerialEngine:
    """Runs proposals in the order they came, each one inside a call of `poll`.

    `seconds` of wall time is what a trial may take, as far as its evaluator checks the deadline. A report
    reaches `on_report` at once, and an answer of False ends the trial there. In `folder`, if one is given,
    every trial has a folder of its own, named by its id.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        seconds: float,
        on_report: OnReport,
        device: str = "cpu",
        folder: Path | None = None,
    ) -> None:
        self.workers = 1
        self._evaluator, self._seconds, self._on_report = evaluator, seconds, on_report
        self._device, self._folder = device, folder
        self._queue: deque[tuple[Proposal, tuple[Split, ...]]] = deque()

    def submit(self, proposal: Proposal, splits: tuple[Split, ...] = ("valid",)) -> None:
        """Queues a proposal, to be measured on these splits; `poll` runs it."""
        self._queue.append((proposal, splits))

    def poll(self, timeout: float) -> Sequence[Trial]:
        """Runs the next proposal to its end, whatever `timeout` says, and gives its trial; none if none wait."""
        if not self._queue:
            return []
        proposal, splits = self._queue.popleft()
        folder = trial_folder(self._folder, proposal)
        trial = run_trial(
            self._evaluator,
            proposal,
            self._seconds,
            self._on_report,
            worker_name(),
            self._device,
            folder,
            splits,
        )
        return [trial]

    def close(self) -> None:
        """Forgets the proposals that wait."""
        self._queue.clear()

    def __enter__(self) -> SerialEngine:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
