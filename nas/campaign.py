"""The campaign: one loop over one engine that asks, runs, logs and tells."""

from __future__ import annotations

import dataclasses
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge

import nas.search as search
from nas.config import Config, Section, call_options, importable, load, parse, resolve, to_dict
from nas.result import Result
from nas.store import Amended, Concluded, Journal, Opened, RunDir, versions
from nas.store.records import Record
from nas.types import (
    JSON,
    Ended,
    Engine,
    Evaluator,
    Event,
    Finished,
    InvalidInput,
    Measured,
    Measurement,
    OnReport,
    Proposal,
    Proposed,
    Strategy,
    Trial,
)
from spaces import SPACES, Grammar, GrammarSpace, InvalidSpace, Space, suggest

Observe = Callable[[Record, bool], None]

PLAN_DRAWS = 4
"""How many genomes a plan is estimated from."""

TABLE_SECONDS = 5.0
"""The trials table is written again at most this often while a campaign runs."""


@dataclass(frozen=True)
class Setup:
    """A configuration with every default filled in, and what it names: checked before any work starts."""

    config: Config
    space: Space
    evaluator: Evaluator
    strategy: Strategy


def prepare(config: Config) -> Setup:
    """Resolves every name and validates every option of a campaign, and reads the task's data.

    Raises:
        InvalidInput: whatever the campaign asks for cannot be had; the message names the key.
    """
    from nas.training.evaluator import TrainingEvaluator
    from nas.training.recipe import Recipe
    from nas.training.tasks import TASKS

    task_type = resolve(config.task.name, TASKS, "task")
    task_options = call_options(task_type, config.task.options, "task")
    task = task_type(**task_options)
    recipe_options = call_options(Recipe, config.recipe, "recipe")
    try:
        space, space_options = _space(config.space, task)
        strategy_options = search.options(config.strategy.name, config.strategy.options)
        strategy = search.load(
            config.strategy.name,
            space=space,
            objectives=config.objectives,
            seed=config.seed,
            fidelity=config.budget.fidelity,
            **strategy_options,
        )
    except InvalidSpace as error:
        raise InvalidInput(str(error)) from error
    known = {*task.metrics, "parameters", "active_parameters", "flops_per_token", "state_bytes"}
    for i, objective in enumerate(config.objectives):
        if objective.metric not in known:
            raise InvalidInput(
                f"'objectives[{i}].metric' is {objective.metric!r}, which task {config.task.name!r} does not measure"
                f"{suggest(objective.metric, known)}"
            )
    resolved = dataclasses.replace(
        config,
        space=Section(config.space.name, space_options),
        task=Section(config.task.name, task_options),
        strategy=Section(config.strategy.name, strategy_options),
        recipe=recipe_options,
    )
    # By way of plain data, so that a configuration equals the one that was frozen in a run folder.
    resolved = parse(to_dict(resolved))
    return Setup(resolved, space, TrainingEvaluator(space, task, Recipe(**recipe_options)), strategy)


def _space(section: Section, task: Any) -> tuple[Space, dict[str, Any]]:
    """The space of a campaign, bound to what its task reads and predicts, and its options in full."""
    found = resolve(section.name, SPACES, "space")
    factory = GrammarSpace if isinstance(found, Grammar) else found
    rest = {key: value for key, value in section.options.items() if key != "width"}
    options = call_options(factory, rest, "space", given=("grammar", "io", "source"), beside=("width",))
    chosen = {key: value for key, value in section.options.items() if key == "width"}
    width = call_options(_residual_stream, chosen, "space")["width"]
    if isinstance(found, Grammar):
        space: Space = GrammarSpace(found, task.io(width), source=section.name, **options)
    else:
        space = found(io=task.io(width), **options)
    return space, {"width": width, **{key: value for key, value in options.items() if value is not None}}


def _residual_stream(width: Annotated[int, Ge(1)] = 128) -> None:
    """The signature is the option that every space of a campaign has, for its input and output."""


