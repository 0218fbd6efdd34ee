"""Comparing strategies on tables: every strategy on every table with many seeds, on all cores of this machine.

What one seed finds is chance, so results are medians over seeds with bootstrap intervals (Yang et al. 2020, NAS
evaluation is frustratingly hard; Lindauer and Hutter 2020, Best practices for scientific research on NAS).
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import benchmarks
import nas.search as search
import predictors
from nas.cluster.simulated import SimulatedEngine
from nas.types import JSON, Ended, Engine, Finished, InvalidInput, Objective, Proposed, Strategy, Trial
from spaces.errors import suggest

if TYPE_CHECKING:
    import pyarrow

SHORT = {"screened": "evolution+trees"}
"""Contestants with a name of their own."""

FEWEST = 5
"""Seeds from which an interval is told: a bootstrap of fewer is narrower than the truth by far."""

RESAMPLES = 2000
"""Bootstrap samples of the seeds."""


@dataclass(frozen=True)
class Contestant:
    """A strategy with its default options, alone or with a predictor that screens its candidates."""

    name: str
    strategy: str
    predictor: str | None = None

    @classmethod
    def parse(cls, name: str) -> Contestant:
        """From "strategy", "strategy+predictor", or a name of its own."""
        strategy, plus, predictor = SHORT.get(name, name).partition("+")
        return cls(name, strategy, predictor if plus else None)

    def make(self, table: benchmarks.Table, seed: int) -> Strategy:
        """The strategy, in search of the table's objective.

        Raises:
            InvalidInput: the strategy or the predictor is unknown, or they do not go together.
        """
        if self.strategy not in search.STRATEGIES and ":" not in self.strategy:
            known = [*search.STRATEGIES, *SHORT]
            raise InvalidInput(
                f"unknown strategy {self.name!r}{suggest(self.name, known)}, or strategy+predictor"
            )
        space, screening = table.space, None
        if self.predictor is not None:
            make = partial(predictors.load, self.predictor, space=space, seed=seed)
            try:
                made = make()
            except predictors.InvalidPredictor as error:
                raise InvalidInput(f"strategy {self.name!r}: {error}") from error
            if not hasattr(made, "fit") or not hasattr(made, "predict"):
                raise InvalidInput(
                    f"strategy {self.name!r}: {self.predictor!r} gives a {type(made).__name__}, which is no predictor"
                )
            screening = search.Screening(make)
        objective = Objective(table.objective.name, table.objective.direction)
        return search.load(self.strategy, space=space, objectives=[objective], seed=seed, screening=screening)


def play(strategy: Strategy, engine: Engine, evaluations: int) -> list[Trial]:
    """Asks, runs and tells until so many trials have ended, or the strategy has no more; in the order of their ends."""
    ended: list[Trial] = []
    made, running, finished = 0, 0, False
    while len(ended) < evaluations:
        while not finished and made < evaluations and running < engine.workers:
            try:
                asked = strategy.ask(min(engine.workers - running, evaluations - made))
            except Finished:
                finished = True
                break
            if not asked:
                break
            for proposal in asked:
                strategy.tell(Proposed(proposal))
                engine.submit(proposal)
            made, running = made + len(asked), running + len(asked)
        trials = engine.poll(timeout=1.0)
        if not trials:
            break
        for trial in trials:
            strategy.tell(Ended(trial))
        ended.extend(trials)
        running -= len(trials)
    return ended


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
    processes: int | None = None,
    observe: Callable[[int, int], None] = lambda done, of: None,
) -> pyarrow.Table:
    """Every evaluation of every contestant on every table with every seed.

    Args:
        tables: names of tables.
        contestants: strategies, see `Contestant`.
        evaluations: trials of each run.
        seeds: runs of each contestant on each table.
        workers: simulated workers, which train at the same time.
        processes: of this machine; default: one a core. With one, all runs in this process; with more, a script that
            calls this needs the usual `if __name__ == "__main__":`, as each process imports it.
        observe: is called with the number of runs that are done and of all.

    Returns:
        One row an evaluation, in the order of their ends: table, strategy, seed, evaluation (from 1), text, value (of
        the table's objective), regret (of the best so far, see `Table.regret`), seconds (simulated, at its end).

    Raises:
        InvalidInput, benchmarks.InvalidTable: a name is unknown, a number cannot be; nothing was run.
        RuntimeError: a strategy failed, or proposed nothing.
    """
    for key, number in (("seeds", seeds), ("workers", workers)):
        if number < 1:
            raise InvalidInput(f"{key} = {number}, but it must be at least 1")
    check(tables, contestants, evaluations)
    chosen = [Contestant.parse(name) for name in contestants]
    jobs = [(name, contestant, seed) for seed in range(seeds) for name in tables for contestant in chosen]
    runs: dict[int, JSON] = {}
    processes = min(processes or os.cpu_count() or 1, len(jobs))
    if processes == 1:
        for place, job in enumerate(jobs):
            runs[place] = _run(*job, evaluations, workers)
            observe(len(runs), len(jobs))
        return _gathered([runs[place] for place in sorted(runs)])
    # Spawned, as forking a process with threads may hang it.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        waiting = {pool.submit(_run, *job, evaluations, workers): place for place, job in enumerate(jobs)}
        try:
            for future in as_completed(waiting):
                runs[waiting[future]] = future.result()
                observe(len(runs), len(jobs))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return _gathered([runs[place] for place in sorted(runs)])


def _run(name: str, contestant: Contestant, seed: int, evaluations: int, workers: int) -> JSON:
    """One run, as columns."""
    table = benchmarks.load(name)
    try:
        trials = play(contestant.make(table, seed), SimulatedEngine(table, workers), evaluations)
    except Exception as error:
        raise RuntimeError(
            f"strategy {contestant.name!r} failed on table {name!r} with seed {seed}: {type(error).__name__}: {error}"
        ) from error
    if not trials:
        raise RuntimeError(
            f"strategy {contestant.name!r} proposed nothing on table {name!r} with seed {seed}"
        )
    ranks = np.array([table.rank(trial.proposal.genome) for trial in trials], dtype=np.int64)
    return {
        "table": [name] * len(trials),
        "strategy": [contestant.name] * len(trials),
        "seed": [seed] * len(trials),
        "evaluation": list(range(1, len(trials) + 1)),
        "text": [trial.proposal.genome.text for trial in trials],
        "value": table.query_many(ranks),
        "regret": np.minimum.accumulate(table.regret(ranks)),
        "seconds": [trial.started + trial.duration for trial in trials],
    }


def _gathered(runs: Sequence[JSON]) -> pyarrow.Table:
    import pyarrow

    return pyarrow.concat_tables([pyarrow.table(run) for run in runs])


def write(rows: pyarrow.Table, folder: Path) -> Path:
    """Keeps what `compare` gave as evaluations.parquet."""
    from pyarrow import parquet

    path = folder / "evaluations.parquet"
    parquet.write_table(rows, path)
    return path


@dataclass(frozen=True)
class Curve:
    """The regret of the best so far of one contestant on one table, after each evaluation, over seeds.

    Attributes:
        median, low, high: the median over seeds and its 95 % bootstrap interval, [evaluations]; with fewer than
            `FEWEST` seeds there is none, and both are NaN.
        mean: over seeds, [evaluations].
        shortest: evaluations of the run that ended first, as its strategy had no more to propose.
    """

    table: str
    strategy: str
    seeds: int
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    shortest: int


def curves(rows: pyarrow.Table) -> list[Curve]:
    """The curves of what `compare` gave, tables and contestants in its order.

    A run that ended early, as its strategy had no more to propose, keeps its last regret.
    """
    length = max(rows["evaluation"].to_pylist())
    runs: dict[tuple[str, str], dict[int, list[float]]] = {}
    keys = zip(*(rows[key].to_pylist() for key in ("table", "strategy", "seed", "regret")), strict=True)
    for table, strategy, seed, regret in keys:
        runs.setdefault((table, strategy), {}).setdefault(seed, []).append(regret)
    found = []
    for (table, strategy), by_seed in runs.items():
        regret_SE = np.array([np.pad(run, (0, length - len(run)), mode="edge") for run in by_seed.values()])
        drawn = np.random.default_rng(0).integers(len(regret_SE), size=(RESAMPLES, len(regret_SE)))
        medians = np.median(regret_SE[drawn], axis=1)
        low, high = np.quantile(medians, (0.025, 0.975), axis=0)
        if len(regret_SE) < FEWEST:
            low = high = np.full(length, np.nan)
        median, mean = np.median(regret_SE, axis=0), regret_SE.mean(axis=0)
        shortest = min(map(len, by_seed.values()))
        found.append(Curve(table, strategy, len(regret_SE), median, low, high, mean, shortest))
    return found


def milestones(evaluations: int) -> list[int]:
    """After how many evaluations regret is told: a quarter, a half, all."""
    return sorted({max(1, evaluations // 4), max(1, evaluations // 2), evaluations})


def summary(found: Sequence[Curve]) -> list[dict[str, Any]]:
    """The regret at the milestones, one row a table, contestant and milestone; None where there is no interval."""
    return [
        {
            "table": curve.table,
            "strategy": curve.strategy,
            "evaluations": evaluation,
            "median": float(curve.median[evaluation - 1]),
            "low": float(curve.low[evaluation - 1]) if curve.seeds >= FEWEST else None,
            "high": float(curve.high[evaluation - 1]) if curve.seeds >= FEWEST else None,
            "mean": float(curve.mean[evaluation - 1]),
        }
        for curve in found
        for evaluation in milestones(len(curve.median))
    ]
