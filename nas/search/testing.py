"""The conformance suite of strategies: what every strategy must do, ours or a user's.

@pytest.mark.parametrize("check", strategy_checks, ids=lambda check: check.__name__)
def test_mine(check):
    check(lambda space, objectives, seed: MyStrategy(space, objectives, seed), space)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nas.types import (
    Ended,
    Event,
    Finished,
    InvalidInput,
    Measured,
    Measurement,
    Objective,
    Proposal,
    Proposed,
    Strategy,
    Trial,
)
from spaces import Space

Make = Callable[[Space, Sequence[Objective], int], Strategy]
OBJECTIVES = (Objective("loss", "min"),)


def outcome(proposal: Proposal, failing: float = 0.0) -> Trial:
    """A made-up result that depends on nothing but the network and how long it trained.

    Losses are hashes of its digest; training on takes more from those of some networks than of others, and some fail
    only then.
    """
    number, gain = (int(proposal.genome.digest[k : k + 8], 16) / 2**32 for k in (0, 8))
    if number < failing or (proposal.resume_from is not None and gain < failing):
        return Trial(proposal, "failed", error="made to fail")
    return Trial(proposal, "done", {"loss": number + gain / proposal.fidelity.amount})


def run(
    strategy: Strategy, trials: int, workers: int, rng: np.random.Generator, failing: float = 0.0
) -> list[Event]:
    """Events of a campaign whose trials end in random order among `workers` that run."""
    events: list[Event] = []
    running: list[Proposal] = []

    def log(event: Event) -> None:
        events.append(event)
        strategy.tell(event)

    made = 0
    while made < trials or running:
        if made < trials and len(running) < workers:
            try:
                asked = strategy.ask(min(workers - len(running), trials - made))
            except Finished:
                asked, trials = [], made
            for proposal in asked:
                log(Proposed(proposal))
                running.append(proposal)
                made += 1
            if asked:
                continue
        if not running:
            break
        proposal = running.pop(int(rng.integers(len(running))))
        measurement = Measurement(1, {"loss": 1.0})
        log(Measured(proposal.id, measurement, strategy.proceed(proposal.id, measurement)))
        log(Ended(outcome(proposal, failing)))
    return events


def check_ask_is_pure(make: Make, space: Space) -> None:
    """Asking twice gives the same, whatever number was asked for before."""
    strategy = make(space, OBJECTIVES, 0)
    for event in run(make(space, OBJECTIVES, 0), 12, 2, np.random.default_rng(0)):
        strategy.tell(event)
    first = strategy.ask(3)
    assert strategy.ask(3) == first
    assert strategy.ask(1) == first[:1]


def check_proposals(make: Make, space: Space) -> None:
    """Proposals are numbered in order, valid, of new networks, and name parents that exist."""
    proposals = [
        event.proposal
        for event in run(make(space, OBJECTIVES, 1), 60, 4, np.random.default_rng(1))
        if isinstance(event, Proposed)
    ]
    assert [proposal.id for proposal in proposals] == list(range(len(proposals)))
    assert len({(p.genome.digest, p.fidelity, p.seed) for p in proposals}) == len(proposals), (
        "a network was repeated"
    )
    for proposal in proposals:
        space.check(proposal.genome)
        assert proposal.origin
        assert all(0 <= parent < proposal.id for parent in proposal.parents)


def check_replay(make: Make, space: Space) -> None:
    """A strategy that is told the log proposes what the uninterrupted one went on to propose.

    Each campaign is cut at every event where a proposal follows, in order and out of order.
    """
    for workers in (1, 3):
        events = run(make(space, OBJECTIVES, 2), 40, workers, np.random.default_rng(workers), failing=0.2)
        replayed = make(space, OBJECTIVES, 2)
        pending: list[Proposal] = []
        for event in events:
            if isinstance(event, Proposed):
                if not pending:
                    pending = replayed.ask(1)
                assert pending.pop(0) == event.proposal, "the replayed strategy went another way"
            else:
                pending = []
            replayed.tell(event)


def check_interruption(make: Make, space: Space) -> None:
    """A new strategy that is told the beginning of a log, up to a random place, goes on as the log does.

    The place may lie among proposals that were asked for together, as where a campaign died between them.
    """
    for workers in (1, 4):
        rng = np.random.default_rng([7, workers])
        events = run(make(space, OBJECTIVES, 7), 30, workers, rng, failing=0.2)
        places = [place for place, event in enumerate(events) if isinstance(event, Proposed)]
        for place in rng.choice(places, size=min(3, len(places)), replace=False).tolist():
            resumed = make(space, OBJECTIVES, 7)
            for event in events[:place]:
                resumed.tell(event)
            following = itertools.takewhile(lambda event: isinstance(event, Proposed), events[place:])
            expected = [event.proposal for event in following if isinstance(event, Proposed)]
            assert resumed.ask(len(expected)) == expected, f"told {place} events, it went another way"


def check_failures(make: Make, space: Space) -> None:
    """Failed trials, and nothing but failed trials, do not end a strategy."""
    for failing in (0.5, 1.0):
        events = run(make(space, OBJECTIVES, 3), 40, 2, np.random.default_rng(3), failing)
        assert sum(isinstance(event, Ended) for event in events) == 40


def check_missing_metric(make: Make, space: Space) -> None:
    """A done trial without its metric, or whose metric is no finite number, is refused by a line that names both.

    Nothing follows from it: the same trial may then be told as it should be.
    """
    strategy, untroubled = make(space, OBJECTIVES, 4), make(space, OBJECTIVES, 4)
    wrong: tuple[dict[str, Any], ...] = (
        {},
        {"loss": math.nan},
        {"loss": math.inf},
        {"loss": "0.5"},
        {"loss": None},
    )
    for bad in wrong:
        (proposal,) = strategy.ask(1)
        for each in (strategy, untroubled):
            each.tell(Proposed(proposal))
        said = "nothing"
        try:
            strategy.tell(Ended(Trial.done(proposal, bad)))
        except InvalidInput as error:
            said = str(error)
        assert f"trial {proposal.id} " in said, f"a done trial with the metrics {bad} was refused by {said}"
        assert "'loss'" in said, said
        for each in (strategy, untroubled):
            each.tell(Ended(outcome(proposal)))
    assert strategy.ask(2) == untroubled.ask(2)


def check_seeds(make: Make, space: Space) -> None:
    """The seed decides the proposals: another seed, others."""
    first, same, other = (make(space, OBJECTIVES, seed).ask(8) for seed in (5, 5, 6))
    assert first == same
    assert [p.genome for p in first] != [p.genome for p in other]


strategy_checks = (
    check_ask_is_pure,
    check_proposals,
    check_replay,
    check_interruption,
    check_failures,
    check_missing_metric,
    check_seeds,
)
