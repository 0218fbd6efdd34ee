"""Spaces: a grammar bound to an input, an output and limits. What every strategy and predictor works on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from spaces.blocks.costs import Cost, frame
from spaces.cost import check_costs, model_cost, own_cost
from spaces.counting import count
from spaces.derivation import RESOURCES, UNLIMITED, Node, Table, Vector
from spaces.engine import Engine
from spaces.errors import InvalidGenome, InvalidSpace, NoNeighbour, suggest
from spaces.genome import Genome, Term, read
from spaces.grammar import Choice, Grammar, Real, spell
from spaces.graph import Graph, graph
from spaces.io import IO, TokenIO
from spaces.mutations import MUTATIONS, crossover

if TYPE_CHECKING:
    from torch import nn

TRIES = 32
"""How often a mutation is drawn again when it gives a network equal to its parent."""


Mutation = Callable[[Genome, np.random.Generator], Genome | None]


class Space(Protocol):
    """Genomes that fit one input and output: how to draw, change, check, cost and build them."""

    name: str
    context: int
    named: tuple[str, ...]

    @property
    def io(self) -> IO: ...
    @property
    def mutations(self) -> Mapping[str, Mutation]: ...
    @property
    def operators(self) -> Mapping[str, Mapping[str, Choice | Real]]: ...
    @property
    def size(self) -> int | None: ...
    def at(self, io: IO) -> Space: ...
    def sample(self, rng: np.random.Generator, size: int | None = None) -> Genome: ...
    def mutate(self, genome: Genome, rng: np.random.Generator) -> Genome: ...
    def crossover(self, a: Genome, b: Genome, rng: np.random.Generator) -> Genome | None: ...
    def parse(self, text: str) -> Genome: ...
    def check(self, genome: Genome) -> None: ...
    def architecture(self, name: str) -> Genome: ...
    def cost(self, genome: Genome, context: int | None = None) -> Cost: ...
    def graph(self, genome: Genome) -> Graph: ...
    def build(self, genome: Genome) -> nn.Module: ...


class GrammarSpace:
    """The genomes of a grammar for one input and output, within limits.

    Args:
        grammar: what can be built.
        io: what goes in and out.
        context: the sequence length, in tokens, at which FLOPs and decode state are counted, and which guards see.
        nodes: the most nodes of a derivation tree.
        operators: the most operators of the model, repeats unrolled.
        parameters, flops_per_token, state_bytes: the most that a whole model may have, embedding and head
            included; None: no limit. FLOPs are those of the forward pass; state is counted in float32.
        source: the name that `spaces.load` found the grammar under; a space with one pickles as that name.

    Raises:
        InvalidSpace: a limit is not positive, no genome meets it, or the input and output are not tokens.
        InvalidGrammar: the grammar cannot work at this input and output.
    """

    def __init__(
        self,
        grammar: Grammar,
        io: IO,
        *,
        context: int = 1024,
        nodes: int = 64,
        operators: int = 64,
        parameters: int | None = None,
        flops_per_token: int | None = None,
        state_bytes: int | None = None,
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
        if not isinstance(io, TokenIO):
            raise InvalidSpace(f"space {grammar.name!r} reads tokens, but it was given {io}")
        self.grammar, self.context, self.nodes, self.source = grammar, context, nodes, source
        self.io: TokenIO = io
        self.name = grammar.name
        self.named = tuple(grammar.named)
        self.redrawn: Counter[str] = Counter()
        """How often each mutation gave a network equal to its parent and was drawn again."""
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
        self._engine = Engine(grammar, {**io.attributes, "context": context}, self._vector, limit, around)
        self.unavailable = self._engine.unavailable
        """Productions that no genome has at this input and output, because their guards never hold."""
        self.mutations: Mapping[str, Mutation] = {
            name: partial(self._apply, change) for name, change in MUTATIONS.items()
        }

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

    def __repr__(self) -> str:
        return f"GrammarSpace({self.name!r}, {self.io})"

    @property
    def operators(self) -> Mapping[str, Mapping[str, Choice | Real]]:
        """What may stand in a graph, and the choices and numbers of each."""
        productions = self.grammar.productions.values()
        return {p.name: {**p.choices, **p.reals} for p in productions if p.form == "operator"}

    @property
    def size(self) -> int | None:
        """How many genomes of at most `nodes` nodes there are, before the limits on cost; None: infinitely many."""
        return count(self._engine, self.nodes)

    def at(self, io: IO) -> GrammarSpace:
        """The same grammar and limits at another input and output."""
        return GrammarSpace(self.grammar, io, source=self.source, **self.limits)

    def sample(self, rng: np.random.Generator, size: int | None = None) -> Genome:
        """A random genome of at most `size` nodes (default: the limit of the space).

        Productions are drawn by weight among those that fit in what is left, choices evenly among the
        combinations that fit, lengths of lists evenly; siblings are filled in random order.

        Raises:
            InvalidSpace: no genome is that small.
        """
        engine = self._engine
        limit = engine.limit
        if size is not None:
            limit = (min(size, limit[0]), *limit[1:])
            if not engine.fits(engine.grammar.start, engine.root_at, limit):
                raise InvalidSpace(
                    f"space {self.name!r}: no genome has at most {size} nodes and meets the limits"
                )
        try:
            return Genome(engine.draw(engine.grammar.start, engine.root_at, limit, rng))
        except RecursionError:
            raise InvalidSpace(
                f"space {self.name!r}: a genome nests deeper than Python can follow; lower 'nodes' ({self.nodes})"
            ) from None

    def _apply(
        self, change: Callable[..., Node | None], genome: Genome, rng: np.random.Generator
    ) -> Genome | None:
        """One named mutation; None where it cannot be made. The result may equal its parent."""
        root = change(self._engine, self.tree(genome), rng)
        return None if root is None else Genome(root)

    def mutate(self, genome: Genome, rng: np.random.Generator) -> Genome:
        """A neighbour by one mutation drawn evenly from `mutations`; never a network equal to its parent.

        A mutation that canonicalises to the parent is drawn again, at most 32 times, counted in `redrawn`.

        Raises:
            NoNeighbour: no mutation can be made, or all that were drawn gave a network equal to the parent.
        """
        names = list(self.mutations)
        for _ in range(TRIES):
            if not names:
                break
            name = names[int(rng.random() * len(names))]
            new = self.mutations[name](genome, rng)
            if new is None:
                names.remove(name)
            elif new.digest != genome.digest:
                return new
            else:
                self.redrawn[name] += 1
        reason = f"{TRIES} draws gave the same network" if names else "none can be made"
        raise NoNeighbour(f"no mutation of space {self.name!r} changes {genome.text}: {reason}")

    def crossover(self, a: Genome, b: Genome, rng: np.random.Generator) -> Genome | None:
        """The first genome with a subtree of the second in place of one of the same nonterminal and attributes.

        None where no exchange fits and changes the first.
        """
        root = crossover(self._engine, self.tree(a), self.tree(b), rng)
        return None if root is None else Genome(root)

    def parse(self, text: str) -> Genome:
        """The genome of a text; fields may stand in any order.

        Raises:
            InvalidGenome: the text is no genome of this space: where, what was found, what is allowed.
        """
        engine = self._engine
        root = self._derive(read(text), engine.grammar.start, engine.root_at, "")
        around = frame(self.io.width, self.io.vocab)
        for key, used, limit in zip(RESOURCES, root.cost, engine.limit, strict=True):
            if used > limit:
                extra = getattr(around, key, 0)
                raise InvalidGenome(
                    f"the genome has {used + extra:,.0f} {key}, more than the limit of {limit + extra:,.0f}"
                )
        return Genome(root)

    def _derive(self, term: Term, nonterminal: str, at: Any, where: str) -> Node:
        place = where or "the root"
        tables = {table.production.name: table for table in self._engine.tables[nonterminal, at]}
        table = tables.get(term.name)
        if table is None:
            raise InvalidGenome(
                f"{place}: {term.name!r} is no {nonterminal} here{suggest(term.name, tables)}"
            )
        production = table.production
        for key in term.fields:
            if key not in production.fields:
                raise InvalidGenome(
                    f"{place}: {term.name!r} has no field {key!r}{suggest(key, production.fields)}"
                )
        for key in production.fields:
            if key not in term.fields:
                raise InvalidGenome(f"{place}: {term.name!r} lacks its field {key!r}")
        prefix = f"{where}." if where else ""
        index = self._assignment(table, term, prefix)
        reals = tuple(self._number(table, term, key, prefix) for key in production.reals)
        children: list[tuple[Node, ...]] = []
        for key, part in production.children.items():
            value = term.fields[key]
            if part.listed != isinstance(value, list) or isinstance(value, str):
                wanted = "a list of productions in [ ]" if part.listed else "one production"
                raise InvalidGenome(f"{prefix}{key}: expected {wanted}")
            terms = value if isinstance(value, list) else [value]
            if not part.low <= len(terms) <= part.high:
                raise InvalidGenome(
                    f"{prefix}{key}: {len(terms)} children, but {part.low} to {part.high} are allowed"
                )
            child_at = table.child_at[index]
            children.append(
                tuple(
                    self._derive(
                        below,
                        part.nonterminal,
                        child_at,
                        f"{prefix}{key}" + (f"[{i}]" if part.listed else ""),
                    )
                    for i, below in enumerate(terms)
                )
            )
        return Node(table, index, reals, tuple(children))

    def _assignment(self, table: Table, term: Term, prefix: str) -> int:
        production = table.production
        for key, option in production.choices.items():
            token = term.fields[key]
            if not isinstance(token, str) or token not in option.index:
                found = token if isinstance(token, str) else "a production"
                raise InvalidGenome(
                    f"{prefix}{key}: {found} is not allowed{suggest(str(found), option.index)}"
                )
        tokens = tuple(str(term.fields[key]) for key in production.choices)
        code = tuple(
            option.index[token] for option, token in zip(production.choices.values(), tokens, strict=True)
        )
        index = table.index.get(code)
        if index is None:
            chosen = ", ".join(
                f"{key}={token}" for key, token in zip(production.choices, tokens, strict=True)
            )
            near = max(table.codes, key=lambda other: sum(a == b for a, b in zip(other, code, strict=True)))
            values = table.assignments[table.index[near]]
            nearest = ", ".join(
                f"{key}={spell(v)}" for key, v in zip(production.choices, values, strict=True)
            )
            raise InvalidGenome(
                f"{prefix.rstrip('.') or 'the root'}: the guard of {production.name!r} does not allow {chosen} "
                f"under {table.at.as_dict()}; the nearest that it allows: {nearest}"
            )
        return index

    def _number(self, table: Table, term: Term, key: str, prefix: str) -> float:
        rule, token = table.production.reals[key], term.fields[key]
        try:
            value = float(token)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise InvalidGenome(f"{prefix}{key}: expected a number, found {token}") from None
        if not rule.low <= value <= rule.high:
            raise InvalidGenome(f"{prefix}{key}: {spell(value)} is not within [{rule.low}, {rule.high}]")
        return value

    def check(self, genome: Genome) -> None:
        """Raises InvalidGenome, which names the place, if the genome is not of this space."""
        self.parse(genome.text)

    def tree(self, genome: Genome) -> Node:
        """The derivation tree of a genome in this space; parsed where another process or space made it."""
        tree = genome.tree
        if not isinstance(tree, Node) or not self._engine.owns(tree):
            tree = self.parse(genome.text).tree
            assert isinstance(tree, Node)
            genome.remember(tree)
        return tree

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

    def graph(self, genome: Genome) -> Graph:
        """The canonical graph."""
        return graph(self.tree(genome))

    def build(self, genome: Genome) -> nn.Module:
        """The torch model, initialised from torch's global random state."""
        from spaces.compile import build_model

        return build_model(self.tree(genome), self.io)
