"""Spaces over token grammars: a grammar bound to an input, an output and limits on what a model may cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from spaces.blocks.costs import frame
from spaces.cost import COST_NAMES, Cost
from spaces.derivation import RESOURCES, UNLIMITED, Vector
from spaces.engine import Engine
from spaces.errors import InvalidGenome, InvalidSpace, suggest
from spaces.genome import Genome
from spaces.grammar import Grammar
from spaces.io import IO, TokenIO, tokens
from spaces.pricing import check_costs, model_cost, own_cost
from spaces.trees import TreeSpace

if TYPE_CHECKING:
    from torch import nn


class GrammarSpace(TreeSpace):
    """The genomes of a grammar for one input and output, within limits.

    Args:
        grammar: what can be built.
        io: what goes in and out; default: `tokens()`.
        context: the sequence length, in tokens, at which FLOPs and decode state are counted, and which guards see.
        nodes: the most nodes of a derivation tree.
        operators: the most operators of the model, repeats unrolled.
        parameters, flops_per_token, state_bytes: the most that a whole model may have, embedding and head
            included; None: no limit. FLOPs are those of the forward pass; state is counted in float32.
        weights: of productions by name, in place of those of the grammar; see also `spaces.weights`.
        source: the name that `spaces.load` found the grammar under; a space with one pickles as that name.

    Raises:
        InvalidSpace: a limit is not positive, no genome meets it, or the input and output are not tokens.
        InvalidGrammar: the grammar cannot work at this input and output.
    """

    def __init__(
        self,
        grammar: Grammar,
        io: IO | None = None,
        *,
        context: int = 1024,
        nodes: int = 64,
        operators: int = 64,
        parameters: int | None = None,
        flops_per_token: int | None = None,
        state_bytes: int | None = None,
        weights: Mapping[str, float] | None = None,
        source: str | None = None,
    ) -> None:
        self.limits: dict[str, Any] = {
            "context": context,
            "nodes": nodes,
            "operators": operators,
            "parameters": parameters,
            "flops_per_token": flops_per_token,
            "state_bytes": state_bytes,
        }
        for key, value in self.limits.items():
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InvalidSpace(
                    f"space {grammar.name!r}: {key} = {value!r}, but it must be an integer of at least 1"
                )
        grammar = grammar.reweighted({} if weights is None else weights)
        self.limits["weights"] = dict(weights) if weights else None
        io = tokens() if io is None else io
        if not isinstance(io, TokenIO):
            raise InvalidSpace(f"space {grammar.name!r} reads tokens, but it was given {io}")
        self.context, self.source = context, source
        self.named = tuple(grammar.named)
        check_costs(grammar)
        outer = frame(io.width, io.vocab)
        around = (0, 0, outer.parameters, outer.flops_per_token, outer.state_bytes)
        limit: Vector = (
            nodes,
            operators,
            UNLIMITED if parameters is None else parameters - outer.parameters,
            UNLIMITED if flops_per_token is None else math.floor(flops_per_token - outer.flops_per_token),
            UNLIMITED if state_bytes is None else state_bytes - outer.state_bytes,
        )
        engine = Engine(grammar, {**io.attributes, "context": context}, self._vector, limit, around)
        super().__init__(engine, io)
        self.io: TokenIO = io

    def _vector(self, production: Any, at: Any, choices: Mapping[str, Any]) -> Vector:
        cost = own_cost(production, at, choices, self.context)
        return (
            1,
            1 if production.form == "operator" else 0,
            cost.parameters,
            math.ceil(cost.flops_per_token),
            cost.state_bytes,
        )

    def __reduce__(self) -> Any:
        if self.source is not None:
            from spaces import load

            return partial(load, self.source, self.io, **self.limits), ()
        return partial(GrammarSpace, self.grammar, self.io, **self.limits), ()

    def at(self, io: IO) -> GrammarSpace:
        """The same grammar and limits at another input and output."""
        return GrammarSpace(self.grammar, io, source=self.source, **self.limits)

    def architecture(self, name: str) -> Genome:
        """A known model by name, in its largest version that the limits allow.

        Raises:
            InvalidSpace: the name is unknown, or no version fits.
        """
        versions = self.grammar.named.get(name)
        if versions is None:
            raise InvalidSpace(f"space {self.name!r} has no architecture {name!r}{suggest(name, self.named)}")
        reason = "it has no version"
        for text in versions(self.io.width):
            try:
                return self.parse(text)
            except InvalidGenome as error:
                reason = str(error)
        raise InvalidSpace(
            f"space {self.name!r}: architecture {name!r} does not fit, even in its smallest version: {reason}"
        )

    def cost(self, genome: Genome, context: int | None = None) -> Cost:
        """What the whole model costs, at the space's context length or another."""
        if context is not None and context < 1:
            raise InvalidSpace(f"context = {context}, but it must be at least 1")
        return model_cost(self.tree(genome), self.io, self.context if context is None else context)

    @property
    def least_cost(self) -> dict[str, float]:
        """What any genome costs at least, each by itself, whatever the limits are."""
        both = zip(RESOURCES, self._engine.least, self._engine.around, strict=True)
        return {name: least + around for name, least, around in both if name in COST_NAMES}

    def build(self, genome: Genome) -> nn.Module:
        """The torch model, initialised from torch's global random state."""
        from spaces.compile import build_model

        return build_model(self.tree(genome), self.io)

    def check_modules(self) -> None:
        """Builds and runs what productions of a user's own bring along, on a few tokens on the CPU.

        Raises:
            InvalidGrammar: a production has no module, or it is none that a model can be made of; see `own_blocks`.
        """
        from spaces.own_blocks import check_blocks

        check_blocks(self.grammar, [table for tables in self._engine.tables.values() for table in tables])
