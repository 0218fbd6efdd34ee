"""What a campaign found, read from its run folder, while it runs or after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nas.config import Config
from nas.store import Concluded, Opened, RunDir
from nas.store.records import Record
from nas.types import Ended, Objective, Proposal, Proposed, Trial

if TYPE_CHECKING:
    import pyarrow

RESAMPLES = 10_000


@dataclass(frozen=True)
class Gain:
    """By how much the best is better than the average random architecture of the same run and fidelity.

    `mean` is the difference of the averages, positive where the best is better; `low` and `high` bound the
    middle 95 % of its bootstrap distribution, in which random architectures and seeds are both drawn again.
    The best is measured on `seeds` fresh seeds, which took no part in choosing it.
    """

    metric: str
    mean: float
    low: float
    high: float
    random: int
    seeds: int


class Result:
    """The trials of a campaign, its configuration and its conclusion."""

    def __init__(self, config: Config, records: Sequence[Record], path: Path | None = None) -> None:
        self.config = config
        self.path = path
        self.proposals: list[Proposal] = [r.proposal for r in records if isinstance(r, Proposed)]
        self.trials: list[Trial] = [r.trial for r in records if isinstance(r, Ended)]
        self.starts: list[Opened] = [r for r in records if isinstance(r, Opened)]
        ends = [i for i, r in enumerate(records) if isinstance(r, Ended)]
        conclusions = [r for r in records[ends[-1] if ends else 0 :] if isinstance(r, Concluded)]
        self.conclusion: Concluded | None = conclusions[-1] if conclusions else None

    @property
    def aims(self) -> tuple[Objective, ...]:
        """The objectives that are no constraints."""
        return tuple(objective for objective in self.config.objectives if objective.bound is None)

    @property
    def done(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.status == "done"]

    @property
    def running(self) -> list[Proposal]:
        """Proposals without an end: those that run, or ran when the driver was stopped."""
        ended = {trial.id for trial in self.trials}
        return [proposal for proposal in self.proposals if proposal.id not in ended]

    def ranking(self) -> list[Trial]:
        """The done trials, best first: constraints before the first objective, ties by age."""
        constraints = [objective for objective in self.config.objectives if objective.bound is not None]

        def rank(trial: Trial) -> tuple[float, float, int]:
            values = merits(trial)
            return (sum(c.violation(values) for c in constraints), self.aims[0].loss(values), trial.id)

        return sorted(self.done, key=rank)

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
        """The trials that meet the constraints as well as any does and that no other beats in every objective."""
        ranking = self.ranking()
        constraints = [objective for objective in self.config.objectives if objective.bound is not None]
        broken = {t.id: sum(c.violation(merits(t)) for c in constraints) for t in ranking}
        least = min(broken.values(), default=0.0)
        ranking = [trial for trial in ranking if broken[trial.id] == least]
        losses = [tuple(aim.loss(merits(trial)) for aim in self.aims) for trial in ranking]
        return [
            trial
            for trial, loss in zip(ranking, losses, strict=True)
            if not any(other != loss and all(map(float.__le__, other, loss)) for other in losses)
        ]

    def table(self) -> pyarrow.Table:
        """All trials that ended, one row each."""
        from nas.store.parquet import trials_table

        return trials_table(self.trials, self.config.objectives)

    def confirmed(self, metric: str) -> list[float]:
        """A metric of the best on the fresh seeds of the conclusion; empty before there is one."""
        if self.conclusion is None:
            return []
        return [values[metric] for values in self.conclusion.metrics if metric in values]

    def gain(self) -> Gain | None:
        """The gain over the average random architecture; None with fewer than two of them or no conclusion."""
        aim = self.aims[0]
        random = [aim.loss(merits(t)) for t in self.done if t.proposal.origin == "random"]
        best = [aim.loss({aim.metric: value}) for value in self.confirmed(aim.metric)]
        if len(random) < 2 or not best:
            return None
        rng = np.random.default_rng(self.config.seed)
        means = [rng.choice(values, (RESAMPLES, len(values))).mean(axis=1) for values in (random, best)]
        low, high = np.quantile(means[0] - means[1], (0.025, 0.975))
        mean = float(np.mean(random) - np.mean(best))
        return Gain(aim.metric, mean, float(low), float(high), len(random), len(best))


def merits(trial: Trial) -> Mapping[str, float]:
    """All that objectives may speak of: the metrics of a trial and what its genome costs."""
    return {**trial.cost, **trial.metrics}


def load(path: str | Path) -> Result:
    """The result in a run folder; the campaign may still run.

    Raises:
        InvalidInput: no run folder, or a damaged one.
    """
    run_dir = RunDir.open_readonly(path)
    return Result(run_dir.config, list(run_dir.records()), run_dir.path)
