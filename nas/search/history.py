"""What strategies share: the events told so far, from which each proposal follows."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Sequence

import numpy as np

from nas.search.losses import labels_of, outcome
from nas.search.promising import Promise
from nas.search.screening import Screening
from nas.types import (
    Ended,
    Event,
    Fidelity,
    Finished,
    InvalidInput,
    Measured,
    Measurement,
    Objective,
    Proposal,
    Proposed,
    Trial,
    check_measured,
)
from spaces import Genome, ProductSpace, Space
from spaces.lookup import find_genome

TRIES = 100
"""How often a genome is drawn again because its network was proposed before, or costs too much."""

BEHIND = -1e12
"""Times one and the breach of its bounds: what a genome promises that costs too much, less than any that does not."""

Child = tuple[Genome, str, tuple[int, ...]]
"""A genome, where it comes from, and the ids of its parents."""


class HistoryStrategy(ABC):
    """A strategy whose whole state is the list of events that it was told.

    Subclasses give `propose`. Proposal k draws from `default_rng([seed, k])`; every trial trains on the seed of
    the campaign, so that trials meet the same data in the same order and differ by their genomes.
    """

    several: bool = False
    """Whether it follows several objectives at a time."""

    screenable: bool = True
    """Whether it may be asked for many candidates in place of one; not where a model of its own chooses already."""

    screening: Screening | None = None
    """Ranks candidates for each proposal, once a predictor can tell."""

    named: tuple[tuple[str, Genome], ...] = ()
    """Known models, or genomes by their texts, which are proposed before all else; each with its origin."""

    def __init__(self, space: Space, objectives: Sequence[Objective], seed: int, fidelity: Fidelity) -> None:
        self.aims = tuple(objective for objective in objectives if objective.bound is None)
        aims = self.aims
        if not aims or (len(aims) > 1 and not self.several):
            wanted = "at least one objective" if self.several else "exactly one objective"
            advice = (
                "leave one without"
                if self.several or not aims
                else 'give all others a bound, or take "auto", "bayesian" or "nsga2"'
            )
            raise InvalidInput(
                f"strategy {known_as(type(self))!r} follows {wanted} without a bound, but objectives has {len(aims)}: "
                f"{', '.join(aim.metric for aim in aims) or 'none'}; {advice}"
            )
        self.space = space
        self.objectives = tuple(objectives)
        self.seed = seed
        self.fidelity = fidelity
        self.proposals: list[Proposal] = []
        self.ended: list[Trial] = []
        self._outcomes = array("d")
        """The outcome of each trial that has ended, two numbers each."""
        self._costs: list[Objective] | None = None
        """The bounds on what genomes cost; None while that is not known."""
        self._digests: set[str] = set()
        self._running: dict[int, Proposal] = {}

    def begin_with(self, named: Sequence[str]) -> None:
        """Proposes these before all else: architectures of the space, by name or text.

        Raises:
            InvalidInput: one is unknown.
        """
        found = []
        for place, name in enumerate(named):
            try:
                genome = find_genome(self.space, name)
            except InvalidInput as error:
                raise InvalidInput(f"'strategy.named[{place}]' is {name!r}: {error}") from error
            found.append((name if name in self.space.named else "given", genome))
        self.named = tuple(found)

    @property
    def losses(self) -> np.ndarray:
        """The labels of the trials that have ended, [n], see `nas.search.losses.labels`."""
        for trial in self.ended[len(self._outcomes) // 2 :]:
            self._outcomes.extend(outcome(trial, self.objectives))
        return labels_of(np.array(self._outcomes).reshape(-1, 2))

    def ask(self, n: int) -> list[Proposal]:
        """At most n proposals whose networks are new, numbered on from those told; the strategy is unchanged."""
        asked: list[Proposal] = []
        new: list[str] = []
        running = [*self._running.values()]
        try:
            for k in range(len(self.proposals), len(self.proposals) + n):
                proposal = self._screened(k, np.random.default_rng([self.seed, k]), running)
                digest = proposal.genome.digest
                if digest not in self._digests:
                    self._digests.add(digest)
                    new.append(digest)
                asked.append(proposal)
                running.append(proposal)
        except Finished:
            if not asked:
                raise
        finally:  # nothing was told yet; a copy of all digests would cost as much as there are trials
            self._digests.difference_update(new)
        return asked

    def _screened(self, k: int, rng: np.random.Generator, running: Sequence[Proposal]) -> Proposal:
        """Proposal number k: a known model, or where it is screened, the most promising of many."""
        if k < len(self.named) and self.named[k][1].digest not in self._digests:
            name, genome = self.named[k]
            return self.proposal(k, genome, name)
        screening = self.screening
        fitted = None if screening is None else screening.fitted(self.ended, self.objectives, self.space)
        if screening is None or fitted is None:
            return self.propose(k, rng, self._digests, running)
        number = screening.candidates if fitted.trusted and rng.random() >= screening.explore else 1
        candidates: dict[str, Proposal] = {}
        for _ in range(number + (TRIES if number > 1 else 0)):
            try:
                candidate = self.propose(k, rng, self._digests, running)
            except Finished:
                if not candidates:
                    raise
                break
            candidates.setdefault(candidate.genome.digest, candidate)
            if len(candidates) == number:
                break
        found = [*candidates.values()]
        chosen = fitted.choose([candidate.genome for candidate in found]) if len(found) > 1 else 0
        return dataclasses.replace(found[chosen], notes=fitted.notes(len(found)))

    def breach(self, genome: Genome) -> float:
        """By how much what a genome costs breaks the bounds on it, see `Objective.violation`; 0.0: not.

        A cost is known before a genome is measured. Which objectives are of costs, a trial that is done has told: a
        table may measure the same by itself. Until then nothing is known to break a bound.
        """
        if self._costs is None and (
            told := next((each for each in self.ended if each.status == "done"), None)
        ):
            self._costs = [
                each
                for each in self.objectives
                if each.bound is not None and each.metric in told.cost and each.metric not in told.metrics
            ]
        if not self._costs:
            return 0.0
        cost = dataclasses.asdict(self.space.cost(genome))
        return sum(bound.violation(cost) for bound in self._costs)

    def is_open(self, genome: Genome, taken: set[str]) -> bool:
        """Whether a network is new and keeps the bounds on what it costs."""
        return genome.digest not in taken and not self.breach(genome)

    def first_within(self, made: Iterable[Child | None], taken: set[str]) -> Child | None:
        """The first whose network is new and keeps the bounds on what it costs; where none does, the nearest to it."""
        nearest, least = None, np.inf
        for child in made:
            if child is None or child[0].digest in taken:
                continue
            breach = self.breach(child[0])
            if breach < least:
                nearest, least = child, breach
            if not breach:
                break
        return nearest

    def within(self, promise: Promise) -> Promise:
        """What genomes promise, those that break the bounds on what they cost behind all others, the nearest first."""

        def promised(genomes: Sequence[Genome]) -> np.ndarray:
            breaches = np.array([self.breach(genome) for genome in genomes])
            return np.where(breaches > 0, BEHIND * (1 + breaches), promise(genomes))

        return promised

    @abstractmethod
    def propose(
        self, k: int, rng: np.random.Generator, taken: set[str], running: Sequence[Proposal]
    ) -> Proposal:
        """Proposal number k, of a network whose digest is not taken, while some that were made have not ended."""

    def tell(self, event: Event) -> None:
        """Takes the next event of the log.

        Raises:
            InvalidInput: a proposal out of order, a trial that does not run, or a done one without a number that an
                objective speaks of.
        """
        if isinstance(event, Proposed):
            if event.proposal.id != len(self.proposals):
                raise InvalidInput(
                    f"told proposal {event.proposal.id}, but the next is {len(self.proposals)}"
                )
            self.proposals.append(event.proposal)
            self._digests.add(event.proposal.genome.digest)
            self._running[event.proposal.id] = event.proposal
        elif isinstance(event, Ended):
            if event.trial.id not in self._running:
                raise InvalidInput(
                    f"told that trial {event.trial.id} has ended, but of those proposed it does not run"
                )
            check_measured(self.objectives, event.trial)
            self.ended.append(event.trial)
            del self._running[event.trial.id]
        else:
            assert isinstance(event, Measured)

    def proceed(self, trial_id: int, measurement: Measurement) -> bool:
        """Always: these strategies let every trial run to its end."""
        return True

    def proposal(self, k: int, genome: Genome, origin: str, parents: tuple[int, ...] = ()) -> Proposal:
        """Proposal number k of a genome, at the fidelity and on the seed of the campaign."""
        return Proposal(k, genome, self.fidelity, self.seed, parents, origin)


def known_as(strategy: type) -> str:
    """The name of a strategy in campaign files; that of its class where it has none."""
    from nas.search import STRATEGIES

    place = f"{strategy.__module__}:{strategy.__qualname__}"
    return next((name for name, known in STRATEGIES.items() if known == place), strategy.__qualname__)


def product_of(space: Space, strategy: str) -> ProductSpace:
    """The space, which a strategy needs to be a product of choices.

    Raises:
        InvalidInput: it is none.
    """
    if not isinstance(space, ProductSpace):
        raise InvalidInput(
            f"strategy {strategy!r} searches spaces that are products of choices, but {space.name!r} is a "
            f"{type(space).__name__}"
        )
    return space
