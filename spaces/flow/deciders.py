"""Who makes the decisions of a derivation: a point of a cube, anybody who is asked, or a tree that is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Protocol, TypeVar

from spaces.decisions import Bounds, Decide, Decision, Unmet

RARE = 64
"""One decision in so many goes the rare way."""
WAYS = ("usual", "rare")

T = TypeVar("T")
K = TypeVar("K")


class Decider(Protocol):
    """Who makes the decisions of a derivation."""

    def pick(
        self, options: Sequence[T], names: Sequence[K], wanted: K | None, weights: Sequence[int] | None = None
    ) -> T:
        """One of the options, which are equally likely where no weights are given.

        Args:
            names: of the options.
            wanted: the name of the one that a given tree has.
        """
        ...

    def one_of(self, usual: Callable[[], T | None], rare: Callable[[], T | None]) -> T | None:
        """What the usual way gives, or what the rare one does; None where neither gives anything."""
        ...


def _bounds(number: int, weights: Sequence[int] | None) -> Bounds:
    return range(number + 1) if weights is None else list(accumulate(weights, initial=0))


class Asked:
    """Somebody makes the decisions, who is not asked where there is one option only."""

    def __init__(self, decide: Decide) -> None:
        self._decide = decide

    def pick(
        self, options: Sequence[T], names: Sequence[K], wanted: K | None, weights: Sequence[int] | None = None
    ) -> T:
        return options[0] if len(options) == 1 else options[self._decide(_decision(names, weights))]

    def one_of(self, usual: Callable[[], T | None], rare: Callable[[], T | None]) -> T | None:
        found = usual() if self.pick((True, False), WAYS, None, (RARE - 1, 1)) else None
        return rare() if found is None else found


def _decision(names: Sequence[Any], weights: Sequence[int] | None) -> Decision:
    """What is decided is told by what kind of thing it comes to: a form, a shape, a terminal."""
    return Decision(type(names[0]).__name__, names, _bounds(len(names), weights))


class Path:
    """A given tree decides, and `cuts` are the decisions."""

    def __init__(self) -> None:
        self.cuts: list[tuple[Decision, int]] = []

    def pick(
        self, options: Sequence[T], names: Sequence[K], wanted: K | None, weights: Sequence[int] | None = None
    ) -> T:
        if wanted not in names:
            raise Unmet
        part = names.index(wanted)
        if len(options) > 1:
            self.cuts.append((_decision(names, weights), part))
        return options[part]

    def one_of(self, usual: Callable[[], T | None], rare: Callable[[], T | None]) -> T | None:
        before = len(self.cuts)
        try:
            self.pick(WAYS, WAYS, WAYS[0], (RARE - 1, 1))
            found = usual()
        except Unmet:
            found = None
        if found is None:
            del self.cuts[before:]
            self.pick(WAYS, WAYS, WAYS[1], (RARE - 1, 1))
            found = rare()
        return found
