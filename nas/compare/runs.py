"""Every contestant on every table with many seeds, on all cores of this machine."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import benchmarks
from nas.cluster.simulated import Conditions, SimulatedEngine, whole
from nas.compare.contestants import Contestant
from nas.compare.processes import on_all_cores, opened
from nas.compare.spending import Spending, amount
from nas.types import (
    Ended,
    Engine,
    Finished,
    InvalidInput,
    Measured,
    Measurement,
    Objective,
    Proposed,
    Strategy,
    Trial,
)

if TYPE_CHECKING:
    import pyarrow

SLACK = 1e-9
"""By how much sums of shares may be off."""

KEY = b"grammar-nas.run"
"""The key of a run's settings in the metadata of its file."""


def simulate(
    strategy: Strategy,
    table: benchmarks.Table,
    evaluations: int,
    workers: int = 1,
    conditions: Conditions = Conditions(),
    seed: int = 0,
    spending: Spending | None = None,
) -> Iterator[Trial]:
    """The trials of a strategy on simulated workers, as they end; see `SimulatedEngine` and `play`.

    Raises:
        InvalidInput, benchmarks.InvalidTable: see `engine_for`.
    """
    return play(strategy, engine_for(strategy, table, workers, conditions, seed), evaluations, spending)


def engine_for(
    strategy: Strategy, table: benchmarks.Table, workers: int, conditions: Conditions, seed: int
) -> SimulatedEngine:
    """Simulated workers whose trials report to a strategy, which may stop them.

    Raises:
        InvalidInput, benchmarks.InvalidTable: the strategy is after a metric that the table does not have, or tells
            only searches that ask for it.
    """
    for objective in getattr(strategy, "objectives", ()):
        metric = table.metric(objective.metric)
        if metric.split == "test" and metric != table.objective:
            raise InvalidInput(
                f"{metric.name!r} of table {table.name!r} is of the test split, which a search must not see; to "
                f"search on it all the same, ask for it by name: benchmarks.Table({str(table.path)!r}, {metric.name!r})"
            )

    def on_report(trial_id: int, measurement: Measurement) -> bool:
        proceed = strategy.proceed(trial_id, measurement)
        strategy.tell(Measured(trial_id, measurement, proceed))
        return proceed

    return SimulatedEngine(table, workers, conditions, seed, on_report)


def play(
    strategy: Strategy, engine: Engine, evaluations: int, spending: Spending | None = None
) -> Iterator[Trial]:
    """Asks, runs and tells until so much was evaluated, or the strategy has no more; gives trials as they end.

    Args:
        spending: says what a trial counts; None: each is one evaluation.
    """
    ended, finished = 0.0, False
    running: dict[int, float] = {}
    while ended < evaluations - SLACK:
        while not finished and len(running) < engine.workers:
            left = evaluations - ended - math.fsum(running.values())
            if left <= SLACK:
                break
            free = engine.workers - len(running)
            try:
                asked = strategy.ask(min(free, math.ceil(left - SLACK)) if spending is None else free)
            except Finished:
                finished = True
                break
            if not asked:
                break
            for proposal in asked:
                strategy.tell(Proposed(proposal))
                engine.submit(proposal)
                running[proposal.id] = 1.0 if spending is None else spending.asked(proposal)
        trials = engine.poll(timeout=1.0)
        if not trials:
            break
        for trial in trials:
            strategy.tell(Ended(trial))
            del running[trial.id]
            ended += 1.0 if spending is None else spending.ended(trial)
            yield trial


