"""Campaigns of one worker, without a campaign."""

from __future__ import annotations

from collections.abc import Callable

from nas.types import Ended, Proposal, Proposed, Strategy, Trial


def run(strategy: Strategy, trials: int, outcome: Callable[[Proposal], Trial]) -> list[Trial]:
    """The trials of a strategy that is asked for one at a time, and told how each ends."""
    ended = []
    for _ in range(trials):
        (proposal,) = strategy.ask(1)
        strategy.tell(Proposed(proposal))
        ended.append(outcome(proposal))
        strategy.tell(Ended(ended[-1]))
    return ended
