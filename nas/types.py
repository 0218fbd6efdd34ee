"""The types that every layer shares: what is asked for, what was measured, and the events between.

Plain data and protocols; this module imports neither torch nor ray.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from spaces.errors import InvalidInput as InvalidInput

if TYPE_CHECKING:
    from spaces.genome import Genome

Status = Literal["done", "failed", "stopped"]

Direction = Literal["min", "max"]
"""Which way a metric is better."""

Split = Literal["valid", "test"]
"""The held-out data: search selects on "valid"; "test" is measured only to report what was selected."""


class Finished(Exception):
    """A strategy has nothing left to propose, whatever results may still come."""


@dataclass(frozen=True, slots=True)
class Objective:
    """A metric, or a cost such as "parameters", to be made small or large.

    With a `bound`, the metric is a constraint instead: at most (for "min") or at least (for "max") the bound.
    Without a `direction`, a campaign takes that of its task's metric; where nobody says, it is "min".

    Raises:
        InvalidInput: the metric has no name, the direction is another word, or the bound is no finite number.
    """

    metric: str
    direction: Direction | None = None
    bound: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str) or not self.metric:
            raise InvalidInput(f"the metric of an objective is {self.metric!r}, but must be its name")
        if self.direction not in (None, *get_args(Direction)):
            raise InvalidInput(
                f"objective {self.metric!r} has the direction {self.direction!r}, but it must be 'min' or 'max'"
            )
        if self.bound is not None and not (isinstance(self.bound, Real) and math.isfinite(self.bound)):
            raise InvalidInput(
                f"objective {self.metric!r} has the bound {self.bound!r}, but it must be a finite number"
            )

    def loss(self, metrics: Mapping[str, float]) -> float:
        """The metric turned so that lower is better; infinite where it is missing or not a number."""
        value = metrics.get(self.metric, math.nan)
        if math.isnan(value):
            return math.inf
        return -value if self.direction == "max" else value

    def violation(self, metrics: Mapping[str, float]) -> float:
        """By how much a constraint is broken, 0.0 where it holds or where there is none.

        In units of its bound, unless that is 0, so that constraints on parameters and on seconds add up (Jain and Deb
        2014, An Evolutionary Many-Objective Optimization Algorithm Using Reference-Point Based Nondominated Sorting
        Approach, Part II, section II).
        """
        if self.bound is None:
            return 0.0
        limit = -self.bound if self.direction == "max" else self.bound
        beyond = self.loss(metrics) - limit
        return beyond / (abs(limit) or 1.0) if beyond > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Fidelity:
    """What one trial spends: a number of optimiser steps, of training tokens, or of epochs."""

    amount: int
    unit: Literal["steps", "tokens", "epochs"] = "steps"

    def __str__(self) -> str:
        return f"{self.amount} {self.unit}"


RESUMED = "resumed_steps"
"""The metric that says how many steps of training a trial that resumes another took over; 0: it began anew."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A genome that a strategy wants measured.

    `id` is the ordinal of the proposal in its campaign, from 0, and names the trial that comes of it. `origin` says how
    it came about ("mutation of 17", the name of a known model). `parents` are ids of earlier trials; `resume_from` is
    the trial whose checkpoint training starts from; `notes` are what the strategy wants the log to keep of its choice.
    """

    id: int
    genome: Genome
    fidelity: Fidelity
    seed: int
    parents: tuple[int, ...] = ()
    origin: str = ""
    resume_from: int | None = None
    notes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measurement:
    """Metrics of a trial after `step` units of its fidelity, while it runs."""

    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Trial:
    """The outcome of one proposal: exactly one row in the store.

    `status` is "done", "failed" (`error` says why) or "stopped" (the strategy ended it); `curve` is what it reported
    while it ran. `cost` holds what the genome costs (parameters, flops_per_token, ...), known before training;
    `started` is in seconds since the epoch, `duration` in seconds. `deaths` is how many workers died while they ran it:
    after the first it is run again.
    """

    proposal: Proposal
    status: Status
    metrics: Mapping[str, float] = field(default_factory=dict)
    curve: tuple[Measurement, ...] = field(default=(), repr=False)
    cost: Mapping[str, float] = field(default_factory=dict)
    started: float = 0.0
    duration: float = 0.0
    worker: str | None = None
    error: str | None = None
    deaths: int = 0

    @property
    def id(self) -> int:
        """That of the proposal."""
        return self.proposal.id

    @property
    def merits(self) -> Mapping[str, float]:
        """All that objectives may speak of: the metrics, and what the genome costs."""
        return {**self.cost, **self.metrics}

    @classmethod
    def done(cls, proposal: Proposal, metrics: Mapping[str, float]) -> Trial:
        """A finished trial with these metrics, for asking and telling by hand."""
        return cls(proposal, "done", dict(metrics))


def standing(objectives: Sequence[Objective], trial: Trial) -> tuple[float, float]:
    """How good a trial is, lower is better: by how far it breaks constraints, then its first objective."""
    values = trial.merits
    aim = next(objective for objective in objectives if objective.bound is None)
    return math.fsum(objective.violation(values) for objective in objectives), aim.loss(values)


def check_measured(objectives: Sequence[Objective], trial: Trial) -> None:
    """Holds a trial that is told as done to what objectives speak of, as campaigns do before they tell one.

    Raises:
        InvalidInput: it is done, but one of them was not measured, or is no finite number.
    """
    if trial.status != "done":
        return
    values: Mapping[str, Any] = trial.merits
    for metric in dict.fromkeys(objective.metric for objective in objectives):
        if metric not in values:
            said = f"without the metric {metric!r}, only with {', '.join(map(repr, values)) or 'none'}"
        elif not _is_finite(values[metric]):
            said = f"with the metric {metric!r} = {values[metric]!r}, which is no finite number"
        else:
            continue
        raise InvalidInput(f'trial {trial.id} was told as done, but {said}; tell it as "failed"')


def _is_finite(value: Any) -> bool:
    try:
        return not isinstance(value, str) and math.isfinite(value)
    except TypeError:
        return False


def placing(objectives: Sequence[Objective], trial: Trial) -> tuple[int, float, float, int]:
    """How a trial is placed among all of a campaign, lower is better.

    Those trained for longest come first, as metrics after different amounts do not compare; then by standing, and age.
    """
    return (-trial.proposal.fidelity.amount, *standing(objectives, trial), trial.id)


@dataclass(frozen=True, slots=True)
class Proposed:
    """A proposal was made and is about to run."""

    proposal: Proposal


@dataclass(frozen=True, slots=True)
class Measured:
    """A running trial reported; `proceed` is the decision whether it goes on."""

    trial_id: int
    measurement: Measurement
    proceed: bool = True


@dataclass(frozen=True, slots=True)
class Ended:
    """A trial reached its final status."""

    trial: Trial


Event = Proposed | Measured | Ended


class Strategy(Protocol):
    """Proposes genomes from the events so far, and from nothing else.

    A strategy is a function of the ordered list of events: `ask` does not change it, so that a campaign is
    replayed by telling the logged events. Proposal number k draws from `numpy.random.default_rng([seed, k])`.
    """

    def ask(self, n: int) -> list[Proposal]:
        """At most n proposals, numbered on from those told; fewer: wait for results.

        Raises:
            Finished: none will come, whatever is told.
        """

    def tell(self, event: Event) -> None:
        """Takes the next event of the log; its own proposals come back here as `Proposed`."""

    def proceed(self, trial_id: int, measurement: Measurement) -> bool:
        """Whether a running trial should go on. Pure: the decision becomes part of an event."""


@dataclass(frozen=True)
class Context:
    """What an evaluator, or a user's own function, may use while it measures one proposal.

    `report(step, metrics)` tells the campaign how far training is, and raises `TrialStopped` when the trial
    should end; `deadline` is a `time.monotonic()` value, and `check_deadline` raises `TooSlow` past it.
    `splits` are the parts of the data to measure on: a campaign asks for "test" once, when it concludes.
    `seed` is what everything random of the trial follows from; `amount` is what it spends, in the unit of the budget.

    A function finds `folder` made: files in it stay, also those of a run that was killed. What it writes into the
    folder `checkpoint`, empty at first, is `previous` of the trial that goes on from this one, and is removed when none
    will; `previous` is None where a trial begins anew. Other evaluators are given neither.

    The defaults are for a function that is called by hand.
    """

    trial_id: int = 0
    folder: Path | None = None
    device: str = "cpu"
    deadline: float = math.inf
    report: Callable[[int, Mapping[str, float]], None] = lambda step, metrics: None
    check_deadline: Callable[[], None] = lambda: None
    splits: tuple[Split, ...] = ("valid",)
    seed: int = 0
    amount: int = 1
    checkpoint: Path | None = None
    previous: Path | None = None


class TrialStopped(Exception):
    """The strategy decided that this trial ends here; what it measured so far counts."""


class TooSlow(Exception):
    """The trial used up its seconds."""


class Diverged(Exception):
    """The loss became NaN or infinite."""


def floats(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics as plain floats: tasks and evaluators may give NumPy's or torch's.

    Raises:
        TypeError: they are no mapping, or one of them is no number.
    """
    if not isinstance(metrics, Mapping):
        raise TypeError(f"metrics must be a mapping of names to numbers, but are {metrics!r}")
    floats = {}
    for name, value in metrics.items():
        try:
            if isinstance(value, str | bytes):  # which float reads
                raise TypeError
            floats[name] = float(value.detach() if hasattr(value, "detach") else value)
        except (TypeError, ValueError):
            raise TypeError(f"metric {name!r} must be a number, but is {value!r}") from None
    return floats


class Evaluator(Protocol):
    """Measures a proposal; lives on a worker, is pickled to it once, and keeps its data there."""

    def evaluate(self, proposal: Proposal, context: Context) -> Mapping[str, float]:
        """The metrics of the proposal. Whatever it raises makes a failed trial with that reason."""


class Engine(Protocol):
    """Runs proposals on workers."""

    workers: int

    def submit(self, proposal: Proposal, splits: tuple[Split, ...] = ("valid",)) -> None:
        """Starts a proposal, or queues it for the next free worker, to be measured on these splits."""

    def poll(self, timeout: float) -> Sequence[Trial]:
        """The trials that ended since the last call; waits at most `timeout` seconds for the first."""

    def close(self) -> None:
        """Ends every running trial and gives the workers back."""


OnReport = Callable[[int, Measurement], bool]
"""What an engine calls with each report of a running trial; False asks it to stop the trial."""

JSON = dict[str, Any]