def run(
    campaign: str | Path | Config,
    *,
    dir: str | Path | None = None,
    workers: int | None = None,
    engine: str | None = None,
    address: str | None = None,
    observe: Observe = lambda record, replayed: None,
) -> Result:
    """Runs a campaign to its end, or goes on with it where its folder says that it stopped.

    Args:
        campaign: a campaign file, or its contents.
        dir: the run folder, default runs/NAME.
        workers, engine: in place of what the campaign says.
        address: of a Ray cluster to join; default: Ray is started on this machine.
        observe: is called with every record as it is logged, and whether it is one of an earlier start that is
            told again.

    Raises:
        InvalidInput: the campaign cannot be run as asked; nothing was started.
        RuntimeError: no worker can be had, or all die.
        KeyboardInterrupt: as it came; all that had finished is in the folder, and the same call goes on.
    """
    setup = prepare(configure(campaign, workers=workers, engine=engine))
    return execute(setup, dir or Path("runs") / setup.config.name, address=address, observe=observe)


def execute(
    setup: Setup,
    dir: str | Path,
    *,
    address: str | None = None,
    observe: Observe = lambda record, replayed: None,
) -> Result:
    """Runs a campaign that was prepared, in a run folder; see `run`."""
    run_dir, amendments = RunDir.create_or_open(dir, setup.config)
    with run_dir.journal() as journal:
        loop = _Campaign(setup, run_dir, journal, observe)
        if amendments:
            loop.log([Amended(change.key, change.old, change.new) for change in amendments], sync=True)
            run_dir.freeze(setup.config)
        return loop.run(address)


def configure(
    campaign: str | Path | Config, *, workers: int | None = None, engine: str | None = None
) -> Config:
    """The configuration of a campaign file with what the caller changes; its folder becomes importable.

    Raises:
        InvalidInput: the file or a change is not valid.
    """
    if isinstance(campaign, Config):
        config = campaign
    else:
        importable(Path(campaign).resolve().parent)
        config = load(campaign)
    importable(Path.cwd())
    changes: dict[str, Any] = {}
    if workers is not None:
        changes["count"] = workers
    if engine is not None:
        changes["engine"] = engine
    if changes:
        plain = to_dict(config)
        config = parse({**plain, "workers": {**plain["workers"], **changes}})
    return config


