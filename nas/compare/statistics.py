"""What comparisons say: curves over seeds with intervals, ranks, and how soon the best rows are reached.

What one seed finds is chance, so results are statistics over seeds with bootstrap intervals (Yang et al. 2020, NAS
evaluation is frustratingly hard, arXiv 1912.12522; Lindauer and Hutter 2020, arXiv 1909.02453). The interquartile mean
is less at the mercy of a single seed than the mean, and less coarse than the median (Agarwal et al. 2021, arXiv
2108.13264).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
"""The share of a table's rows that count as its best."""


@dataclass(frozen=True)
class Curve:
    """The best so far of one contestant on one table, after each evaluation, over seeds.

    Attributes:
        regrets: of each seed after each full training's worth of trials, [seeds, evaluations].
        median, low, high: the median regret over seeds and its 95 % bootstrap interval, [evaluations]; with fewer than
            `FEWEST` seeds there is none, and both are NaN.
        reached: of each seed, the evaluation at which it had a row among the best `TOP` of the table, [seeds]; NaN
            where it never had.
        shortest: evaluations of the run that ended first, as its strategy had no more to propose.
    """

    table: str
    strategy: str
    regrets: np.ndarray
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    reached: np.ndarray
    shortest: int

    @property
    def seeds(self) -> int:
        return len(self.regrets)

    @property
    def mean(self) -> np.ndarray:
        """The mean regret over seeds, [evaluations]."""
        return self.regrets.mean(axis=0)

    @property
    def interquartile_mean(self) -> np.ndarray:
        """The mean regret of the middle half of the seeds, [evaluations]."""
        cut = len(self.regrets) // 4
        return np.sort(self.regrets, axis=0)[cut : len(self.regrets) - cut].mean(axis=0)


def curves(rows: pyarrow.Table) -> list[Curve]:
    """The curves of what `compare` gave, tables and contestants in its order.

    A run that ended early, as its strategy had no more to propose, keeps its last regret.
    """
    length = max(1, int(max(rows["spent"].to_pylist()) + SLACK))
    runs: dict[tuple[str, str], dict[int, list[tuple[float, float, float]]]] = {}
    keys = zip(
        *(rows[key].to_pylist() for key in ("table", "strategy", "seed", "spent", "regret", "top")),
        strict=True,
    )
    for table, strategy, seed, spent, regret, top in keys:
        runs.setdefault((table, strategy), {}).setdefault(seed, []).append((spent, regret, top))
    return [
        _curve(table, strategy, [*by_seed.values()], length) for (table, strategy), by_seed in runs.items()
    ]


def _curve(
    table: str, strategy: str, runs: Sequence[Sequence[tuple[float, float, float]]], length: int
) -> Curve:
    spent_SE = [np.array(run)[:, 0] for run in runs]
    ends = np.arange(1, length + 1) + SLACK
    places_SE = [np.maximum(0, np.searchsorted(spent_E, ends, side="right") - 1) for spent_E in spent_SE]
    after = [np.array(run)[places_E, 1:] for run, places_E in zip(runs, places_SE, strict=True)]
    regret_SE, top_SE = np.moveaxis(np.array(after), 2, 0)
    median = np.median(regret_SE, axis=0)
    low = high = np.full(length, np.nan)
    if len(regret_SE) >= FEWEST:
        drawn = np.random.default_rng(0).integers(len(regret_SE), size=(RESAMPLES, len(regret_SE)))
        low, high = np.quantile(np.median(regret_SE[drawn], axis=1), (0.025, 0.975), axis=0)
    best_SE = (top_SE <= TOP) | (
        regret_SE <= 0
    )  # a small table's best row is among its best, whatever its share
    reached = np.where(best_SE.any(axis=1), best_SE.argmax(axis=1) + 1.0, np.nan)
    shortest = int(min(spent_E[-1] for spent_E in spent_SE) + SLACK)
    return Curve(table, strategy, regret_SE, median, low, high, reached, shortest)


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
    """The regret at the milestones, one row a table, contestant and milestone; None where there is no interval.

    `best` is the share of seeds that had one of the best `TOP` of the table by then.
    """
    return [
        {
            "table": curve.table,
            "strategy": curve.strategy,
            "evaluations": evaluation,
            "median": float(curve.median[evaluation - 1]),
            "low": float(curve.low[evaluation - 1]) if curve.seeds >= FEWEST else None,
            "high": float(curve.high[evaluation - 1]) if curve.seeds >= FEWEST else None,
            "mean": float(curve.mean[evaluation - 1]),
            "interquartile_mean": float(curve.interquartile_mean[evaluation - 1]),
            "best": float((curve.reached <= evaluation).mean()),
        }
        for curve in found
        for evaluation in milestones(len(curve.median))
    ]


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


def relative_improvement(rows: pyarrow.Table, over: str = "random") -> dict[tuple[str, str], float]:
    """How much better than random search each contestant is in the end, in percent, by table and contestant.

    100 (m - r) / |r| for the means over seeds of the best values found, m of the contestant and r of `over`, turned so
    that better is positive (Yang et al. 2020, section 3.1). NaN where r is zero and m is not.

    Raises:
        ValueError: `over` was not compared.
    """
    runs: dict[tuple[str, str], dict[int, float]] = {}
    keys = zip(*(rows[key].to_pylist() for key in ("table", "strategy", "seed", "best")), strict=True)
    for table, strategy, seed, value in keys:
        runs.setdefault((table, strategy), {})[seed] = value  # the last counts
    means = {key: float(np.mean([*best.values()])) for key, best in runs.items()}
    if any((table, over) not in means for table, _ in means):
        raise ValueError(f"{over!r} is not among the contestants on every table")
    found = {}
    signs = {
        table: 1 if benchmarks.load(table).objective.direction == "max" else -1
        for table in dict.fromkeys(table for table, _ in means)
    }
    for table, strategy in means:
        base, sign = means[table, over], signs[table]
        better = sign * (means[table, strategy] - base)
        found[table, strategy] = 0.0 if not better else 100 * better / abs(base) if base else math.nan
    return found
