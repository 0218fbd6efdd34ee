"""What can be wrong with a genome, a grammar or the use of a space."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InvalidGenome(ValueError):
    """A genome that its space does not contain: where, what was found, what is allowed."""


class InvalidGrammar(ValueError):
    """A grammar that cannot work: the production or nonterminal, and why."""


class InvalidSpace(ValueError):
    """A space that does not exist or cannot be bound as asked: unknown name, impossible limit."""


class NoNeighbour(ValueError):
    """A genome has no neighbour under the mutations of its space."""


def nearest(word: str, allowed: Iterable[str]) -> str | None:
    """The allowed word nearest to a mistyped one, whatever their case; None where none is near."""
    by_lower = {name.lower(): name for name in sorted(allowed)}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1)
    return by_lower[near[0]] if near else None


def suggest(word: str, allowed: Iterable[str]) -> str:
    """ ", did you mean 'x'?" for a near miss, and what is allowed; for the end of an error message."""
    names = sorted(allowed)
    near = nearest(word, names)
    hint = f", did you mean {near!r}?" if near else ";"
    return f"{hint} allowed: {', '.join(names) or 'none'}"
