"""What a genome costs, computed from the tree without building it."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import astuple
from typing import Any

from spaces.blame import reason
from spaces.blocks.costs import COSTS, frame
from spaces.cost import Cost
from spaces.derivation import Attributes, Node
from spaces.errors import InvalidGrammar, suggest
from spaces.grammar import Grammar
from spaces.io import TokenIO
from spaces.production import Production, check_signature


def check_costs(grammar: Grammar) -> None:
    """Raises InvalidGrammar if a production has no cost, or has other choices than the block of its name."""
    for name, production in grammar.productions.items():
        function = production.cost or COSTS.get(name)
        place = f"grammar {grammar.name!r}, production {name!r}"
        if function is None:
            raise InvalidGrammar(
                f"{place} has no known cost: declare it with cost=function(at, context, **choices), "
                f"or use a known name{suggest(name, COSTS)}"
            )
        check_signature(
            function,
            (None, 1),
            [key for key in production.choices if key != "repeat"],
            f"{place}: the block of that name",
        )


def own_cost(production: Production, at: Attributes, choices: Mapping[str, Any], context: int) -> Cost:
    """The cost of a production without its children, over sequences of `context` tokens.

    Raises:
        InvalidGrammar: the cost that its declaration brings along fails or is none.
    """
    told = {key: value for key, value in choices.items() if key != "repeat"}
    if production.cost is None:
        return COSTS[production.name](at, context, **told)
    try:
        cost = production.cost(at, context, **told)
    except Exception as error:
        raise InvalidGrammar(f"production {production.name!r}: cost= fails: {reason(error)}") from error
    if not isinstance(cost, Cost) or not all(0 <= number < math.inf for number in astuple(cost)):
        raise InvalidGrammar(
            f"production {production.name!r}: cost= gives {cost!r}, but must give a spaces.Cost of numbers that are "
            "finite and not negative"
        )
    return cost


def tree_cost(node: Node, context: int) -> Cost:
    """The cost of a subtree: its own, and that of its children as often as they are repeated and run."""
    if node.priced is None or node.priced[0] != context:
        cost, passes, templates = _alone(node, context)
        below = [tree_cost(child, context) for group in node.children for child in group]
        if below:
            cost = cost + functools.reduce(Cost.__add__, below).times(node.repeat).run(passes, templates)
        node.priced = (context, cost)
    return node.priced[1]


def _alone(node: Node, context: int) -> tuple[Cost, int, int]:
    """The cost of a node without its children, and how often they run and of how many versions, see `Cost.run`."""
    table = node.table
    if table.priced is None or table.priced[0] != context:
        table.priced = (context, {})
    known = table.priced[1].get(node.index)
    if known is None:
        production, choices = table.production, table.chosen(node.index)
        own = own_cost(production, table.at, choices, context)
        known = own, production.passes(choices), production.templates(choices)
        table.priced[1][node.index] = known
    return known


def model_cost(root: Node, io: TokenIO, context: int) -> Cost:
    """The cost of the whole model: the tree between the embedding and the head that its input and output ask for."""
    return frame(io.width, io.vocab) + tree_cost(root, context)
