"""What a campaign found, read from its run folder, while it runs or after."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nas.config import Config
from nas.display import html_table, number, ranking_cells, ranking_rows
from nas.store import Amended, Concluded, Confirmed, RunDir
from nas.store.records import Record
from nas.types import Ended, Objective, Proposal, Proposed, Trial, placing, standing
from spaces.pareto import lowest

if TYPE_CHECKING:
    import pyarrow

FULL = ("budget.steps", "budget.tokens", "budget.epochs")
"""The keys that say what a full training is."""

SHOWN = 20
"""The most trials of a Pareto front that are shown."""


@dataclass(frozen=True)
class Gain:
    """By how much the best is better than the average random architecture of the same run and fidelity.

    `mean` is the difference of the averages, positive where the best is better; `low` and `high` bound Welch's
    95 % interval of it. The best is measured on `seeds` fresh seeds, which took no part in choosing it; with one
    seed the interval knows nothing of how much seeds differ. `random` architectures are averaged;
    `unfinished` more failed or were stopped, and are left out.
    """

    metric: str
    mean: float
    low: float
    high: float
    random: int
    unfinished: int
    seeds: int


class Result:
    """The trials of a campaign, its configuration and its conclusion."""

    def __init__(self, config: Config, records: Sequence[Record], path: Path | None = None) -> None:
        self.config = config
        self.path = path
        self.proposals: list[Proposal] = [r.proposal for r in records if isinstance(r, Proposed)]
        self.trials: list[Trial] = [r.trial for r in records if isinstance(r, Ended)]
        trials = [i for i, r in enumerate(records) if isinstance(r, Proposed | Ended)]
        conclusions = [r for r in records[trials[-1] if trials else 0 :] if isinstance(r, Concluded)]
        self.conclusion: Concluded | None = conclusions[-1] if conclusions else None
        # Where the full fidelity was raised, runs of before were not trained in full.
        raised = [i for i, r in enumerate(records) if isinstance(r, Amended) and r.key in FULL]
        self._confirmed = [r for r in records[raised[-1] if raised else 0 :] if isinstance(r, Confirmed)]

    def __repr__(self) -> str:
        return f"<Result {self._headline()}>"

    def _repr_html_(self) -> str:
        """The standing and the best ten, for a notebook."""
        said = f"<p>{escape(self._headline())}</p>"
        best = ranking_rows(self.config.objectives, self.leading(10))
        return f"{said}\n{html_table(*ranking_cells(best))}" if best else said

    def _headline(self) -> str:
        """Name, progress and best in a line, as of when this was read."""
        ended, asked = len(self.trials), self.config.budget.trials
        said = f"{self.config.name}: {'finished' if self.conclusion else 'not finished'}, {ended} of {asked} trials"
        if not self.done:
            return f"{said}, none done"
        best, metric = self.best(), self.aims[0].metric
        return f"{said}, best {metric} {number(best.merits.get(metric))} (trial {best.id})"

    @property
    def aims(self) -> tuple[Objective, ...]:
        """The objectives that are no constraints."""
        return tuple(objective for objective in self.config.objectives if objective.bound is None)

    @property
    def done(self) -> list[Trial]:
        """The trials that were trained as asked, in the order in which they ended."""
        return [trial for trial in self.trials if trial.status == "done"]

    @property
    def running(self) -> list[Proposal]:
        """Proposals without an end: those that run, or ran when the driver was stopped."""
        ended = {trial.id for trial in self.trials}
        return [proposal for proposal in self.proposals if proposal.id not in ended]

    def ranking(self) -> list[Trial]:
        """The done trials, best first: the longest training, then constraints, the first objective, and age."""
        return sorted(self.done, key=lambda trial: placing(self.config.objectives, trial))

    def leading(self, top: int) -> list[Trial]:
        """The best trials, `top` of them; where there are several objectives, the Pareto front first, up to `SHOWN`."""
        front = self.pareto()[:SHOWN] if len(self.aims) > 1 else []
        others = [trial for trial in self.ranking() if trial not in front]
        return [*front, *others][: max(top, len(front))]

    def best(self) -> Trial:
        """The best trial by validation.

        Raises:
            LookupError: no trial is done.
        """
        ranking = self.ranking()
        if not ranking:
            failed = sum(trial.status == "failed" for trial in self.trials)
            raise LookupError(f"campaign {self.config.name!r} has no finished trial yet ({failed} failed)")
        return ranking[0]

    def pareto(self) -> list[Trial]:
        """The trials that meet the constraints as well as any does and that no other beats in every objective.

        They are of those that were trained for longest, where trials differ in that.
        """
        longest = max((trial.proposal.fidelity.amount for trial in self.done), default=0)
        done = [trial for trial in self.done if trial.proposal.fidelity.amount == longest]
        losses = np.array([[aim.loss(trial.merits) for aim in self.aims] for trial in done])
        broken = np.array([standing(self.config.objectives, trial)[0] for trial in done])
        best = np.flatnonzero(broken == broken.min(initial=np.inf))
        front = set(lowest(map(tuple, losses[best].tolist())))
        found = [done[i] for i in best.tolist() if tuple(losses[i].tolist()) in front]
        return sorted(found, key=lambda trial: (self.aims[0].loss(trial.merits), trial.id))

    def table(self) -> pyarrow.Table:
        """All trials that ended, one row each."""
        from nas.store.parquet import trials_table

        return trials_table(self.trials, self.config.objectives)

    @property
    def confirmations(self) -> list[Confirmed]:
        """The best trial, trained again: its last run on each fresh seed that was tried."""
        best = self.ranking()[:1]
        runs = {r.seed: r for r in self._confirmed if best and r.trial_id == best[0].id}
        return [runs[seed] for seed in sorted(runs)]

    def confirmed(self, metric: str) -> list[float]:
        """A metric of the best on the fresh seeds that it was trained on again so far."""
        runs = [run for run in self.confirmations if run.status == "done"]
        return [run.metrics[metric] for run in runs if metric in run.metrics]

    def gain(self) -> Gain | None:
        """The gain over the average random architecture; None with fewer than two of them or nothing confirmed.

        Only those count that were trained in full: of the others it is not known how good they would have become.
        """
        aim = self.aims[0]
        full = self.config.budget.fidelity
        drawn = [
            trial
            for trial in self.trials
            if trial.proposal.origin == "random" and trial.proposal.fidelity == full
        ]
        random = [aim.loss(trial.merits) for trial in drawn if trial.status == "done"]
        best = [aim.loss({aim.metric: value}) for value in self.confirmed(aim.metric)]
        if len(random) < 2 or not best:
            return None
        mean = float(np.mean(random) - np.mean(best))
        half = welch_half_width(random, best)
        return Gain(
            aim.metric, mean, mean - half, mean + half, len(random), len(drawn) - len(random), len(best)
        )


def welch_half_width(a: Sequence[float], b: Sequence[float]) -> float:
    """Half of Welch's 95 % interval of a difference of means; a sample of one counts as if it had no spread."""
    parts = [(float(np.var(x, ddof=1)) / len(x), len(x) - 1) for x in (a, b) if len(x) > 1]
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return 0.0
    freedom = variance**2 / sum(part**2 / df for part, df in parts)
    return student_quantile(0.975, freedom) * math.sqrt(variance)


def student_quantile(probability: float, freedom: float) -> float:
    """The quantile of Student's t above its median, by bisection of the integral of its density."""
    log_scale = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - math.log(freedom * math.pi) / 2
    low, high = 0.0, 1e3
    for _ in range(60):
        middle = (low + high) / 2
        # On x = tan(angle) the tail takes as few points as the middle.
        angle = np.linspace(0.0, math.atan(middle), 2001)
        density = (1 + np.tan(angle) ** 2 / freedom) ** (-(freedom + 1) / 2) / np.cos(angle) ** 2
        if 0.5 + math.exp(log_scale) * float(np.trapezoid(density, angle)) < probability:
            low = middle
        else:
            high = middle
    return high


def load(path: str | Path) -> Result:
    """The result in a run folder; the campaign may still run.

    Raises:
        InvalidInput: no run folder, or a damaged one.
    """
    run_dir = RunDir.open_readonly(path)
    return Result(run_dir.config, list(run_dir.records()), run_dir.path)
