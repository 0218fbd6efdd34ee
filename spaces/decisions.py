"""The decisions that derive a genome: which production, which choices, how many children."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple

Bounds = Sequence[int]
"""Where the parts of a cut begin and end, from 0, in proportion; `range(n + 1)` for n equal parts."""


class Decision(NamedTuple):
    """A decision of a derivation.

    Attributes:
        what: what is decided, the same wherever it is decided again.
        options: what it may come to.
        bounds: the part of each option, as wide as the option is likely.
    """

    what: Hashable
    options: Sequence[Hashable]
    bounds: Bounds


Decide = Callable[[Decision], int]
"""Makes a decision: the place of one of the options."""


def evenly(what: Hashable, options: Sequence[Hashable]) -> Decision:
    """A decision whose options are equally likely."""
    return Decision(what, options, range(len(options) + 1))


class Unmet(Exception):
    """A genome has what is not among the options, so that no decisions lead to it."""


def unless_one(decide: Decide) -> Decide:
    """Decides the same, but is not asked where there is one option only."""
    return lambda decision: decide(decision) if len(decision.options) > 1 else 0


def answered(derive: Callable[[Decide], Any], answers: Iterator[Hashable]) -> list[tuple[Decision, int]]:
    """The decisions of a derivation that have more than one option, each with the place of the option to take.

    Args:
        answers: what each decision comes to, those of one option among them.

    Raises:
        Unmet: an answer is not among the options.
    """
    made = []

    def decide(decision: Decision) -> int:
        answer = next(answers)
        if answer not in decision.options:
            raise Unmet
        place = decision.options.index(answer)
        if len(decision.options) > 1:
            made.append((decision, place))
        return place

    derive(decide)
    return made
