"""What can be wrong with a genome, a grammar or the use of a space."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InvalidInput(ValueError):
    """What the user gave cannot be used; the message names the place, the value and what is allowed."""


class InvalidGenome(InvalidInput):
    """A genome that its space does not contain: where, what was found, what is allowed."""


class InvalidGrammar(InvalidInput):
    """A grammar that cannot work: the production or nonterminal, and why."""


class InvalidSpace(InvalidInput):
    """A space that does not exist or cannot be bound as asked: unknown name, impossible limit."""


class NoNeighbour(InvalidInput):
    """A genome has no neighbour under the mutations of its space."""


def nearest(word: str, allowed: Iterable[str]) -> str | None:
    """The allowed word nearest to a mistyped one, whatever their case; None where none is near.

    Where words that look alike are numbers, it is the one nearest in value.
    """
    by_lower = {name.lower(): name for name in sorted(allowed)}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1)
    if not near:
        return None
    try:
        return min(by_lower.values(), key=lambda name: abs(float(name) - float(word)))
    except ValueError:
        return by_lower[near[0]]


def suggest(word: str, allowed: Iterable[str], prefix: str = "") -> str:
    """The end of a message about a mistyped word: ", did you mean 'x'? allowed: x, y", or "; allowed: x, y".

    `prefix` is what stands before the words where they are written, such as the table of a key.
    """
    words = list(allowed)
    near = nearest(word, words)
    hint = f", did you mean {prefix + near!r}?" if near else ";"
    return f"{hint} allowed: {', '.join(words) or 'none'}"