def check(tables: Sequence[str], contestants: Sequence[str], evaluations: int) -> None:
    """Makes every table, where it was not made yet, and every strategy, to find what is wrong before work starts.

    Raises:
        InvalidInput, benchmarks.InvalidTable: a name is unknown or stands twice, or a table has fewer rows.
    """
    for what, names in (("tables", tables), ("strategies", contestants)):
        if not names or len(set(names)) < len(names):
            raise InvalidInput(f"{what} are {', '.join(names) or 'none'}: name each once, and one at least")
    for name in tables:
        table = benchmarks.load(name)
        if not 1 <= evaluations <= len(table):
            raise InvalidInput(
                f"evaluations = {evaluations}, but it must be from 1 to {len(table)}, the rows of table {name!r}"
            )
        for contestant in map(Contestant.parse, contestants):
            contestant.make(table, 0)


def compare(
    tables: Sequence[str],
    contestants: Sequence[str],
    *,
    evaluations: int = 100,
    seeds: int = 20,
    workers: int = 1,
    conditions: Conditions = Conditions(),
    processes: int | None = None,
    keep: Path | None = None,
    observe: Callable[[int, int], None] = lambda done, of: None,
) -> pyarrow.Table:
    """Every evaluation of every contestant on every table with every seed.

    Args:
        tables: names of tables.
        contestants: strategies and peers, see `Contestant`.
        evaluations: full trainings of each run: trials, or where a table tells of less training, their sum.
        seeds: runs of each contestant on each table.
        workers: simulated workers, which train at the same time.
        conditions: what befalls trials on them. Regret is of what a row is worth, the mean of its training runs.
        processes: of this machine; default: one a core. With one, all runs in this process; with more, a script that
            calls this needs the usual `if __name__ == "__main__":`, as each process imports it.
        keep: a folder where each run is kept when it ends, and not run again by a later call, unless its settings, its
            table or the version of a package has changed. (That a strategy of one's own has changed is not noticed.)
        observe: is called with the number of runs that are done and of all.

    Returns:
        One row a trial, in the order of their ends: table, strategy, seed, evaluation (from 1), text, value (of the
        table's objective, in the end); `spent`, full trainings so far; of the trial that was seen to be the best so
        far, of those that were trained for longest, the value (`best`) and the regret of its row (see `Table.regret`),
        and `top`, its place as a share of the measured rows (equal ones have the better place), and whether it was
        trained in `full`;
        simulated seconds at the end, and how long it took (`duration`).

    Raises:
        InvalidInput, benchmarks.InvalidTable: a name is unknown, a number cannot be; nothing was run.
        RuntimeError: a strategy failed, or proposed nothing.
    """
    for key, number in (("seeds", seeds), ("workers", workers)):
        if number < 1:
            raise InvalidInput(f"{key} = {number}, but it must be at least 1")
    check(tables, contestants, evaluations)
    jobs = [
        (table, contestant, seed, evaluations, workers, conditions)
        for seed in range(seeds)
        for table in tables
        for contestant in contestants
    ]
    checksums = {name: benchmarks.load(name).checksum for name in tables}
    settings = [_settings(job, checksums[job[0]]) for job in jobs]
    found: dict[int, pyarrow.Table] = {}
    if keep is not None:
        for place, job in enumerate(jobs):
            kept = _read(keep, job, settings[place])
            if kept is not None:
                found[place] = kept
    missing = {place: job for place, job in enumerate(jobs) if place not in found}
    if found:
        observe(len(found), len(jobs))
    for place, run in on_all_cores(_run, missing, processes):
        found[place] = run
        if keep is not None:
            _keep(keep, jobs[place], run, settings[place])
        observe(len(found), len(jobs))
    import pyarrow

    return pyarrow.concat_tables([found[place].replace_schema_metadata(None) for place in range(len(jobs))])


Job = tuple[str, str, int, int, int, Conditions]
"""Table, contestant, seed, evaluations, workers and conditions of a run."""