def plan(config: Config) -> JSON:
    """What a campaign would do: its configuration in full, the size of its space, the time and memory of a trial.

    Some genomes are drawn from the space, built, and trained for a few steps on this machine; nothing is kept.

    Raises:
        InvalidInput: the campaign cannot be run as asked.
    """
    from nas.training.evaluator import TrainingEvaluator, estimate

    setup = prepare(config)
    config = setup.config
    rng = np.random.default_rng(config.seed)
    fidelity = config.budget.fidelity
    drawn = [Proposal(k, setup.space.sample(rng), fidelity, config.seed) for k in range(PLAN_DRAWS)]
    assert isinstance(setup.evaluator, TrainingEvaluator)
    rows = estimate(setup.evaluator, drawn)
    seconds = [row["seconds"] for row in rows]
    workers = config.workers.count or max(1, int((os.cpu_count() or 1) / config.workers.cpus))
    workers = 1 if config.workers.engine == "serial" else workers
    mean = sum(seconds) / len(seconds)
    return {
        "config": to_dict(config),
        "space": {
            "name": setup.space.name,
            "genomes": setup.space.size,
            "unavailable": list(getattr(setup.space, "unavailable", ())),
        },
        "trial": {
            "drawn": len(rows),
            "seconds": mean,
            "slowest": max(seconds),
            "bytes": max(row["peak_bytes"] for row in rows),
            "parameters": max(row["parameters"] for row in rows),
        },
        "workers": workers,
        "seconds": mean
        * (math.ceil(config.budget.trials / workers) + math.ceil(config.budget.confirm / workers)),
    }


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
        self.made = 0
        self.running: dict[int, Proposal] = {}
        self.table_due = 0.0
        for record in journal.records:
            self._take(record, replayed=True)

    def run(self, address: str | None) -> Result:
        """Goes on until the budget is spent and the best is confirmed."""
        if self._is_over():
            self._write_table()
            return self.result
        engine = make_engine(self.setup, self._report, self.run_dir.path / "trials", address)
        try:
            spec = self.config.workers
            opened = Opened(time.time(), versions(), engine.workers, spec.engine, os.getpid())
            self.log([opened], sync=True)
            self._search(engine)
            self._conclude(engine)
        finally:
            engine.close()
            self._write_table()
        return self.result

    @property
    def result(self) -> Result:
        return Result(self.config, self.records, self.run_dir.path)

    def _is_over(self) -> bool:
        result = self.result
        return len(result.trials) >= self.config.budget.trials and (
            result.conclusion is not None or not result.done or not self.config.budget.confirm
        )

    def _search(self, engine: Engine) -> None:
        """Runs trials until the budget is spent; first those that were running when the log ended."""
        for proposal in self.running.values():
            engine.submit(proposal)
        budget = self.config.budget.trials
        finished = False
        while True:
            while not finished and self.made < budget and len(self.running) < engine.workers:
                try:
                    asked = self.strategy.ask(min(engine.workers - len(self.running), budget - self.made))
                except Finished:
                    finished = True
                    break
                if not asked:
                    break
                self.log([Proposed(proposal) for proposal in asked], sync=False)
                for proposal in asked:
                    engine.submit(proposal)
            if not self.running:
                return
            ended = [Ended(self._priced(trial)) for trial in engine.poll(timeout=1.0)]
            if ended:
                self.log(ended, sync=True)
                self._refresh_table()

    def _priced(self, trial: Trial) -> Trial:
        cost = self.setup.space.cost(trial.proposal.genome)
        return dataclasses.replace(trial, cost=dataclasses.asdict(cost))

    def _report(self, trial_id: int, measurement: Measurement) -> bool:
        """Takes a report of a running trial; whether the trial goes on."""
        if trial_id not in self.running:
            return True
        proceed = self.strategy.proceed(trial_id, measurement)
        self.log([Measured(trial_id, measurement, proceed)], sync=False)
        return proceed

    def _conclude(self, engine: Engine) -> None:
        """Trains the best again on fresh seeds, and measures those, and nothing else ever, on the test split."""
        number = self.config.budget.confirm
        if not number or not self.result.done or self.result.conclusion is not None:
            return
        best = self.result.best()
        proposals = [
            dataclasses.replace(best.proposal, id=-1 - i, seed=self.config.seed + 1 + i)
            for i in range(number)
        ]
        for proposal in proposals:
            engine.submit(proposal, splits=("valid", "test"))
        confirmed: dict[int, Trial] = {}
        while len(confirmed) < number:
            for trial in engine.poll(timeout=1.0):
                confirmed[trial.proposal.seed] = trial
        done = {
            seed: confirmed[seed].metrics for seed in sorted(confirmed) if confirmed[seed].status == "done"
        }
        self.log([Concluded(best.id, tuple(done), tuple(done.values()), time.time())], sync=True)

    def log(self, records: Sequence[Record], sync: bool) -> None:
        """Appends records to the log and lets everyone know of them."""
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
            self.running[record.proposal.id] = record.proposal
        elif isinstance(record, Ended):
            del self.running[record.trial.id]
        self.observe(record, replayed)

    def _refresh_table(self) -> None:
        """Writes the trials table, but spends less than a tenth of the time on it."""
        if time.monotonic() >= self.table_due:
            started = time.monotonic()
            self._write_table()
            self.table_due = time.monotonic() + max(TABLE_SECONDS, 10 * (time.monotonic() - started))

    def _write_table(self) -> None:
        from nas.store.parquet import write_trials

        write_trials(self.run_dir.trials, self.result.trials, self.config.objectives)


def make_engine(setup: Setup, on_report: OnReport, folder: Path, address: str | None) -> Engine:
    """The engine that a campaign asks for, its workers started; trials may keep files below `folder`."""
    spec, seconds = setup.config.workers, setup.config.budget.seconds
    if spec.engine == "serial":
        from nas.cluster.serial import SerialEngine

        return SerialEngine(setup.evaluator, seconds=seconds, on_report=on_report, folder=folder.resolve())
    from nas.cluster.ray_engine import RayEngine

    return RayEngine(
        setup.evaluator,
        workers=spec.count,
        cpus=spec.cpus,
        gpus=spec.gpus,
        seconds=seconds,
        on_report=on_report,
        address=address,
        user_modules=user_modules(setup.config),
        folder=folder.resolve(),
    )


def user_modules(config: Config) -> list[str]:
    """The files or packages of the user's own code that a campaign names, which workers must be given."""
    names = (config.space.name, config.task.name, config.strategy.name)
    found: dict[str, None] = {}
    for name in names:
        module_name, colon, _ = name.partition(":")
        if colon:
            top = sys.modules[module_name.partition(".")[0]]
            path = Path(top.__file__ or next(iter(top.__path__)))
            found[str(path.parent if path.name == "__init__.py" else path)] = None
    return list(found)
