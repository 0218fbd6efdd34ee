"""The campaign: one loop over one engine that asks, runs, logs and tells."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.config import Amendment, Config
from nas.draws import check_draws
from nas.result import Result
from nas.setup import Setup, configure, make_engine, prepare
from nas.store import Amended, Concluded, Confirmed, Journal, Opened, RunDir, versions
from nas.store.records import Record
from nas.types import (
    Ended,
    Engine,
    Event,
    Finished,
    InvalidInput,
    Measured,
    Measurement,
    Proposal,
    Proposed,
    Trial,
)
from nas.user_code import user_folders
from spaces import InvalidGenome
from spaces.blame import reason
from spaces.fingerprint import fingerprint

Observe = Callable[[Record, bool], None]

TABLE_SECONDS = 5.0
"""The trials table is written again at most this often while a campaign runs."""

logger = logging.getLogger(__name__)


def run(
    campaign: str | Path | Mapping[str, Any] | Config,
    *,
    dir: str | Path | None = None,
    workers: int | None = None,
    engine: str | None = None,
    address: str | None = None,
    observe: Observe = lambda record, replayed: None,
) -> Result:
    """Runs a campaign to its end, or goes on with it where its folder says that it stopped.

    Args:
        campaign: a campaign file, or its contents as a mapping or a configuration.
        dir: the run folder, default runs/NAME.
        workers, engine: in place of what the campaign says.
        address: of a Ray cluster to join; default: Ray is started on this machine.
        observe: is called with every record as it is logged, and whether it is one of an earlier start that is
            told again.

    Raises:
        InvalidInput: the campaign cannot be run as asked; nothing was started.
        RuntimeError: no worker can be had or all die, the strategy fails, or the best cannot be trained again.
        KeyboardInterrupt: as it came; all that had finished is in the folder, and the same call goes on.
    """
    config = configure(campaign, workers=workers, engine=engine)
    folder = Path("runs") / config.name if dir is None else dir
    return execute(prepare(config, folder), folder, address=address, observe=observe)


def execute(
    setup: Setup,
    dir: str | Path,
    *,
    address: str | None = None,
    observe: Observe = lambda record, replayed: None,
) -> Result:
    """Runs a campaign that was prepared, in a run folder; see `run`."""
    run_dir, amendments = RunDir.create_or_open(
        dir, setup.config, setup.data, user_folders(setup.config), fingerprint(setup.space)
    )
    with run_dir.journal() as journal:
        loop = _Campaign(setup, run_dir, journal, observe)
        try:
            return loop.run(address, amendments)
        except InvalidInput:
            if not loop.records:
                run_dir.remove()
            raise


class _Campaign:
    """One run of the loop."""

    def __init__(self, setup: Setup, run_dir: RunDir, journal: Journal, observe: Observe) -> None:
        self.setup = setup
        self.config = setup.config
        self.strategy = setup.strategy
        self.run_dir = run_dir
        self.journal = journal
        self.observe = observe
        self.records: list[Record] = []
        self.asked: set[object] = set()
        self.made = 0
        self.running: dict[int, Proposal] = {}
        self.checkpoints: set[int] = set()
        self.reports: dict[int, Measured] = {}
        self.table_due = 0.0
        if journal.repaired:
            logger.warning(
                "%s ended in an unfinished line of %d bytes, cut off", journal.path, journal.repaired
            )
        for record in journal.records:
            self._take(record, replayed=True)

    def run(self, address: str | None, amendments: Sequence[Amendment]) -> Result:
        """Goes on until the budget is spent and the best is confirmed."""
        try:
            if self._is_over():
                self._amend(amendments)
            else:
                self._run(address, amendments)
        finally:
            self._write_table()
        return self.result

    def _amend(self, amendments: Sequence[Amendment]) -> None:
        """Logs what changes, and then freezes it: a driver that was killed between the two has logged it already."""
        new = [Amended(change.key, change.old, change.new) for change in amendments]
        self.log([change for change in new if change not in self.journal.records], sync=True)
        if amendments:
            self.run_dir.freeze(self.config)

    def _run(self, address: str | None, amendments: Sequence[Amendment]) -> None:
        # First, so that what no network meets and what the workers cannot be had with is not kept.
        check_draws(self.setup)
        engine = make_engine(self.setup, self._report, self.run_dir.path / "trials", address)
        try:
            self._amend(amendments)
            name = self.config.workers.engine
            self.log([Opened(time.time(), versions(), engine.workers, name, os.getpid())], sync=True)
            exhausted = self._search(engine)
            if self.result.done:
                self._confirm(engine)
            best = self.result.best().id if self.result.done else None
            self.log([Concluded(best, "exhausted" if exhausted else "budget", time.time())], sync=True)
        finally:
            engine.close()

    @property
    def result(self) -> Result:
        return Result(self.config, self.records, self.run_dir.path)

    def _is_over(self) -> bool:
        result = self.result
        spent = len(result.trials) >= self.config.budget.trials
        return result.conclusion is not None and (spent or result.conclusion.reason == "exhausted")

    def _search(self, engine: Engine) -> bool:
        """Runs trials until the budget is spent, or the strategy has no more to propose: whether it has not.

        First come those that were running when the log ended; one that was told to stop is not run again.
        """
        for proposal in list(self.running.values()):
            last = self.reports.get(proposal.id)
            if last is not None and not last.proceed:
                stopped = Trial(proposal, "stopped", last.measurement.metrics, (last.measurement,))
                self.log([Ended(self._checked(stopped))], sync=True)
            else:
                engine.submit(proposal)
        budget = self.config.budget.trials
        exhausted = False
        while True:
            while not exhausted and self.made < budget and len(self.running) < engine.workers:
                asked, exhausted = self._ask(min(engine.workers - len(self.running), budget - self.made))
                if not asked:
                    if not exhausted and not self.running:
                        name = self.config.strategy.name
                        raise RuntimeError(f"strategy {name!r} proposes nothing while nothing runs")
                    break
                self.log([Proposed(proposal) for proposal in asked], sync=False)
                for proposal in asked:
                    engine.submit(proposal)
            if not self.running:
                return exhausted
            ended = [Ended(self._checked(trial)) for trial in engine.poll(timeout=1.0)]
            if ended:
                self.log(ended, sync=True)
                self._remove_checkpoints()
                self._refresh_table()

    def _remove_checkpoints(self) -> None:
        """Takes away the checkpoints that no trial goes on from, of a strategy that says which may be resumed.

        On a cluster without a shared folder, those of other nodes stay there.
        """
        resumable = getattr(self.strategy, "resumable", None)
        if resumable is None:
            return
        needed = {proposal.resume_from for proposal in self.running.values()} | resumable()
        for id in self.checkpoints - needed:
            self.run_dir.remove_checkpoint(id)
        self.checkpoints &= needed

    def _ask(self, n: int) -> tuple[list[Proposal], bool]:
        """Proposals of the strategy, and whether it will make no more; wrong ones never reach the log.

        Raises:
            RuntimeError: the strategy raises, or proposes what it must not.
        """
        name = self.config.strategy.name
        try:
            asked = self.strategy.ask(n)
        except Finished:
            return [], True
        except Exception as error:
            raise RuntimeError(f"strategy {name!r} failed in ask: {reason(error)}") from error
        for proposal, expected in zip(asked, range(self.made, self.made + n), strict=False):
            if proposal.id != expected:
                raise RuntimeError(f"strategy {name!r} proposed id {proposal.id}, but the next is {expected}")
            if _identity(proposal) in self.asked:
                raise RuntimeError(f"strategy {name!r} proposed again what it had: {proposal.genome}")
            try:
                self.setup.space.check(proposal.genome)
            except InvalidGenome as error:
                raise RuntimeError(
                    f"strategy {name!r} proposed what is no genome of the space: {error}"
                ) from error
        if len(asked) > n or len({_identity(proposal) for proposal in asked}) < len(asked):
            raise RuntimeError(
                f"strategy {name!r} was asked for {n} different proposals and made {len(asked)}"
            )
        return asked, False

    def _checked(self, trial: Trial) -> Trial:
        """A trial with the cost of its genome, if told; failed, where it was done without measuring an objective."""
        if self.setup.tells_costs:
            cost = dataclasses.asdict(self.setup.space.cost(trial.proposal.genome))
            trial = dataclasses.replace(trial, cost=cost)
        missing = [o.metric for o in self.config.objectives if o.metric not in trial.merits]
        if trial.status != "done" or not missing:
            return trial
        measured = ", ".join(trial.metrics) or "nothing"
        error = f"did not measure {', '.join(missing)}, but {measured}"
        return dataclasses.replace(trial, status="failed", metrics={}, error=error)

    def _report(self, trial_id: int, measurement: Measurement) -> bool:
        """Takes a report of a running trial; whether the trial goes on."""
        last = self.reports.get(trial_id)
        if trial_id not in self.running or (last is not None and measurement.step <= last.measurement.step):
            return True  # of a run on fresh seeds, or told before the driver was started again
        proceed = self.strategy.proceed(trial_id, measurement)
        self.log([Measured(trial_id, measurement, proceed)], sync=False)
        return proceed

    def _confirm(self, engine: Engine) -> None:
        """Trains the best again in full on fresh seeds, and measures those, and nothing else ever, on the test split.

        Seeds on which it was done before are not tried again.

        Raises:
            RuntimeError: it failed on every seed.
        """
        best = self.result.best()
        seeds = range(self.config.seed + 1, self.config.seed + 1 + self.config.budget.confirm)
        known = {run.seed for run in self.result.confirmations if run.status == "done"}
        waiting = {-seed: seed for seed in seeds if seed not in known}
        for id, seed in waiting.items():
            proposal = dataclasses.replace(
                best.proposal, id=id, seed=seed, fidelity=self.config.budget.fidelity, resume_from=None
            )
            engine.submit(proposal, splits=("valid", "test"))
        while waiting:
            runs = [_confirmed(best.id, trial) for trial in engine.poll(timeout=1.0)]
            if runs:
                self.log(runs, sync=True)
                for run in runs:
                    del waiting[-run.seed]
        failed = [run for run in self.result.confirmations if run.status != "done"]
        if failed and len(failed) == len(self.result.confirmations):
            raise RuntimeError(
                f"trial {best.id} is the best, but failed on every fresh seed: {failed[0].error}"
            )

    def log(self, records: Sequence[Record], sync: bool) -> None:
        """Appends records to the log and lets everyone know of them."""
        if records:
            self.journal.append(records, sync=sync)
        for record in records:
            self._take(record, replayed=False)

    def _take(self, record: Record, replayed: bool) -> None:
        """Lets everyone know of a record that is in the log."""
        self.records.append(record)
        if isinstance(record, Event):
            self.strategy.tell(record)
        if isinstance(record, Proposed):
            self.made += 1
            self.asked.add(_identity(record.proposal))
            self.running[record.proposal.id] = record.proposal
        elif isinstance(record, Measured):
            self.reports[record.trial_id] = record
        elif isinstance(record, Ended):
            del self.running[record.trial.id]
            self.checkpoints.add(record.trial.id)
        self.observe(record, replayed)

    def _refresh_table(self) -> None:
        """Writes the trials table, but spends less than a tenth of the time on it."""
        if time.monotonic() >= self.table_due:
            started = time.monotonic()
            self._write_table()
            self.table_due = time.monotonic() + max(TABLE_SECONDS, 10 * (time.monotonic() - started))

    def _write_table(self) -> None:
        """Writes the trials table. It only repeats the log, so a failure is told and nothing ends by it."""
        from nas.store.parquet import write_trials

        try:
            write_trials(self.run_dir.trials, self.result.trials, self.config.objectives)
        except OSError as error:
            logger.warning("%s could not be written: %s", self.run_dir.trials, error)


def _identity(proposal: Proposal) -> object:
    """What a campaign never runs twice."""
    return (proposal.genome.digest, proposal.fidelity, proposal.seed, proposal.resume_from)


def _confirmed(trial_id: int, trial: Trial) -> Confirmed:
    return Confirmed(
        trial_id,
        trial.proposal.seed,
        trial.status,
        trial.metrics,
        trial.error,
        trial.worker,
        trial.started,
        trial.duration,
    )
