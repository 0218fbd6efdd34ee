"""Search spaces: grammars, and products of choices. Declaring, drawing and costing genomes imports no torch."""

from __future__ import annotations

import inspect
from typing import Any

from spaces.errors import InvalidGenome, InvalidGrammar, InvalidSpace, NoNeighbour, suggest
from spaces.flow import FlowGrammar, FlowSpace
from spaces.genome import Genome
from spaces.grammar import Grammar, child, choice, many, real
from spaces.io import IO, image, nodes, tokens, vector
from spaces.lookup import resolve
from spaces.product import ProductSpace
from spaces.protocol import Space
from spaces.space import GrammarSpace

SPACES = {
    "darts": "spaces.catalog.darts:DARTS",
    "graph_network": "spaces.catalog.graph_network:GraphNetworks",
    "hpobench_mlp": "spaces.catalog.hpobench_mlp:HPOBenchMLP",
    "einspace": "spaces.catalog.einspace:einspace",
    "einspace_loose": "spaces.catalog.einspace:einspace_loose",
    "hybrid": "spaces.catalog.hybrid:hybrid",
    "mlp": "spaces.catalog.mlp:MLP",
    "nasbench201": "spaces.catalog.nasbench201:NASBench201",
    "nasbench_graph": "spaces.catalog.nasbench_graph:NASBenchGraph",
    "regnet": "spaces.catalog.regnet:RegNet",
    "sharpdarts": "spaces.catalog.sharpdarts:SharpDARTS",
    "star": "spaces.catalog.star:STAR",
}
"""The spaces known by name, and where they are."""


def load(name: str, io: IO | None = None, **limits: Any) -> Space:
    """A space by name, or a user's own as "package.module:attribute", bound to an input and output.

    Args:
        name: one of `SPACES`, or the place of a `Grammar` or `FlowGrammar` (or of a function that takes `io` and
            limits and gives a `Space`).
        io: default: that of the space; `tokens(vocab=256, width=128)` for grammars, `image()` for flow grammars.
        limits: see `GrammarSpace` and `FlowSpace`.

    Raises:
        InvalidSpace: the name is unknown or does not lead to a space; a limit is unknown or impossible.
        InvalidGrammar: a user's own grammar cannot work.
    """
    found = resolve(name, SPACES, "space", InvalidSpace)
    factory = {Grammar: GrammarSpace, FlowGrammar: FlowSpace}.get(type(found), found)
    if not callable(factory):
        raise InvalidSpace(
            f"space {name!r} is a {type(found).__name__}, but must be a Grammar, a FlowGrammar or a function that "
            "gives a space"
        )
    known = [key for key in inspect.signature(factory).parameters if key not in ("grammar", "io", "source")]
    for key in limits:
        if key not in known:
            raise InvalidSpace(f"space {name!r} has no limit {key!r}{suggest(key, known)}")
    if isinstance(found, Grammar):
        return GrammarSpace(found, io or tokens(), source=name, **limits)
    if isinstance(found, FlowGrammar):
        return FlowSpace(found, io, source=name, **limits)
    given: dict[str, Any] = limits if io is None else {"io": io, **limits}
    try:
        space = found(**given)
    except (InvalidSpace, InvalidGrammar):
        raise
    except Exception as error:
        if ":" not in name:
            raise
        raise InvalidSpace(f"space {name!r} cannot be made: {type(error).__name__}: {error}") from error
    if not hasattr(space, "sample"):
        raise InvalidSpace(f"space {name!r} gives a {type(space).__name__}, which is no space")
    return space


__all__ = [
    "IO",
    "SPACES",
    "FlowGrammar",
    "FlowSpace",
    "Genome",
    "Grammar",
    "GrammarSpace",
    "InvalidGenome",
    "InvalidGrammar",
    "InvalidSpace",
    "NoNeighbour",
    "ProductSpace",
    "Space",
    "child",
    "choice",
    "image",
    "load",
    "many",
    "nodes",
    "real",
    "tokens",
    "vector",
]
