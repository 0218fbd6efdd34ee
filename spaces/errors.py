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


def suggest(word: str, allowed: Iterable[str]) -> str:
    """ ", did you mean 'x'?" for a near miss, and what is allowed; for the end of an error message."""
    names = sorted(allowed)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    hint = f", did you mean {near[0]!r}?" if near else ";"
    return f"{hint} allowed: {', '.join(names) or 'none'}"