def _run(
    name: str,
    contestant: str,
    seed: int,
    evaluations: int,
    workers: int,
    conditions: Conditions,
) -> pyarrow.Table:
    """One run, see `compare`."""
    table = opened(name)
    try:
        strategy = Contestant.parse(contestant).make(table, seed, evaluations)
        trials = [*simulate(strategy, table, evaluations, workers, conditions, seed, Spending(table))]
    except Exception as error:
        raise RuntimeError(
            f"strategy {contestant!r} failed on table {name!r} with seed {seed}: {type(error).__name__}: {error}"
        ) from error
    if not trials:
        what = "proposed nothing" if conditions.seconds == math.inf else "had no trial end in time"
        raise RuntimeError(f"strategy {contestant!r} {what} on table {name!r} with seed {seed}")
    return rows_of(table, trials, {"table": name, "strategy": contestant, "seed": seed})


def rows_of(table: benchmarks.Table, trials: Sequence[Trial], told: Mapping[str, Any]) -> pyarrow.Table:
    """One row a trial, in the order of their ends, after what is told of all of them; see `compare`."""
    import pyarrow

    ranks = np.array([table.rank(trial.proposal.genome) for trial in trials], dtype=np.int64)
    objective = Objective(table.objective.name, table.objective.direction)
    seen = [(-amount(trial), objective.loss(trial.metrics)) for trial in trials]
    best, places = None, []
    for place, (_, loss) in enumerate(seen):
        if math.isfinite(loss) and (best is None or seen[place] < seen[best]):
            best = place
        places.append(-1 if best is None else best)
    losses, values, spending = table.losses(), table.query_many(ranks), Spending(table)
    known = np.array(places) >= 0
    found = np.where(known, losses[ranks[places]], np.inf)
    longest = np.array([-spent for spent, _ in seen])[places]
    measured = np.sort(losses[np.isfinite(losses)])
    standing = np.searchsorted(measured, found, side="left") + 1
    return pyarrow.table(
        {
            **{key: [value] * len(trials) for key, value in told.items()},
            "evaluation": list(range(1, len(trials) + 1)),
            "text": [trial.proposal.genome.text for trial in trials],
            "value": values,
            "spent": np.cumsum([spending.ended(trial) for trial in trials]),
            "best": np.where(known, values[places], np.nan),
            "full": known & (longest >= whole(table).amount),
            "regret": table.regret_of(found),
            "top": np.minimum(standing / len(measured), 1.0),
            "seconds": [trial.started + trial.duration for trial in trials],
            "duration": [trial.duration for trial in trials],
        }
    )


@functools.cache
def _versions() -> dict[str, str]:
    """Of the packages that a run may follow from."""
    versions = {}
    for package in (
        "botorch",
        "grammar-nas",
        "numpy",
        "scikit-learn",
        "optuna",
        "pyglove",
        "ray",
        "smac",
        "syne-tune",
        "torch",
        "xgboost",
    ):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _settings(job: Job, checksum: str) -> bytes:
    """All that a run follows from, but for the code of a strategy of a user's own."""
    return json.dumps([*job[:-1], asdict(job[-1]), checksum, _versions()]).encode()


def _file(keep: Path, job: Job) -> Path:
    name, contestant, seed, *_ = job
    slug = re.sub(r"[^\w.+-]+", "-", f"{name}-{contestant}")
    return keep / f"{slug}-{seed}.parquet"


def _read(keep: Path, job: Job, settings: bytes) -> pyarrow.Table | None:
    """A run that was kept; None where there is none of these settings."""
    import pyarrow
    from pyarrow import parquet

    try:
        run = parquet.read_table(_file(keep, job), memory_map=False)
    except (OSError, pyarrow.ArrowException):
        return None
    return run if (run.schema.metadata or {}).get(KEY) == settings else None


def _keep(keep: Path, job: Job, run: pyarrow.Table, settings: bytes) -> None:
    """Writes a run, whole or not at all."""
    from pyarrow import parquet

    keep.mkdir(parents=True, exist_ok=True)
    path = _file(keep, job)
    made = path.with_suffix(".part")
    parquet.write_table(run.replace_schema_metadata({KEY: settings}), made)
    os.replace(made, path)
