"""Runs one proposal through an evaluator and makes a trial of whatever happens: what all engines share."""

from __future__ import annotations

import math
import os
import pickle
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from nas.types import (
    Context,
    Diverged,
    Evaluator,
    Measurement,
    OnReport,
    Proposal,
    Split,
    Status,
    TooSlow,
    Trial,
    TrialStopped,
    floats,
)
from spaces.blame import told, where
from spaces.lookup import importable

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

LONGEST_ERROR = 500
"""Characters that the reason of a failed trial may have."""


def run_trial(
    evaluator: Evaluator,
    proposal: Proposal,
    seconds: float,
    on_report: OnReport,
    worker: str,
    device: str,
    folder: Path | None,
    splits: tuple[Split, ...] = ("valid",),
) -> Trial:
    """The trial that `proposal` makes, run here and now; its `cost` is left for the campaign to fill.

    "done" where the evaluator returned finite metrics; "stopped", with the metrics reported last, where
    `on_report` answered False; "failed", with the reason, where a metric is not finite or anything was raised,
    `TooSlow` and `MemoryError` included. Only `KeyboardInterrupt` passes through.

    Args:
        seconds: wall time until the deadline of the trial.
        worker: the name that the trial keeps of where it ran.
        folder: for the files of this trial; the evaluator makes it when it has any.
        splits: the parts of the data to measure on.
    """
    started, clock = time.time(), time.monotonic()
    curve: list[Measurement] = []

    def report(step: int, metrics: Mapping[str, float]) -> None:
        measurement = Measurement(int(step), floats(metrics))
        curve.append(measurement)
        if not on_report(proposal.id, measurement):
            raise TrialStopped

    def check_deadline() -> None:
        if time.monotonic() > context.deadline:
            raise TooSlow

    context = Context(
        proposal.id,
        folder,
        device,
        clock + seconds,
        report,
        check_deadline,
        splits,
        proposal.seed,
        proposal.fidelity.amount,
    )
    status: Status = "failed"
    metrics: Mapping[str, float] = {}
    error: str | None = None
    try:
        measured = floats(evaluator.evaluate(proposal, context))
        if infinite := [f"{name} = {value}" for name, value in measured.items() if not math.isfinite(value)]:
            error = f"metrics that are not finite: {', '.join(infinite)}"[:LONGEST_ERROR]
        else:
            status, metrics = "done", measured
    except TrialStopped:
        status, metrics = "stopped", curve[-1].metrics if curve else {}
    except TooSlow:
        error = too_slow(seconds)
    except Diverged as diverged:
        error = one_line(f"diverged: {diverged}")
    except (
        Exception,
        SystemExit,
    ) as raised:  # a library that calls sys.exit ends its trial, not the campaign
        error = reason(raised)
    duration = time.monotonic() - clock
    return Trial(
        proposal,
        status,
        metrics,
        tuple(curve),
        started=started,
        duration=duration,
        worker=worker,
        error=error,
    )


class TrialRunner:
    """A warm worker process: holds the evaluator, runs trials, and meanwhile answers for them on another thread.

    Args:
        seconds, device, folder: as of `run_trial`, but the folder is that of all trials.
        threads: how many the evaluator may compute on.
    """

    def __init__(self, seconds: float, device: str, folder: Path | None, threads: int) -> None:
        self.name, self.seconds, self.device, self.folder = worker_name(), seconds, device, folder
        self.running: tuple[int | None, list[Measurement]] = (None, [])
        self.stopped: int | None = None
        # Read by libraries when they are first imported, which making the evaluator does.
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))

    def load(self, pickled: bytes, folders: Sequence[str] = ()) -> tuple[str, str | None]:
        """Makes the evaluator, of modules in these folders too; gives the name of this worker, and the reason if that
        failed."""
        for folder in folders:
            importable(folder)
        try:
            self.evaluator: Evaluator = pickle.loads(pickled)
        except Exception as error:
            return self.name, reason(error)
        return self.name, None

    def run(self, proposal: Proposal, splits: tuple[Split, ...]) -> Trial:
        """The trial of a proposal, which its id names to `reports` and `stop`."""
        curve: list[Measurement] = []
        self.running, self.stopped = (proposal.id, curve), None

        def on_report(trial_id: int, measurement: Measurement) -> bool:
            curve.append(measurement)
            return trial_id != self.stopped

        folder = trial_folder(self.folder, proposal)
        return run_trial(
            self.evaluator, proposal, self.seconds, on_report, self.name, self.device, folder, splits
        )

    def reports(self, trial_id: int, taken: int) -> list[Measurement]:
        """What a trial reported after the first `taken`; nothing if it does not run here any more, or yet."""
        running, curve = self.running
        return curve[taken:] if running == trial_id else []

    def stop(self, trial_id: int) -> None:
        """Lets the next report of a trial end it, if it still runs."""
        self.stopped = trial_id


def trial_folder(folder: Path | None, proposal: Proposal) -> Path | None:
    """Where the files of one trial go, in the folder of all; a trial that resumes finds the other beside it."""
    return folder and folder / str(proposal.id)


def worker_name() -> str:
    """How trials name the process that runs them: "host:pid"."""
    return f"{socket.gethostname()}:{os.getpid()}"


def too_slow(seconds: float) -> str:
    """The reason of a trial that went on for longer than it may."""
    return f"too slow: more than {seconds:g} s"


def reason(error: BaseException) -> str:
    """One line on an exception: its type and message, and where it was raised, as "(file.py:12 in name)"."""
    place = f" {where(error)}".rstrip()
    return one_line(told(error), LONGEST_ERROR - len(place)) + place


def one_line(text: str, longest: int = LONGEST_ERROR) -> str:
    """A text of several lines as one, cut to at most `longest` characters."""
    text = " ".join(text.split())
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
