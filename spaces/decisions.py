"""The decisions that derive a genome: which production, which choices, how many children."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

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


def evenly(what: Hashable, options: Sequence[int]) -> Decision:
    """A decision whose options are equally likely."""
    return Decision(what, options, range(len(options) + 1))
