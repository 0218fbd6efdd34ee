"""What a campaign would take on so many workers, simulated on a table before any machine is paid for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import benchmarks
import nas.search as search
from nas.cluster.simulated import Conditions, rungs, whole
from nas.compare.processes import on_all_cores, opened
from nas.compare.runs import engine_for, play
from nas.compare.spending import amount
from nas.config import Config
from nas.setup import screening
from nas.types import InvalidInput, Objective, Strategy


@dataclass(frozen=True)
class Plan:
    """A campaign on so many workers, means over seeds.

    Attributes:
        trials: that ended.
        seconds: from its start to the end of its last trial, or to when the clock stopped while some were running.
        utilisation: the share of the workers' time that went into training.
        speedup: how many times faster it is than its trainings, as far as they came, one after the other.
        regret: of the best in the end, see `Table.regret`.
        failed: trials that failed.
    """

    workers: int
    trials: float
    seconds: float
    utilisation: float
    speedup: float
    regret: float
    failed: float


def plan(
    config: Config,
    table: benchmarks.Table,
    workers: Sequence[int],
    *,
    seeds: int = 5,
    conditions: Conditions = Conditions(),
    processes: int | None = None,
    observe: Callable[[int, int], None] = lambda done, of: None,
) -> list[Plan]:
    """Plays a campaign's strategy, with its predictor and its number of trials, on a table for each number of workers.

    The table stands in for the campaign's space, task and objective: it tells how the strategy gets on with many trials
    at a time, and how long trainings of such different lengths keep so many workers busy. The training times are those
    of the table. Known models that the strategy starts from are left out, as they are of another space.

    Args:
        processes: of this machine, see `on_all_cores`.
        observe: is called with the number of runs that are done and of all.

    Raises:
        InvalidInput: the strategy does not fit the table, a number cannot be, or no trial ends in time.
    """
    if seeds < 1 or not workers or min(workers) < 1:
        raise InvalidInput(f"workers = {list(workers)} and seeds = {seeds} must be at least 1")
    _strategy(config, table, 0)
    name = f"{table.path}:{table.objective.name}"
    jobs = [(config, name, number, seed, conditions) for number in workers for seed in range(seeds)]
    outcomes: dict[int, tuple[float, ...]] = {}
    for place, outcome in on_all_cores(_outcome, dict(enumerate(jobs)), processes):
        outcomes[place] = outcome
        observe(len(outcomes), len(jobs))
    runs = [outcomes[place] for place in range(len(jobs))]
    return [
        Plan(number, *map(float, np.mean(runs[k * seeds : (k + 1) * seeds], axis=0)))
        for k, number in enumerate(workers)
    ]


def _strategy(config: Config, table: benchmarks.Table, seed: int) -> Strategy:
    """The strategy of a campaign, in search of a table's objective."""
    _, screened = screening(config, table.candidates)
    return search.load(
        config.strategy.name,
        space=table.candidates,
        objectives=[Objective(table.objective.name, table.objective.direction)],
        seed=seed,
        fidelity=whole(table),
        screening=screened,
        trials=_trials(config, table),
        rungs=rungs(table) if search.takes_rungs(config.strategy.name) else (),
        **_unnamed(config.strategy.options),
    )


def _trials(config: Config, table: benchmarks.Table) -> int:
    return min(config.budget.trials, len(table))


def _unnamed(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a strategy without the known models that it, or its sampler, starts from."""
    return {
        key: _unnamed(value) if isinstance(value, Mapping) else value
        for key, value in options.items()
        if key != "named"
    }


def _outcome(config: Config, name: str, workers: int, seed: int, conditions: Conditions) -> tuple[float, ...]:
    """Trials, time, utilisation, speed-up, regret and failures of one run, of which nothing is kept but these."""
    table = opened(name)
    strategy = _strategy(config, table, seed)
    engine = engine_for(strategy, table, workers, conditions, seed)
    objective = Objective(table.objective.name, table.objective.direction)
    busy = failed = 0.0
    ended, best, found = 0, (0, math.inf), math.inf
    for trial in play(strategy, engine, _trials(config, table)):
        ended += 1
        busy += trial.duration
        failed += trial.status == "failed"
        loss = objective.loss(trial.metrics)
        if math.isfinite(loss) and (-amount(trial), loss) < best:
            best, found = (-amount(trial), loss), table.losses()[table.rank(trial.proposal.genome)]
    if not ended or not engine.now:
        raise InvalidInput(f"no trial ended on {workers} workers; the shortest on the table takes longer")
    busy += math.fsum(engine.unfinished)
    wall = conditions.seconds if engine.unfinished else engine.now
    regret = float(table.regret_of(np.array(found)))
    return ended, wall, busy / (workers * wall), busy / wall, regret, failed
