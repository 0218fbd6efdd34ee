"""Multi-fidelity search: any strategy says which networks, a schedule says for how long each is trained.

Many networks train for little, and the best of them are trained on. Each training is a trial of its own, which resumes
the one below.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any

from annotated_types import Gt

from nas.search.lines import Line
from nas.search.replayed import Replayed
from nas.search.rungs import Bracket, Move, ladder
from nas.search.screening import Screening
from nas.types import (
    Ended,
    Event,
    Fidelity,
    Finished,
    InvalidInput,
    Measurement,
    Objective,
    Proposal,
    Proposed,
    Strategy,
    Trial,
    check_measured,
)
from spaces import Space

NOTES = ("bracket", "rung")
"""What the notes of a proposal hold besides those of the sampler: where it stands."""

Sampler = str | dict[str, Any]
"""A strategy by name, or by name with its options."""


class MultiFidelity(ABC):
    """A schedule over a sampler, which is any strategy.

    The sampler sees one trial a network, as good as its longest training says that it would be in the end: what
    training on changes is read off the networks that were trained on, as a line from each rung to the next. So a
    surrogate learns from all trials, without mixing what was measured after different amounts. As these values change
    with every promotion that ends, the sampler is then made anew, and told all.

    Subclasses give `next`, from the brackets alone. Where the sampler has no more networks (a small space, or a table
    that lists few) and nothing is left that the schedule would train on, what is left of the budget trains on the best
    of the highest rung that was trained no further, beyond the share of it that the schedule lets go on.

    Args:
        rungs: smaller amounts than the full fidelity, of its unit, ascending.
        sampler: the strategy that says which network is trained next, as its name or {name = ..., its options}.
        eta: one in so many trials of a rung goes on to the next; default: as many times fewer as the next amount is
            greater, so that rungs cost alike.
        screening: ranks the sampler's candidates by a predictor.

    Raises:
        InvalidInput: there are no rungs, or the sampler is unknown, has rungs itself, or cannot be told anew.
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        seed: int,
        fidelity: Fidelity,
        rungs: Sequence[int] = (),
        sampler: Sampler = "random",
        eta: Annotated[float, Gt(1)] | None = None,
        screening: Screening | None = None,
    ) -> None:
        self.space, self.objectives, self.seed, self.fidelity = space, tuple(objectives), seed, fidelity
        self.ladder = ladder(rungs, fidelity.amount, eta)
        self.brackets: list[Bracket] = []
        self.sampler = sampler
        self._screening = screening
        self._proposals: dict[int, Proposal] = {}
        self._running: set[int] = set()
        self._first: dict[int, int] = {}
        """The first trial of the network of each trial."""
        self._starts: list[int] = []
        """The first trial of each network, by the number that the sampler gave it."""
        self._places: dict[int, int] = {}
        """The inverse."""
        self._trained: dict[int, dict[int, Trial]] = {}
        """Of the network of each first trial what came of it, by rung."""
        self._sampled: dict[int, Proposal] = {}
        """The proposal of each first trial as the sampler made it."""
        self._log: list[Proposed | int] = []
        """What the sampler is told: its proposals, and the first trials that have ended."""
        self._told = 0
        self._made: Strategy | None = self._make()
        if isinstance(self._made, Replayed):
            raise InvalidInput(
                f"'strategy.sampler' is {sampler!r}, whose algorithm must be told what it was told before, but what "
                f"trainings would give in the end changes with every promotion: take one of our own, or leave rungs out"
            )
        self._lines: list[dict[str, Line]] = []

    @abstractmethod
    def next(self, may_start: bool) -> Move | None:
        """What is trained next, where the sampler has more networks or has not; None: wait for results."""

    def ask(self, n: int) -> list[Proposal]:
        """At most n proposals: first it is decided how long each is trained, then the sampler says the new networks."""
        moves = self._moves(n, n)
        starts = sum(move.trial is None for move in moves)
        drawn: list[Proposal] = []
        if starts:
            try:
                drawn = self._caught_up().ask(starts)
            except Finished:
                drawn = []
            if len(drawn) < starts:
                moves = self._moves(n, len(drawn))
        if not moves and not self._running:
            moves = self._left(n)
        if not moves and not self._running:
            raise Finished(f"the sampler {self.sampler} has no more networks, and all are trained in full")
        new = iter(drawn)
        return [
            self._started(k, move, next(new)) if move.trial is None else self._resumed(k, move, move.trial)
            for k, move in enumerate(moves, start=len(self._proposals))
        ]

    def tell(self, event: Event) -> None:
        """Takes the next event of the log.

        Raises:
            InvalidInput: a proposal out of order, or of an amount that is no rung, or a done trial without a number
                that an objective speaks of.
        """
        if isinstance(event, Proposed):
            self._propose(event.proposal)
        elif isinstance(event, Ended):
            check_measured(self.objectives, event.trial)
            self._end(event.trial)

    def proceed(self, trial_id: int, measurement: Measurement) -> bool:
        """Always: trials end at their rung."""
        return True

    def resumable(self) -> set[int]:
        """The trials that may yet be resumed, here or where the full fidelity is raised.

        Of others no checkpoint is needed.
        """
        found: set[int] = set()
        for bracket in self.brackets:
            for rung in bracket.rungs:
                found.update(id for id in rung.ranking if id not in rung.resumed)
        return found

    def _moves(self, n: int, starts: int) -> list[Move]:
        """The next moves, at most n and of them so many of new networks; the brackets are unchanged."""
        moves: list[Move] = []
        try:
            while len(moves) < n:
                move = self.next(starts > 0)
                if move is None:
                    break
                starts -= move.trial is None
                self._enter(move, len(self._proposals) + len(moves))
                moves.append(move)
        finally:
            for move in reversed(moves):
                self._leave(move)
        return moves

    def _left(self, n: int) -> list[Move]:
        """What may be trained on that the schedule leaves, at most n: from the highest rung, the best first."""
        moves: list[Move] = []
        for number in reversed(range(len(self.ladder) - 1)):
            for place, bracket in enumerate(self.brackets):
                if bracket.start <= number:
                    rung = bracket.rung(number)
                    left = (id for id in rung.ranking if id not in rung.resumed)
                    moves += [Move(place, number + 1, id) for id in left]
        return moves[:n]

    def _enter(self, move: Move, id: int) -> None:
        if move.bracket == len(self.brackets):
            self.brackets.append(Bracket(move.rung, len(self.ladder), self.objectives))
        bracket = self.brackets[move.bracket]
        bracket.rung(move.rung).entered.append(id)
        if move.trial is not None:
            bracket.rung(move.rung - 1).resumed.add(move.trial)

    def _leave(self, move: Move) -> None:
        bracket = self.brackets[move.bracket]
        bracket.rung(move.rung).entered.pop()
        if move.trial is not None:
            bracket.rung(move.rung - 1).resumed.discard(move.trial)
        elif move.rung == bracket.start and not bracket.rungs[0].entered:
            self.brackets.pop()

    def _started(self, k: int, move: Move, drawn: Proposal) -> Proposal:
        """The proposal of a new network, from the sampler's."""
        parents = tuple(self._starts[parent] for parent in drawn.parents)
        return self._proposal(k, move, _renumbered(drawn, k, parents))

    def _resumed(self, k: int, move: Move, trial: int) -> Proposal:
        """The proposal that trains the network of a trial on."""
        genome = self._proposals[trial].genome
        origin = f"promotion of {trial}"
        proposal = Proposal(k, genome, self.fidelity, self.seed, (trial,), origin, resume_from=trial)
        return self._proposal(k, move, proposal)

    def _proposal(self, k: int, move: Move, proposal: Proposal) -> Proposal:
        return dataclasses.replace(
            proposal,
            fidelity=Fidelity(self.ladder.amounts[move.rung], self.fidelity.unit),
            notes={**proposal.notes, "bracket": move.bracket, "rung": move.rung},
        )

    def _propose(self, proposal: Proposal) -> None:
        if proposal.id != len(self._proposals):
            raise InvalidInput(f"told proposal {proposal.id}, but the next is {len(self._proposals)}")
        move = self._move_of(proposal)
        self._enter(move, proposal.id)
        self._proposals[proposal.id] = proposal
        self._running.add(proposal.id)
        if move.trial is None:
            self._first[proposal.id] = proposal.id
            self._places[proposal.id] = len(self._starts)
            self._starts.append(proposal.id)
            self._trained[proposal.id] = {}
            self._sampled[proposal.id] = self._as_sampled(proposal)
            self._log.append(Proposed(self._sampled[proposal.id]))
        else:
            self._first[proposal.id] = self._first[move.trial]

    def _move_of(self, proposal: Proposal) -> Move:
        """What a proposal of the log was; rungs go by amounts, so that more may have come on top."""
        amount = proposal.fidelity.amount
        if amount not in self.ladder.amounts:
            raise InvalidInput(
                f"proposal {proposal.id} spends {proposal.fidelity}, but the rungs are {list(self.ladder.amounts)}"
            )
        bracket = int(proposal.notes["bracket"])
        return Move(bracket, self.ladder.amounts.index(amount), proposal.resume_from)

    def _end(self, trial: Trial) -> None:
        self._running.discard(trial.id)
        move = self._move_of(trial.proposal)
        self.brackets[move.bracket].rung(move.rung).end(trial)
        self._trained[self._first[trial.id]][move.rung] = trial
        if move.trial is None:
            self._log.append(trial.id)
        else:
            self._made = None

    def _make(self) -> Strategy:
        return made(self.sampler, self.space, self.objectives, self.seed, self.fidelity, self._screening)

    def _caught_up(self) -> Strategy:
        """The sampler, told of one trial a network."""
        if self._made is None:
            self._made, self._told, self._lines = self._make(), 0, self._changes()
        for event in self._log[self._told :]:
            if isinstance(event, Proposed):
                self._made.tell(event)
                continue
            trained, seen = self._trained[event], self._sampled[event]
            longest = max(trained)
            metrics = {**trained[longest].metrics}
            for line in self._lines[longest:]:
                metrics.update({name: at(metrics[name]) for name, at in line.items() if name in metrics})
            self._made.tell(
                Ended(dataclasses.replace(trained[longest], proposal=seen, metrics=metrics, curve=()))
            )
        self._told = len(self._log)
        return self._made

    def _as_sampled(self, proposal: Proposal) -> Proposal:
        """A first trial's proposal as the sampler made it, with its numbers."""
        parents = tuple(self._places[parent] for parent in proposal.parents)
        notes = {key: value for key, value in proposal.notes.items() if key not in NOTES}
        made = _renumbered(proposal, self._places[proposal.id], parents)
        return dataclasses.replace(made, fidelity=self.fidelity, notes=notes)

    def _changes(self) -> list[dict[str, Line]]:
        """From each rung to the next, how the metrics of objectives change by training on."""
        names = dict.fromkeys(objective.metric for objective in self.objectives)
        return [
            {
                name: Line.through(
                    [
                        (trained[rung].metrics[name], trained[rung + 1].metrics[name])
                        for trained in self._trained.values()
                        if {rung, rung + 1} <= trained.keys()
                        and name in trained[rung].metrics
                        and name in trained[rung + 1].metrics
                    ]
                )
                for name in names
            }
            for rung in range(len(self.ladder) - 1)
        ]


def made(
    sampler: Sampler,
    space: Space,
    objectives: Sequence[Objective],
    seed: int,
    fidelity: Fidelity,
    screening: Screening | None,
) -> Strategy:
    """The strategy that says which networks.

    Raises:
        InvalidInput: it is unknown, or its options do not fit.
    """
    from nas.search import load

    given = {"name": sampler} if isinstance(sampler, str) else sampler
    anew = None if screening is None else screening.anew()
    return load(space=space, objectives=objectives, seed=seed, fidelity=fidelity, screening=anew, **given)


def _renumbered(proposal: Proposal, id: int, parents: tuple[int, ...]) -> Proposal:
    """A proposal of other numbers, also where its origin tells those of its parents."""
    origin = proposal.origin
    if parents:
        origin = f"{origin.partition(' of ')[0]} of {' and '.join(map(str, parents))}"
    return dataclasses.replace(proposal, id=id, parents=parents, origin=origin)
