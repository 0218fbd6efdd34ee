"""Search spaces: grammars, and products of choices. Declaring, drawing and costing genomes imports no torch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from spaces.blame import reason
from spaces.cost import Cost
from spaces.errors import InvalidGenome, InvalidGrammar, InvalidSpace, NoNeighbour, suggest
from spaces.fields import child, choice, many, real
from spaces.flow import FlowGrammar, FlowSpace
from spaces.genome import Genome
from spaces.grammar import Grammar
from spaces.io import IO, image, nodes, tokens, vector
from spaces.lookup import resolve
from spaces.pairs import JointSpace, joint
from spaces.product import ProductSpace
from spaces.protocol import Space
from spaces.settings import SettingsSpace, settings
from spaces.space import GrammarSpace

SPACES = {
    "darts": "spaces.catalog.darts:DARTS",
    "einspace": "spaces.catalog.einspace:einspace",
    "einspace_loose": "spaces.catalog.einspace:einspace_loose",
    "graph_network": "spaces.catalog.graph_network:GraphNetworks",
    "hpobench_mlp": "spaces.catalog.hpobench_mlp:HPOBenchMLP",
    "hybrid": "spaces.catalog.hybrid:hybrid",
    "mlp": "spaces.catalog.mlp:MLP",
    "nasbench201": "spaces.catalog.nasbench201:NASBench201",
    "nasbench_graph": "spaces.catalog.nasbench_graph:NASBenchGraph",
    "nasbench_nlp": "spaces.catalog.nasbench_nlp:NASBenchNLP",
    "nats_size": "spaces.catalog.nats_size:NATSSize",
    "regnet": "spaces.catalog.regnet:RegNet",
    "sharpdarts": "spaces.catalog.sharpdarts:SharpDARTS",
    "star": "spaces.catalog.star:STAR",
    "vision": "spaces.catalog.vision:vision",
}
"""The spaces known by name, and where they are."""


def maker(name: str) -> Callable[..., Space]:
    """What makes the space of a name, or a user's own at "package.module:attribute": called with `io` and limits.

    Raises:
        InvalidSpace: the name is unknown or does not lead to a space.
    """
    found = resolve(name, SPACES, "space", InvalidSpace)
    if isinstance(found, Grammar):
        return partial(GrammarSpace, found, source=name)
    if isinstance(found, FlowGrammar):
        return partial(FlowSpace, found, source=name)
    if not isinstance(found, type) and hasattr(found, "sample"):
        return partial(_moved, found)
    if not callable(found):
        raise InvalidSpace(
            f"space {name!r} is a {type(found).__name__}, but must be a Grammar, a FlowGrammar, a space or a function "
            "that is called with io= and gives a space"
        )
    return found


def _moved(space: Space, io: IO | None = None) -> Space:
    """A space that was made already, at an input and output."""
    return space if io is None or io == space.io else space.at(io)


def load(name: str, io: IO | None = None, **limits: Any) -> Space:
    """A space by name, or a user's own as "package.module:attribute", bound to an input and output.

    Args:
        name: one of `SPACES`, or the place of a `Grammar`, a `FlowGrammar` or a space (or of a function that takes `io`
            and limits and gives one).
        io: default: that of the space; `tokens(vocab=256, width=128)` for grammars, `image()` for flow grammars.
        limits: see `GrammarSpace` and `FlowSpace`.

    Raises:
        InvalidSpace: the name is unknown or does not lead to a space; a limit is unknown or impossible.
        InvalidGrammar: a user's own grammar cannot work.
    """
    if not isinstance(name, str):
        made = {Grammar: "GrammarSpace(grammar, io)", FlowGrammar: "FlowSpace(grammar, io)"}.get(type(name))
        raise InvalidSpace(
            f"spaces.load takes a name, got a {type(name).__name__}"
            + (f": take spaces.{made}" if made else "")
        )
    make = maker(name)
    known = [key for key in inspect.signature(make).parameters if key not in ("io", "source")]
    for key in limits:
        if key not in known:
            raise InvalidSpace(f"space {name!r} has no limit {key!r}{suggest(key, known)}")
    given: dict[str, Any] = limits if io is None else {"io": io, **limits}
    try:
        space = make(**given)
    except (InvalidSpace, InvalidGrammar):
        raise
    except Exception as error:
        if ":" not in name:
            raise
        raise InvalidSpace(f"space {name!r} cannot be made: {reason(error)}") from error
    if not hasattr(space, "sample"):
        raise InvalidSpace(f"space {name!r} gives a {type(space).__name__}, which is no space")
    return space


__all__ = [
    "IO",
    "SPACES",
    "Cost",
    "FlowGrammar",
    "FlowSpace",
    "Genome",
    "Grammar",
    "GrammarSpace",
    "InvalidGenome",
    "InvalidGrammar",
    "InvalidSpace",
    "JointSpace",
    "NoNeighbour",
    "ProductSpace",
    "SettingsSpace",
    "Space",
    "child",
    "choice",
    "image",
    "joint",
    "load",
    "maker",
    "many",
    "nodes",
    "real",
    "settings",
    "tokens",
    "vector",
]
