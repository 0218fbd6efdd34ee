"""An evaluator that does what a proposal's origin says; it crosses to workers by value."""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np

import spaces
from nas.types import Context, Diverged, Fidelity, Measurement, Proposal

GENOME = spaces.load("hybrid").sample(np.random.default_rng(0))


def proposal(id: int, origin: str) -> Proposal:
    return Proposal(id, GENOME, Fidelity(10), seed=id, origin=origin)


class Scripted:
    def __init__(self) -> None:
        self.calls = 0

    def evaluate(self, proposal: Proposal, context: Context) -> dict[str, float]:
        self.calls += 1
        self.seed = proposal.seed
        return getattr(self, proposal.origin)(context)

    def done(self, context: Context) -> dict[str, float]:
        return {"loss": np.float32(0.5), "seed": self.seed, "calls": self.calls, "pid": os.getpid()}

    def on_splits(self, context: Context) -> dict[str, float]:
        return {f"{split}_loss": 1.0 for split in context.splits}

    def raises(self, context: Context) -> dict[str, float]:
        raise KeyError("no such\nblock")

    def raises_at_length(self, context: Context) -> dict[str, float]:
        raise ValueError("x" * 10_000)

    def out_of_memory(self, context: Context) -> dict[str, float]:
        raise MemoryError

    def nan(self, context: Context) -> dict[str, float]:
        return {"loss": float("nan"), "accuracy": 1.0}

    def no_numbers(self, context: Context) -> dict[str, float]:
        return {"loss": "low"}

    def diverges(self, context: Context) -> dict[str, float]:
        raise Diverged("loss is nan at step 3")

    def checks_deadline(self, context: Context) -> dict[str, float]:
        while True:
            time.sleep(0.02)
            context.check_deadline()

    def reports(self, context: Context) -> dict[str, float]:
        for step in range(1, 6):
            context.report(step, {"loss": np.float64(1 / step)})
        return {"loss": 0.2}

    def reports_slowly(self, context: Context) -> dict[str, float]:
        for step in range(1, 200):
            context.report(step, {"loss": 1 / step})
            time.sleep(0.05)
        return {"loss": 0.0}

    def writes(self, context: Context) -> dict[str, float]:
        context.folder.mkdir()
        (context.folder / "weights").write_text("1")
        return {}

    def threads(self, context: Context) -> dict[str, float]:
        return {name: int(os.environ[f"{name}_NUM_THREADS"]) for name in ("OMP", "MKL", "OPENBLAS")}

    def shows(self, context: Context) -> dict[str, float]:
        return {"gpu": context.device != "cpu"}

    def dies(self, context: Context) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    def exits(self, context: Context) -> dict[str, float]:
        sys.exit("a library calls exit")

    def interrupts(self, context: Context) -> dict[str, float]:
        raise KeyboardInterrupt

    def waits_to_be_killed(self, context: Context) -> dict[str, float]:
        """In its first run, waits; in its second, ends after the same reports and one more."""
        second = context.folder.exists()
        context.folder.mkdir(exist_ok=True)
        context.report(1, {"pid": os.getpid()})
        context.report(2, {"pid": os.getpid()})
        if not second:
            time.sleep(60)
        context.report(3, {"pid": os.getpid()})
        return {"loss": 0.5}

    def hangs(self, context: Context) -> dict[str, float]:
        context.report(1, {"loss": 2.0})
        while True:
            time.sleep(0.1)

    def meets(self, context: Context) -> dict[str, float]:
        """Ends when another trial of the same folder is there too."""
        context.folder.mkdir()
        while len(list(context.folder.parent.iterdir())) < 2:
            time.sleep(0.05)
            context.check_deadline()
        return {"loss": 0.5}

    def sleeps(self, context: Context) -> dict[str, float]:
        time.sleep(1)
        return {"loss": 0.5}


class Broken:
    """Can be pickled but not unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return _refuse, ()


def _refuse() -> None:
    raise FileNotFoundError("the data is not\non this machine")


class Reports:
    """An `on_report` that keeps what it was told, and says to stop at a step."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.told: list[tuple[int, Measurement]] = []
        self.stop_at = stop_at

    def __call__(self, trial_id: int, measurement: Measurement) -> bool:
        self.told.append((trial_id, measurement))
        return self.stop_at is None or measurement.step < self.stop_at

    @property
    def steps(self) -> list[int]:
        return [measurement.step for _, measurement in self.told]
