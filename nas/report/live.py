"""Progress of a campaign while it runs: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import time
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nas.config import Config
from nas.display import constraint, duration, number, short
from nas.report.data import first_line, strategy
from nas.store import Amended, Concluded, Confirmed, Opened
from nas.store.records import Record
from nas.types import Ended, Measured, Proposal, Proposed, Trial, placing

LATEST = 5

logger = logging.getLogger("nas")
"""What strategies, engines and evaluators have to say beside the records."""


class Progress:
    """Follows the records of a campaign; a context manager, and the `observe` of `nas.campaign.run`."""

    def __init__(self, config: Config, out: Console) -> None:
        self.config = config
        self.out = out
        self.aim = next(objective for objective in config.objectives if objective.bound is None)
        self.running: dict[int, tuple[Proposal, float]] = {}
        self.steps: dict[int, int] = {}
        self.ended: list[Trial] = []
        self.here = 0
        self.seconds: float | None = None
        """For how long the trials that ended in this run took together."""
        self.workers = 1
        self.best: Trial | None = None
        self.versions: dict[str, str] = {}
        self.confirmed: dict[int, int] = {}
        self.confirming = False
        self.live = (
            Live(get_renderable=self.view, console=out, refresh_per_second=4) if out.is_terminal else None
        )
        self.told = _Told(self)
        self.level = logger.level

    def __enter__(self) -> Progress:
        self.level = logger.level
        logger.addHandler(self.told)
        logger.setLevel(logging.INFO)
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()
        logger.removeHandler(self.told)
        logger.setLevel(self.level)

    def __call__(self, record: Record, replayed: bool) -> None:
        if isinstance(record, Proposed):
            self.running[record.proposal.id] = (record.proposal, time.monotonic())
        elif isinstance(record, Measured):
            self.steps[record.trial_id] = record.measurement.step
        elif isinstance(record, Ended):
            self._ended(record.trial, replayed)
        elif isinstance(record, Opened):
            if not replayed:
                self._opened(record)
            self.versions = dict(record.versions)
        elif isinstance(record, Amended) and not replayed:
            self.say(f"{record.key} is now {record.new}, was {record.old}.")
        elif isinstance(record, Confirmed):
            if record.status == "done":
                self.confirmed[record.trial_id] = self.confirmed.get(record.trial_id, 0) + 1
            if not replayed:
                self._confirmed(record)
        elif isinstance(record, Concluded):
            self.confirming = False

    def _opened(self, record: Opened) -> None:
        self.workers = record.workers
        if self.ended:
            self.say(f"Going on: {len(self.ended)} of {self.config.budget.trials} trials have ended before.")
        for name, version in record.versions.items():
            if self.versions.get(name, version) != version:
                self.say(
                    f"Note: {name} is {version}, but was {self.versions[name]} when the last trials ran."
                )
        self.say(f"{record.workers} worker{'s' if record.workers > 1 else ''} on {record.engine}.")
        name, because = strategy(self.config)
        if because:
            self.say(f"Strategy {name}: {because}.")
        self._announce()

    def _confirmed(self, record: Confirmed) -> None:
        if record.status == "done":
            said = f"{self.aim.metric} {number(record.metrics.get(self.aim.metric))}"
        else:
            said = f"failed: {first_line(record.error)}"
        self.say(f"Trial {record.trial_id} on fresh seed {record.seed}: {said}")

    def _announce(self) -> None:
        """Says when the last part begins."""
        if (
            len(self.ended) >= self.config.budget.trials
            and self.config.budget.confirm
            and self.best is not None
        ):
            seeds = self.config.budget.confirm - self.confirmed.get(self.best.id, 0)
            if seeds <= 0:  # all before: more trials were asked for, and none is better
                return
            self.confirming = True
            self.say(f"Training the best again on {seeds} fresh seed{'s' if seeds > 1 else ''}.")

    def _ended(self, trial: Trial, replayed: bool) -> None:
        self.running.pop(trial.id, None)
        self.steps.pop(trial.id, None)
        self.ended.append(trial)
        if trial.status == "done" and (self.best is None or self._placing(trial) < self._placing(self.best)):
            self.best = trial
        if replayed:
            return
        self.here += 1
        self.seconds = (self.seconds or 0.0) + trial.duration
        if self.live is None:
            self.say(f"[{len(self.ended)}/{self.config.budget.trials}] {self.line(trial)}{self.tail()}")
        self._announce()

    def say(self, line: str) -> None:
        self.out.print(line, soft_wrap=True)

    def _placing(self, trial: Trial) -> tuple[int, float, float, int]:
        return placing(self.config.objectives, trial)

    def line(self, trial: Trial) -> str:
        """One ended trial in a line."""
        if trial.status == "failed":
            return f"trial {trial.id} failed: {first_line(trial.error)} ({trial.proposal.origin})"
        value = number(trial.merits.get(self.aim.metric))
        parameters = trial.cost.get("parameters")
        cost = "" if parameters is None else f"{short(parameters)} parameters, "
        broken = [constraint(each) for each in self.config.objectives if each.violation(trial.merits)]
        return (
            f"trial {trial.id} {trial.status}{self._after(trial)}: {self.aim.metric} {value}, {cost}"
            f"{trial.duration:.1f} s ({trial.proposal.origin})"
            + (f", not {', '.join(broken)}" if broken else "")
        )

    def _after(self, trial: Trial) -> str:
        """For how long a trial was trained, where trials differ in it."""
        return f" after {trial.proposal.fidelity}" if self.config.budget.rungs else ""

    def tail(self) -> str:
        best = "" if self.best is None else f"; best {number(self.best.merits.get(self.aim.metric))}"
        left = self.left()
        return best + ("" if left is None else f"; {duration(left)} left")

    def left(self) -> float | None:
        """Seconds until the last trial ends, if all take as long as those of this run do; None before its first.

        What came before the first, such as Ray's start, is not counted.
        """
        if self.seconds is None:
            return None
        left = max(0, self.config.budget.trials - len(self.ended))
        return self.seconds / self.here * left / max(1, min(self.workers, left))

    def view(self) -> RenderableType:
        """The live view: a bar, the counts, the best, what runs, and what ended last."""
        total = self.config.budget.trials
        failed = sum(trial.status == "failed" for trial in self.ended)
        done = len(self.ended) - failed
        head = Table.grid(padding=(0, 1))
        facts = f"{len(self.ended)}/{total}  {done} done, {len(self.running)} running, {failed} failed"
        head.add_row(Text(self.config.name, "bold"), ProgressBar(total, len(self.ended), width=30), facts)
        parts = [
            f"{60 * self.workers * self.here / self.seconds:.1f} trials/min" if self.seconds else "starting"
        ]
        left = self.left()
        if self.confirming:
            done = self.confirmed.get(self.best.id, 0) if self.best is not None else 0
            parts.append(f"training the best again, {done} of {self.config.budget.confirm} fresh seeds done")
        elif left is not None:
            parts.append(f"{duration(left)} left")
        if self.best is not None:
            value = number(self.best.merits.get(self.aim.metric))
            parts.insert(
                0, f"best {self.aim.metric} {value} (trial {self.best.id}, {self.best.proposal.origin})"
            )
        lines: list[RenderableType] = [head, Text("; ".join(parts))]
        for proposal, since in self.running.values():
            steps = self.steps.get(proposal.id, 0)
            of = f" of {proposal.fidelity}" if self.config.budget.units else ""
            shown = f"  {proposal.id} {proposal.origin}: step {steps}{of}"
            lines.append(Text(f"{shown}, {time.monotonic() - since:.0f} s", "cyan"))
        for trial in self.ended[: -LATEST - 1 : -1]:
            lines.append(Text(f"  {self.line(trial)}", "red" if trial.status == "failed" else "dim"))
        return Group(*lines)


class _Told(logging.Handler):
    """Says what is logged among the lines of progress, above the live view."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        self.progress.say(record.getMessage())
