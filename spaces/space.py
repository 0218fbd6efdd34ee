"""Spaces: a grammar bound to an input, an output and limits. What every strategy and predictor works on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from spaces.blocks.costs import Cost, frame
from spaces.cost import check_costs, model_cost, own_cost
from spaces.counting import Ranks, check_number, shuffled
from spaces.derivation import RESOURCES, UNLIMITED, Node, Vector
from spaces.engine import Engine
from spaces.errors import InvalidGenome, InvalidSpace, suggest
from spaces.genome import Genome
from spaces.grammar import Choice, Grammar, Real
from spaces.graph import Graph, graph
from spaces.io import IO, TokenIO
from spaces.mutations import MUTATIONS, Mutation, crossover, neighbour
from spaces.parsing import parsed
from spaces.volume import Volumes, centre, coordinates

if TYPE_CHECKING:
    from torch import nn

MOST_REJECTED = 10_000
"""How many genomes in a row may break a limit in `sample_uniform`."""


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
        weights: of productions by name, in place of those of the grammar; see also `spaces.weights`.
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
        if not isinstance(io, TokenIO):
            raise InvalidSpace(f"space {grammar.name!r} reads tokens, but it was given {io}")
        self.grammar, self.context, self.nodes, self.source = grammar, context, nodes, source
        self.io: TokenIO = io
        self.name = grammar.name
        self.named = tuple(grammar.named)
        self.redrawn: Counter[str] = Counter()
        """How often each mutation gave a network equal to its parent and was drawn again."""
        self.rejected = 0
        """How many genomes that `sample_uniform` drew broke a limit, and were left out."""
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
        """How many genomes of at most `nodes` nodes there are, before the other limits; None: infinitely many."""
        return None if self._with_numbers else self._ranks.total

    @property
    def log10_sizes(self) -> np.ndarray:
        """log10 of how many genomes have exactly n nodes, for n from 0 to `nodes`, before the other limits.

        Genomes that differ in numbers (`real`) alone count as one: of an infinite space, these are the discrete
        skeletons.
        """
        return np.array([math.log10(number) if number else -math.inf for number in self._ranks.sizes])

    @cached_property
    def _with_numbers(self) -> list[str]:
        """The productions that make the space infinite."""
        tables = [table for tables in self._engine.tables.values() for table in tables]
        return list(dict.fromkeys(table.production.name for table in tables if table.production.reals))

    @cached_property
    def _ranks(self) -> Ranks:
        return Ranks(self._engine, self.nodes)

    @cached_property
    def _volumes(self) -> Volumes:
        return Volumes(self._engine)

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
        with self._following():
            return Genome(engine.draw(engine.grammar.start, engine.root_at, limit, rng))

    @contextmanager
    def _following(self) -> Iterator[None]:
        """Says it in the space's words where a tree is too deep to be followed."""
        try:
            yield
        except RecursionError:
            raise InvalidSpace(
                f"space {self.name!r}: a genome nests deeper than Python can follow; lower 'nodes' ({self.nodes})"
            ) from None

    def sample_uniform(self, rng: np.random.Generator, number: int, nodes: int | None = None) -> list[Genome]:
        """Different genomes in random order, all equally likely among those that meet the limits.

        Genomes of exactly `nodes` nodes, or of at most as many as the space allows (nearly all of them have nearly as
        many), are drawn by rank, and those that break another limit left out, counted in `rejected`.

        Raises:
            InvalidSpace: there are fewer, or infinitely many, or 10,000 in a row break a limit.
        """
        first, size = self._ranked().of_nodes(nodes)
        check_number(self.name, number, size, nodes)
        ranks = (first + place for place in shuffled(rng, size))
        genomes: list[Genome] = []
        in_row = 0
        while len(genomes) < number:
            rank = next(ranks, None)
            if rank is None:
                raise InvalidSpace(
                    f"space {self.name!r}: {len(genomes)} of its {size} genomes meet the limits, so {number} "
                    "different ones cannot be drawn"
                )
            try:
                genomes.append(self.unrank(rank))
                in_row = 0
            except InvalidGenome as error:
                self.rejected += 1
                in_row += 1
                if in_row == MOST_REJECTED:
                    raise InvalidSpace(
                        f"space {self.name!r}: {in_row:,} genomes in a row break a limit, the last as {error}; lower "
                        f"'nodes' ({self.nodes}) or raise the limits"
                    ) from None
        return genomes

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
        return neighbour(self.name, self.mutations, self.redrawn, genome, rng)

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
        root = parsed(self._engine, text)
        self._check_limits(root)
        return Genome(root)

    def _check_limits(self, root: Node) -> None:
        around = frame(self.io.width, self.io.vocab)
        for key, used, limit in zip(RESOURCES, root.cost, self._engine.limit, strict=True):
            if used > limit:
                extra = getattr(around, key, 0)
                raise InvalidGenome(
                    f"the genome has {used + extra:,.0f} {key}, more than the limit of {limit + extra:,.0f}"
                )

    def _ranked(self) -> Ranks:
        """The ranks of a finite space."""
        if self._with_numbers:
            raise InvalidSpace(
                f"space {self.name!r} has infinitely many genomes, which have no ranks, because of the numbers in "
                f"{', '.join(self._with_numbers)}"
            )
        return self._ranks

    def rank(self, genome: Genome) -> int:
        """The number of a genome, from 0 to `size` - 1.

        Genomes are numbered by their number of nodes, then by production, what the children inherit, choices and
        children. All genomes of at most `nodes` nodes have a rank, those that break another limit too, so that a
        rank stays the same whatever the limits on nodes and cost.

        Raises:
            InvalidSpace: there are infinitely many genomes.
        """
        ranks, tree = self._ranked(), self.tree(genome)
        with self._following():
            return ranks.rank(tree)

    def unrank(self, rank: int) -> Genome:
        """The genome of a number.

        Raises:
            InvalidGenome: the number is not from 0 to `size` - 1, or its genome breaks a limit.
            InvalidSpace: there are infinitely many genomes.
        """
        ranks, rank = self._ranked(), index(rank)
        if not 0 <= rank < ranks.total:
            raise InvalidGenome(
                f"rank {rank} is not from 0 to {ranks.total - 1}, the genomes of {self.name!r}"
            )
        with self._following():
            root = ranks.unrank(rank)
        self._check_limits(root)
        return Genome(root)

    @property
    def dimensions(self) -> int:
        """How many coordinates `encode` gives a genome unless told: so many that float64 can tell all genomes apart."""
        return self._volumes.dimensions

    def decode(self, point: ArrayLike) -> Genome:
        """The genome of a point of the cube [0, 1)^d, of any d; valid whatever the point (see `spaces.volume`).

        Raises:
            InvalidGenome: the point is outside the cube.
        """
        place = coordinates(point)
        with self._following():
            return Genome(self._volumes.decode(place))

    def box(self, genome: Genome, dimensions: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The lower and the upper corner of a genome's box: the points from the one to below the other decode to it.

        A number (`real`) that no point gives, as one written by hand may be, has the box of the nearest that one does.

        Raises:
            InvalidGenome: no point of that many coordinates decodes to the genome.
        """
        if dimensions is not None and (not isinstance(dimensions, int) or dimensions < 1):
            raise InvalidSpace(f"dimensions = {dimensions}, but there must be at least 1")
        tree = self.tree(genome)
        with self._following():
            return self._volumes.box(tree, self.dimensions if dimensions is None else dimensions)

    def encode(self, genome: Genome, dimensions: int | None = None) -> np.ndarray:
        """A point that decodes to the genome: the centre of its box.

        Raises:
            InvalidGenome: no point of that many coordinates decodes to the genome.
        """
        return centre(self.box(genome, dimensions))

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
