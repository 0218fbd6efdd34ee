"""Whether the modules of a user's own operators do what their shapes and costs say, found by running each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from spaces.blame import reason
from spaces.errors import InvalidGrammar
from spaces.flow.terminal import Terminal
from spaces.flow.tree import Node, cost_of


def check_modules(roots: Iterable[Node]) -> None:
    """Builds each operator of some trees where it first stands, and runs it on two samples.

    Raises:
        InvalidGrammar: its `module` fails or gives none, what it gives has another shape than `gives` says, or it has
            other parameters than its `cost` says.
    """
    tried = set()
    for terminal, shape, out in (found for root in roots for found in _operators(root)):
        if not terminal.neutral and terminal not in tried:
            tried.add(terminal)
            _check(terminal, shape, out)


def _operators(node: Node) -> Iterator[tuple[Terminal, Any, Any]]:
    """Every operator of a tree with what goes in and comes out: a shape, or those of all branches."""
    inner = node.children
    if node.form == "computation":
        yield node.terminals[0], node.shape, node.out
    elif node.form == "routing":
        yield node.terminals[0], node.shape, inner[0].shape
        yield node.terminals[1], inner[0].out, node.out
    elif node.form == "branching":
        ways = inner * node.copies
        yield node.terminals[0], node.shape, [child.shape for child in ways]
        yield node.terminals[1], tuple(child.out for child in ways), node.out
    for child in inner:
        yield from _operators(child)


def _check(terminal: Terminal, shape: Any, out: Any) -> None:
    from torch import nn

    from spaces.networks.flow import tried

    place = f"{terminal.kind} {terminal.name!r}: module at {shape}"
    told = out[0] if terminal.kind == "fork" else out
    try:
        module = terminal.module(shape, told)
    except Exception as error:
        raise InvalidGrammar(f"{place} fails: {reason(error)}") from error
    name = type(module).__name__
    if not isinstance(module, nn.Module):
        raise InvalidGrammar(f"{place} gives a {name}, but must give a torch.nn.Module")
    try:
        found = tried(module, shape, several=terminal.kind == "join")
    except Exception as error:
        raise InvalidGrammar(f"{place} gives a {name} that fails: {reason(error)}") from error
    if found != out:
        raise InvalidGrammar(
            f"{place} gives a {name} whose output has the shape {found}, but gives= says {out}"
        )
    weights = sum(each.numel() for each in module.parameters())
    cost = 0 if terminal.cost is None else cost_of(terminal, shape, told)[0]
    if weights != cost:
        raise InvalidGrammar(f"{place} gives a {name} of {weights:,} parameters, but cost= says {cost:,}")
