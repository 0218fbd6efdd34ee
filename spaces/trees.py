"""Spaces whose genomes are derivation trees: all that an engine of a grammar can do, whatever the trees stand for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from operator import index

import numpy as np

from spaces.counting import Ranks, draw_ranks
from spaces.derivation import NOTHING, RESOURCES, UNLIMITED, Node
from spaces.engine import Engine
from spaces.errors import InvalidGenome, InvalidSpace
from spaces.fields import Choice, Real
from spaces.genome import DEEPEST, Genome
from spaces.grammar import Grammar
from spaces.graph import Graph, graph
from spaces.io import IO
from spaces.mutations import MUTATIONS, Mutable, Mutation, crossover
from spaces.parsing import parsed
from spaces.volume import VolumeCoded, Volumes


def uncosted(grammar: Grammar, nodes: int) -> Engine:
    """The engine of a grammar whose trees cost nothing; the only limit is on their nodes."""
    limit = (nodes, UNLIMITED, UNLIMITED, UNLIMITED, UNLIMITED)
    return Engine(grammar, {}, lambda production, at, choices: (1, 0, 0, 0, 0), limit, NOTHING)


class TreeSpace(VolumeCoded, Mutable):
    """The genomes that an engine derives: drawn, changed, read, counted, numbered and coded as boxes of a cube.

    Args:
        engine: the grammar under attributes and limits.
        io: what goes in and out.
    """

    def __init__(self, engine: Engine, io: IO) -> None:
        self._engine, self.io = engine, io
        self.grammar, self.name, self.nodes = engine.grammar, engine.grammar.name, int(engine.limit[0])
        self.unavailable = engine.unavailable
        """Productions that no genome has at this input and output, because their guards never hold."""
        self.redrawn: Counter[str] = Counter()
        self.rejected = 0
        """How many genomes that `sample_uniform` drew broke a limit, and were left out."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.io})"

    @property
    def operators(self) -> Mapping[str, Mapping[str, Choice | Real]]:
        """What may stand in a graph, and the choices and numbers of each."""
        productions = self.grammar.productions.values()
        return {p.name: {**p.choices, **p.reals} for p in productions if p.form == "operator"}

    @cached_property
    def mutations(self) -> Mapping[str, Mutation]:
        return {name: partial(self._apply, change) for name, change in MUTATIONS.items()}

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

    def sample(self, rng: np.random.Generator, size: int | None = None) -> Genome:
        """A random genome of at most `size` nodes (default: the limit of the space).

        Productions are drawn by weight among those that fit in what is left, choices evenly among the
        combinations that fit, lengths of lists evenly; siblings are filled in random order.

        Raises:
            InvalidSpace: no genome is that small, or the one that was drawn nests too deep to be read.
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
            return self._genome(engine.draw(engine.grammar.start, engine.root_at, limit, rng))

    def sample_uniform(self, rng: np.random.Generator, number: int, nodes: int | None = None) -> list[Genome]:
        """Different genomes in random order, all equally likely among those that meet the limits.

        Genomes of exactly `nodes` nodes, or of at most as many as the space allows (nearly all of them have nearly as
        many), are drawn by rank, and those that break another limit left out, counted in `rejected`.

        Raises:
            InvalidSpace: there are fewer, or infinitely many, or 10,000 in a row break a limit.
        """
        first, size = self._ranked().of_nodes(nodes)
        genomes, rejected = draw_ranks(
            self.name,
            self.unrank,
            range(first, first + size),
            number,
            rng,
            nodes=nodes,
            advice=f"lower 'nodes' ({self.nodes}) or raise the limits",
        )
        self.rejected += rejected
        return genomes

    def _apply(
        self, change: Callable[..., Node | None], genome: Genome, rng: np.random.Generator
    ) -> Genome | None:
        """One named mutation; None where it cannot be made. The result may equal its parent."""
        root = change(self._engine, self.tree(genome), rng)
        return None if root is None or self._deep(root) else Genome(root)

    def crossover(self, a: Genome, b: Genome, rng: np.random.Generator) -> Genome | None:
        """The first genome with a subtree of the second in place of one of the same nonterminal and attributes.

        None where no exchange fits and changes the first.
        """
        root = crossover(self._engine, self.tree(a), self.tree(b), rng)
        return None if root is None or self._deep(root) else Genome(root)

    def parse(self, text: str) -> Genome:
        """The genome of a text; fields may stand in any order.

        Raises:
            InvalidGenome: the text is no genome of this space: where, what was found, what is allowed.
        """
        root = parsed(self._engine, text)
        self._check_limits(root)
        return Genome(root)

    def _check_limits(self, root: Node) -> None:
        for key, used, limit, around in zip(
            RESOURCES, root.cost, self._engine.limit, self._engine.around, strict=True
        ):
            if used > limit:
                raise InvalidGenome(
                    f"the genome has {used + around:,.0f} {key}, more than the limit of {limit + around:,.0f}"
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
        return self._genome(root)

    def _genome(self, root: Node) -> Genome:
        """The genome of a tree that was drawn, which may nest too deep."""
        if self._deep(root):
            raise self._too_deep()
        return Genome(root)

    def _deep(self, root: Node) -> bool:
        """Whether a tree nests too deep to be read, which takes more nodes than most spaces allow."""
        return self.nodes > DEEPEST and root.nesting > DEEPEST

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

    def graph(self, genome: Genome) -> Graph:
        """The canonical graph."""
        return graph(self.tree(genome))
