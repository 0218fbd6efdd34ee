"""What a campaign would take on so many workers, simulated on a table before any machine is paid for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import benchmarks
import nas.search as search
from nas.cluster.simulated import Conditions, rungs, whole
from nas.compare.runs import simulate
from nas.compare.spending import amount
from nas.config import Config
from nas.setup import screening
from nas.types import InvalidInput, Objective, Trial


@dataclass(frozen=True)
class Plan:
    """A campaign on so many workers, means over seeds.

    Attributes:
        seconds: from its start to the end of its last trial.
        utilisation: the share of the workers' time that went into training.
        speedup: how many times faster it is than its trainings one after the other.
        regret: of the best in the end, see `Table.regret`.
        failed: trials that failed.
    """

    workers: int
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
    observe: Callable[[int, int], None] = lambda done, of: None,
) -> list[Plan]:
    """Plays a campaign's strategy, with its predictor and its number of trials, on a table for each number of workers.

    The table stands in for the campaign's space, task and objective: it tells how the strategy gets on with many trials
    at a time, and how long trainings of such different lengths keep so many workers busy. The training times are those
    of the table. Known models that the strategy starts from are left out, as they are of another space.

    Raises:
        InvalidInput: the strategy does not fit the table, a number cannot be, or no trial ends in time.
    """
    if seeds < 1 or not workers or min(workers) < 1:
        raise InvalidInput(f"workers = {list(workers)} and seeds = {seeds} must be at least 1")
    trials = min(config.budget.trials, len(table))
    options = _unnamed(config.strategy.options)
    plans: list[Plan] = []
    for number in workers:
        runs = []
        for seed in range(seeds):
            _, screened = screening(config, table.candidates)
            strategy = search.load(
                config.strategy.name,
                space=table.candidates,
                objectives=[Objective(table.objective.name, table.objective.direction)],
                seed=seed,
                fidelity=whole(table),
                screening=screened,
                trials=trials,
                rungs=rungs(table) if search.takes_rungs(config.strategy.name) else (),
                **options,
            )
            found = simulate(strategy, table, trials, number, conditions, seed)
            runs.append(_outcome(table, found, number))
            observe(len(plans) * seeds + seed + 1, len(workers) * seeds)
        plans.append(Plan(number, *map(float, np.mean(runs, axis=0))))
    return plans


def _unnamed(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a strategy without the known models that it, or its sampler, starts from."""
    return {
        key: _unnamed(value) if isinstance(value, Mapping) else value
        for key, value in options.items()
        if key != "named"
    }


def _outcome(table: benchmarks.Table, trials: Iterable[Trial], workers: int) -> tuple[float, ...]:
    """Time, utilisation, speed-up, regret and failures of one run, of which nothing is kept but these."""
    objective = Objective(table.objective.name, table.objective.direction)
    busy = wall = failed = 0.0
    best, found = (0, math.inf), math.inf
    for trial in trials:
        busy += trial.duration
        wall = trial.started + trial.duration
        failed += trial.status == "failed"
        loss = objective.loss(trial.metrics)
        if math.isfinite(loss) and (-amount(trial), loss) < best:
            best, found = (-amount(trial), loss), table.losses()[table.rank(trial.proposal.genome)]
    if not wall:
        raise InvalidInput(f"no trial ended on {workers} workers; the shortest on the table takes longer")
    return wall, busy / (workers * wall), busy / wall, float(table.regret_of(np.array(found))), failed
