"""Whether the blocks of a user's own are blocks, found by building some and running them on a few tokens.

Trials would all fail, or measure what no decoder can do, where they are not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from spaces.blame import reason
from spaces.blocks.base import Block, State, state_bytes
from spaces.compile import builder_of
from spaces.derivation import Table
from spaces.errors import InvalidGrammar
from spaces.fields import spell
from spaces.grammar import Grammar
from spaces.pricing import own_cost

BATCH, LENGTH = 2, 6
MOST = 8
"""Of the ways in which the choices of a production combine, how many are tried at most."""


def check_blocks(grammar: Grammar, tables: Iterable[Table]) -> None:
    """Builds and runs what productions without children bring along as `build`, where they first stand.

    Productions below one that brings its own `build` are left out, as they are for it to use.

    Raises:
        InvalidGrammar: a production has no module; its `build` fails or gives no `Block`, or one that cannot be called
            with what blocks are called with, changes the shape, reads tokens ahead without being `Whole`, decodes to
            something else where it has a state of its own, or has other parameters or another state than its cost says.
    """
    used = {
        part.nonterminal
        for each in grammar.productions.values()
        if each.build
        for part in each.children.values()
    }
    tried = set()
    for table in tables:
        production = table.production
        builder_of(production)
        own = (
            production.build is not None
            and not production.children
            and not used & set(production.nonterminals)
        )
        if own and production.name not in tried:
            tried.add(production.name)
            number = len(table.assignments)
            for index in sorted({k * (number - 1) // (MOST - 1) for k in range(MOST)}):
                _check(table, index)


def _check(table: Table, index: int) -> None:
    production = table.production
    numbers = [real.low for real in production.reals.values()]
    values = dict(zip(table.names, [*table.assignments[index], *numbers], strict=True))
    said = ", ".join(f"{key}={spell(value)}" for key, value in values.items())
    place = f"production {production.name!r}: build= of {production.name}({said})"
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        try:
            block = builder_of(production)(table.at, **values)
        except Exception as error:
            raise InvalidGrammar(f"{place} fails: {reason(error)}") from error
        if not isinstance(block, Block):
            raise InvalidGrammar(
                f"{place} gives a {type(block).__name__}, but must give a spaces.blocks.base.Block: a module that is "
                "called with x [batch, length, width], a state and segments, and gives y of the shape of x and a state"
            )
        x_BLD = torch.randn(BATCH, LENGTH, table.at.width)
        y_BLD = _run(block, x_BLD, place)
        name = type(block).__name__
        if block.causal:
            ahead_BLD = x_BLD.clone()
            ahead_BLD[:, -1] = torch.randn(BATCH, table.at.width)
            before, after = y_BLD[:, :-1], _run(block, ahead_BLD, place)[:, :-1]
            if not _alike(before, after):
                raise InvalidGrammar(
                    f"{place} gives a {name} that reads ahead: another last token changes outputs "
                    "before it, so a language model would be told what it has to predict"
                )
        if block.causal and type(block).init_state is not Block.init_state:
            block.eval()
            if not _alike(_run(block, x_BLD, place), _decoded(block, x_BLD, place)[0]):
                raise InvalidGrammar(
                    f"{place} gives a {name} that decodes to something else: tokens by parts, from init_state(batch) "
                    "on and each with the state after the last, must give the y of all at once"
                )
            kept = state_bytes(_decoded(block, x_BLD[:1], place)[1])
            said_kept = own_cost(production, table.at, values, LENGTH).state_bytes
            if kept != said_kept:
                raise InvalidGrammar(
                    f"{place} gives a {name} whose state holds {kept:,} bytes of a sequence after {LENGTH} tokens, but "
                    f"cost= says {said_kept:,} at context={LENGTH}"
                )
    found, told = sum(weights.numel() for weights in block.parameters()), int(table.own[index][2])
    if found != told:
        raise InvalidGrammar(f"{place} gives {found:,} parameters, but cost= says {told:,}")


def _alike(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-3, atol=1e-4, equal_nan=True)


def _decoded(block: Block, x_BLD: Tensor, place: str) -> tuple[Tensor, State | None]:
    """What a block gives for a prompt and then for tokens one by one, and its state after them.

    Raises:
        InvalidGrammar: it fails.
    """
    parts = []
    try:
        state: State | None = block.init_state(len(x_BLD))
        for part_BLD in x_BLD.split([LENGTH - 2, 1, 1], dim=1):
            y_BLD, state = block(part_BLD, state, None)
            parts.append(y_BLD)
        return torch.cat(parts, dim=1).view_as(x_BLD), state
    except Exception as error:
        raise InvalidGrammar(
            f"{place} gives a {type(block).__name__} that fails where it goes on from a state: {reason(error)}"
        ) from error


def _run(block: Block, x_BLD: Tensor, place: str) -> Tensor:
    """What a block gives for tokens, with the same random numbers each time.

    Raises:
        InvalidGrammar: it fails, or that is not y of the shape of x and a state.
    """
    torch.manual_seed(0)
    name = type(block).__name__
    try:
        given: Any = block(x_BLD, None, None)
    except Exception as error:
        raise InvalidGrammar(
            f"{place} gives a {name} that fails when it is called with x {list(x_BLD.shape)}, no state and no "
            f"segments: {reason(error)}"
        ) from error
    if not isinstance(given, tuple) or len(given) != 2 or not isinstance(given[0], Tensor):
        raise InvalidGrammar(
            f"{place} gives a {name} that gives a {type(given).__name__}, but must give a pair: y and a state, "
            "which is None where none was given"
        )
    y_BLD = given[0]
    if y_BLD.shape != x_BLD.shape:
        raise InvalidGrammar(
            f"{place} gives a {name} that makes {list(y_BLD.shape)} of x {list(x_BLD.shape)} [batch, length, width], "
            "but must keep the shape"
        )
    return y_BLD
