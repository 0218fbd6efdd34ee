"""Comparing strategies, ours and those of other libraries, on tables."""

from nas.compare.contestants import Contestant
from nas.compare.planning import Plan, plan
from nas.compare.runs import check, compare, play, simulate
from nas.compare.statistics import (
    FEWEST,
    STATISTICS,
    TOP,
    Curve,
    Ranks,
    curves,
    milestones,
    ranks,
    relative_improvement,
    summary,
    time_to_reach,
)
from nas.compare.writing import write, write_curves

__all__ = [
    "FEWEST",
    "STATISTICS",
    "TOP",
    "Contestant",
    "Curve",
    "Plan",
    "Ranks",
    "check",
    "compare",
    "curves",
    "milestones",
    "plan",
    "play",
    "ranks",
    "relative_improvement",
    "simulate",
    "summary",
    "time_to_reach",
    "write",
    "write_curves",
]
