"""What comparisons say: curves over seeds with intervals, ranks, and how soon the best rows are reached.

What one seed finds is chance, so results are statistics over seeds with bootstrap intervals (Yang et al. 2020, NAS
evaluation is frustratingly hard, arXiv 1912.12522; Lindauer and Hutter 2020, arXiv 1909.02453). The interquartile mean
is less at the mercy of a single seed than the mean, and less coarse than the median (Agarwal et al. 2021, arXiv
2108.13264).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

import benchmarks

if TYPE_CHECKING:
    import pyarrow

FEWEST = 5
"""Seeds from which an interval is told: a bootstrap of fewer is narrower than the truth by far."""

RESAMPLES = 2000
"""Bootstrap samples of the seeds."""

SLACK = 1e-9
"""By how much sums and regrets may be off."""

TOP = 0.0005
"""The share of a table's rows that count as its best, unless told otherwise."""

POINTS = 200
"""How many simulated times regret is told at."""

Axis = Literal["evaluations", "seconds"]
"""What a search spends: full trainings, or simulated time."""

STATISTICS = ("median", "mean", "interquartile_mean")
"""What is told of the regret over seeds."""


@dataclass(frozen=True)
class Curve:
    """The best so far of one contestant on one table, along what was spent, over seeds.

    Attributes:
        over: what is spent: full trainings' worth of trials, or simulated seconds.
        at: how much of it, ascending, [points].
        regrets: of each seed after each amount, [seeds, points]; NaN before its first trial ended.
        reached: of each seed, what was spent when it had one of the best rows of the table, [seeds]; NaN where it never
            had.
        shortest: evaluations of the run that ended first, as its strategy had no more to propose.
    """

    table: str
    strategy: str
    over: Axis
    at: np.ndarray
    regrets: np.ndarray
    reached: np.ndarray
    shortest: int

    @property
    def seeds(self) -> int:
        """How many runs there were."""
        return len(self.regrets)

    @property
    def median(self) -> np.ndarray:
        """The median regret over seeds, [points]; NaN where that of a seed is."""
        return _over_seeds(self.regrets, "median")

    @property
    def mean(self) -> np.ndarray:
        """The mean regret over seeds, [points]; NaN where that of a seed is."""
        return _over_seeds(self.regrets, "mean")

    @property
    def interquartile_mean(self) -> np.ndarray:
        """The mean regret of the middle half of the seeds, [points]; NaN where that of a seed is."""
        return _over_seeds(self.regrets, "interquartile_mean")

    @functools.cached_property
    def intervals(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """The 95 % bootstrap interval of each of `STATISTICS`, from and to, [points] each.

        NaN where the regret of a seed is, and everywhere with fewer than `FEWEST` seeds.
        """
        if self.seeds < FEWEST:
            return {
                name: (np.full(len(self.at), np.nan), np.full(len(self.at), np.nan)) for name in STATISTICS
            }
        drawn = np.random.default_rng(0).integers(self.seeds, size=(RESAMPLES, self.seeds))
        resampled = self.regrets[drawn]
        ends = {
            statistic: np.quantile(_over_seeds(resampled, statistic), (0.025, 0.975), axis=0)
            for statistic in STATISTICS
        }
        return {statistic: (low, high) for statistic, (low, high) in ends.items()}


class _Run(NamedTuple):
    """Of each trial of a run, when it ended, and the regret and the place of the best until then, [trials]."""

    spent: np.ndarray
    seconds: np.ndarray
    regret: np.ndarray
    top: np.ndarray


def curves(rows: pyarrow.Table, over: Axis = "evaluations", top: float = TOP) -> list[Curve]:
    """The curves of what `compare` gave, tables and contestants in its order.

    A run that ended early, as its strategy had no more to propose or its budget was spent, keeps its last regret.

    Args:
        over: each evaluation, or, for each table, simulated times that grow evenly on a logarithmic scale from the end
            of the first trial of any contestant to that of the last.
        top: the share of a table's rows that count as its best; the very best always does.
    """
    ended: dict[tuple[str, str], dict[int, list[tuple[float, ...]]]] = {}
    keys = ("table", "strategy", "seed", *_Run._fields)
    for table, strategy, seed, *trial in zip(*(rows[key].to_pylist() for key in keys), strict=True):
        ended.setdefault((table, strategy), {}).setdefault(seed, []).append(tuple(trial))
    runs = {key: [_Run(*np.array(trials).T) for trials in by_seed.values()] for key, by_seed in ended.items()}
    at = {}
    for table in dict.fromkeys(table for table, _ in runs):
        there = [run for key, known in runs.items() if key[0] == table for run in known]
        at[table] = _times(there) if over == "seconds" else _evaluations(rows)
    return [_curve(table, strategy, known, over, at[table], top) for (table, strategy), known in runs.items()]


def _evaluations(rows: pyarrow.Table) -> np.ndarray:
    """Every evaluation of the longest run, from 1."""
    return np.arange(1, max(1, int(max(rows["spent"].to_pylist()) + SLACK)) + 1)


def _times(runs: Sequence[_Run]) -> np.ndarray:
    """Simulated times from the end of the first trial to that of the last, [points]."""
    ends = np.concatenate([run.seconds for run in runs])
    ends = ends[ends > 0]
    return np.unique(np.geomspace(ends.min(), ends.max(), POINTS)) if len(ends) else np.zeros(1)


def _curve(table: str, strategy: str, runs: Sequence[_Run], over: Axis, at: np.ndarray, top: float) -> Curve:
    """One curve; what is spent of evaluations is rounded up to whole ones."""
    whole = over == "evaluations"
    spent_SE = [run.spent if whole else run.seconds for run in runs]
    places_SP = [np.searchsorted(spent_E, at + SLACK * whole, side="right") - 1 for spent_E in spent_SE]
    if whole:
        places_SP = [np.maximum(places_P, 0) for places_P in places_SP]
    regret_SP = np.array(
        [
            np.where(places_P < 0, np.nan, run.regret[places_P])
            for run, places_P in zip(runs, places_SP, strict=True)
        ]
    )
    reached = np.full(len(runs), np.nan)
    for seed, (run, spent_E) in enumerate(zip(runs, spent_SE, strict=True)):
        best_E = (run.top <= top) | (run.regret <= 0)  # a small table's best row is one, whatever its share
        if best_E.any():
            first = spent_E[best_E.argmax()]
            reached[seed] = max(1.0, math.ceil(first - SLACK)) if whole else first
    shortest = int(min(run.spent[-1] for run in runs) + SLACK)
    return Curve(table, strategy, over, at, regret_SP, reached, shortest)


def _over_seeds(regret_SP: np.ndarray, statistic: str) -> np.ndarray:
    """One of `STATISTICS` over the last axis but one; NaN where a regret is."""
    if statistic == "median":
        return np.median(regret_SP, axis=-2)
    mean = regret_SP.mean(axis=-2)
    if statistic == "mean":
        return mean
    seeds = regret_SP.shape[-2]
    middle = np.sort(regret_SP, axis=-2)[..., seeds // 4 : seeds - seeds // 4, :].mean(axis=-2)
    return np.where(np.isnan(mean), np.nan, middle)  # NaN is sorted behind all, and so cut off


def time_to_reach(rows: pyarrow.Table, than: str = "evolution") -> dict[tuple[str, str], np.ndarray]:
    """When each run of a contestant was as good as the median run of another is in the end.

    Simulated seconds, [seeds], by table and contestant; NaN where it never was. Only what was trained in full counts.

    Raises:
        ValueError: `than` was not compared.
    """
    runs: dict[tuple[str, str], dict[int, list[tuple[bool, float, float]]]] = {}
    keys = ("table", "strategy", "seed", "full", "regret", "seconds")
    for table, strategy, seed, *told in zip(*(rows[key].to_pylist() for key in keys), strict=True):
        runs.setdefault((table, strategy), {}).setdefault(seed, []).append(tuple(told))
    found = {}
    for table, strategy in runs:
        if (table, than) not in runs:
            raise ValueError(f"{than!r} is not among the contestants on every table")
        aim = float(np.median([run[-1][1] for run in runs[table, than].values()]))
        found[table, strategy] = np.array(
            [
                next((seconds for full, regret, seconds in run if full and regret <= aim + SLACK), np.nan)
                for run in runs[table, strategy].values()
            ]
        )
    return found


def milestones(evaluations: int) -> list[int]:
    """After how many evaluations regret is told: a quarter, a half, all."""
    return sorted({max(1, evaluations // 4), max(1, evaluations // 2), evaluations})


def summary(found: Sequence[Curve]) -> list[dict[str, Any]]:
    """The regret at the milestones, one row a table, contestant and milestone.

    Each has the `STATISTICS` over seeds and their intervals, that of the median as `low` and `high`, of the others as
    `mean_low` and so on, None where there is none; `best` is the share of seeds that had one of the best rows of the
    table by then.

    Args:
        found: curves over evaluations.
    """
    return [
        {
            "table": curve.table,
            "strategy": curve.strategy,
            "evaluations": evaluation,
            **{
                key: value
                for statistic in STATISTICS
                for key, value in _told(curve, statistic, evaluation - 1).items()
            },
            "best": float((curve.reached <= evaluation).mean()),
        }
        for curve in found
        for evaluation in milestones(len(curve.at))
    ]


def _told(curve: Curve, statistic: str, point: int) -> dict[str, float | None]:
    """A statistic at a point and its interval, by name."""
    low, high = (float(end[point]) for end in curve.intervals[statistic])
    before = "" if statistic == "median" else f"{statistic}_"
    known = curve.seeds >= FEWEST
    return {
        statistic: float(getattr(curve, statistic)[point]),
        f"{before}low": low if known else None,
        f"{before}high": high if known else None,
    }


@dataclass(frozen=True)
class Ranks:
    """How contestants rank against each other, 1 the best, over all tables and seeds.

    Attributes:
        mean: of each contestant, best first.
        difference: how far two mean ranks must lie apart not to be chance at 5 % (Nemenyi's test).
        p: how likely ranks as unequal as these are where all contestants are alike (Friedman's test); NaN where there
            are too few to tell.
        blocks: how often all were ranked: tables x seeds.
    """

    mean: dict[str, float]
    difference: float
    p: float
    blocks: int


def ranks(found: Sequence[Curve], evaluation: int | None = None) -> Ranks:
    """Mean ranks by regret after an evaluation (default: the last), ties shared, with a critical difference.

    After Demsar 2006, Statistical Comparisons of Classifiers over Multiple Data Sets, sections 3.2.2 and 3.2.4, with
    each seed on each table as a block of its own: what is told is of these tables, not of others.

    Raises:
        ValueError: contestants differ in their tables or seeds.
    """
    from scipy import stats

    strategies = list(dict.fromkeys(curve.strategy for curve in found))
    place = -1 if evaluation is None else evaluation - 1
    last: dict[str, dict[str, np.ndarray]] = {name: {} for name in strategies}
    for curve in found:
        last[curve.strategy][curve.table] = curve.regrets[:, place]
    shapes = {tuple((table, len(regrets)) for table, regrets in by.items()) for by in last.values()}
    if len(shapes) > 1:
        raise ValueError("contestants can only be ranked on the same tables and seeds")
    regret_BK = np.column_stack([np.concatenate([*last[name].values()]) for name in strategies])
    blocks, number = regret_BK.shape
    mean_K = stats.rankdata(regret_BK, axis=1).mean(axis=0)
    order = np.argsort(mean_K, kind="stable")
    critical = stats.studentized_range.ppf(0.95, number, np.inf) / math.sqrt(2) if number > 1 else math.nan
    told = number > 2 and blocks > 1 and (np.ptp(regret_BK, axis=1) > 0).any()
    return Ranks(
        {strategies[k]: float(mean_K[k]) for k in order},
        float(critical * math.sqrt(number * (number + 1) / (6 * blocks))),
        float(stats.friedmanchisquare(*regret_BK.T).pvalue) if told else math.nan,
        blocks,
    )


def relative_improvement(rows: pyarrow.Table, over: str | None = None) -> dict[tuple[str, str], float]:
    """How much better each contestant is in the end than an average architecture, in percent, by table and contestant.

    100 (m - r) / r, m the mean over seeds of what the contestant found and r that of all rows of the table, which is
    what architectures drawn at random are worth on average (Yang et al. 2020, section 3: there r is the mean of a few
    that were trained). It is of accuracies there; here it is turned so that better is positive, as 100 (r - m) / |r| of
    losses, which 100 bounds where they are positive. Means of metrics that span decades are geometric. NaN where r is
    zero and m is not.

    Args:
        over: a contestant whose finds are r in place of the rows: "random" for what random search finds in the end.

    Raises:
        ValueError: `over` was not compared.
    """
    last: dict[tuple[str, str], dict[int, float]] = {}
    keys = zip(*(rows[key].to_pylist() for key in ("table", "strategy", "seed", "best")), strict=True)
    for table, strategy, seed, value in keys:
        last.setdefault((table, strategy), {})[seed] = value
    if over is not None and any((table, over) not in last for table, _ in last):
        raise ValueError(f"{over!r} is not among the contestants on every table")
    tables = {name: benchmarks.load(name) for name in dict.fromkeys(table for table, _ in last)}
    found = {}
    for name, strategy in last:
        table = tables[name]
        column = table.column()
        others = column[np.isfinite(column)] if over is None else [*last[name, over].values()]
        base = _mean(others, table.objective.log)
        better = _mean([*last[name, strategy].values()], table.objective.log) - base
        better *= 1 if table.objective.direction == "max" else -1
        found[name, strategy] = 0.0 if not better else 100 * better / abs(base) if base else math.nan
    return found


def _mean(values: Sequence[float] | np.ndarray, log: bool) -> float:
    """The mean, geometric where values span decades; zero where one of those is."""
    if not log:
        return float(np.mean(values))
    with np.errstate(divide="ignore"):
        return float(np.exp(np.mean(np.log(values))))
