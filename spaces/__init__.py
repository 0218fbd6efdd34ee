"""Architecture search spaces as grammars. Declaring, drawing and costing genomes imports no torch."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from spaces.errors import InvalidGenome, InvalidGrammar, InvalidSpace, NoNeighbour, suggest
from spaces.genome import Genome
from spaces.grammar import Grammar, child, choice, many, real
from spaces.io import IO, tokens
from spaces.space import GrammarSpace, Space

SPACES = {"hybrid": "spaces.catalog.hybrid:hybrid"}
"""The spaces known by name, and where they are."""


def load(name: str, io: IO | None = None, **limits: Any) -> Space:
    """A space by name, or a user's own as "package.module:attribute", bound to an input and output.

    Args:
        name: one of `SPACES`, or the place of a `Grammar` (or of a function that takes `io` and limits and gives
            a `Space`).
        io: default `tokens(vocab=256, width=128)`.
        limits: see `GrammarSpace`.

    Raises:
        InvalidSpace: the name is unknown or does not lead to a space; a limit is unknown or impossible.
    """
    place = SPACES.get(name, name)
    module_name, colon, attribute = place.partition(":")
    if not colon or not module_name or not attribute:
        raise InvalidSpace(f"unknown space {name!r}{suggest(name, SPACES)}, or 'package.module:attribute'")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a user's module may raise anything while it is imported
        reason = f"{type(error).__name__}: {error}"
        raise InvalidSpace(f"space {name!r}: cannot import module {module_name!r} ({reason})") from error
    found = getattr(module, attribute, None)
    if found is None:
        public = [key for key in vars(module) if not key.startswith("_")]
        raise InvalidSpace(
            f"space {name!r}: module {module_name!r} has no {attribute!r}{suggest(attribute, public)}"
        )
    io = io or tokens()
    factory = GrammarSpace if isinstance(found, Grammar) else found
    if not callable(factory):
        raise InvalidSpace(
            f"space {name!r} is a {type(found).__name__}, but must be a Grammar or a function that gives a space"
        )
    known = [key for key in inspect.signature(factory).parameters if key not in ("grammar", "io", "source")]
    for key in limits:
        if key not in known:
            raise InvalidSpace(f"space {name!r} has no limit {key!r}{suggest(key, known)}")
    if isinstance(found, Grammar):
        return GrammarSpace(found, io, source=name, **limits)
    return factory(io=io, **limits)


__all__ = [
    "IO",
    "SPACES",
    "Genome",
    "Grammar",
    "GrammarSpace",
    "InvalidGenome",
    "InvalidGrammar",
    "InvalidSpace",
    "NoNeighbour",
    "Space",
    "child",
    "choice",
    "load",
    "many",
    "real",
    "tokens",
]
