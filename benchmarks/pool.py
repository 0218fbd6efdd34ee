"""The genomes that a table lists, as a space of their own: strategies search it, and propose nothing without a row."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.description import InvalidTable
from spaces import IO, Genome, InvalidGenome, InvalidSpace
from spaces.cost import Cost
from spaces.counting import check_number, draw_below, shuffled
from spaces.fields import Choice, Real
from spaces.graph import Graph
from spaces.mutations import Mutable, Mutation

if TYPE_CHECKING:
    from torch import nn

    from benchmarks.table import Table

NEAR = 8
"""A mutation is one of so many other networks that lie nearest."""


class Pool(Mutable):
    """The rows of a table that lists genomes, ranked by their place in it.

    Draws are even. A mutation is one of the nearest rows (`Table.nearest_rows`), and a crossing the row nearest to a
    crossing in the space around: what lies between the rows guides a search, and is never proposed. Costs, graphs and
    networks are those of the space around.
    """

    named: tuple[str, ...] = ()

    def __init__(self, table: Table) -> None:
        self.table, self.around = table, table.space
        self.name, self.io, self.context = self.around.name, self.around.io, self.around.context
        self.redrawn: Counter[str] = Counter()
        self._genomes: dict[int, Genome] = {}
        self._near: dict[int, list[int]] = {}

    def __reduce__(self) -> Any:
        return Pool, (self.table,)

    def __repr__(self) -> str:
        return f"Pool({self.table.name!r}, {self.size} rows)"

    @property
    def size(self) -> int:
        """How many genomes there are."""
        return len(self.table)

    @property
    def operators(self) -> Mapping[str, Mapping[str, Choice | Real]]:
        return self.around.operators

    @cached_property
    def mutations(self) -> Mapping[str, Mutation]:
        """A step to a near row."""
        return {"near": self._step}

    def at(self, io: IO) -> Pool:
        """This space; its genomes were measured at no other input and output.

        Raises:
            InvalidTable: another is asked for.
        """
        if io != self.io:
            raise InvalidTable(f"table {self.table.name!r} was measured at {self.io}, not {io}")
        return self

    def rank(self, genome: Genome) -> int:
        """The row of a genome.

        Raises:
            InvalidGenome: it has none.
        """
        try:
            return self.table.rank(genome)
        except InvalidTable as error:
            raise InvalidGenome(str(error)) from error

    def unrank(self, rank: int) -> Genome:
        """The genome of a row.

        Raises:
            InvalidGenome: there is no such row.
        """
        if not 0 <= index(rank) < self.size:
            raise InvalidGenome(
                f"rank {rank} is not from 0 to {self.size - 1}, the rows of {self.table.name!r}"
            )
        if rank not in self._genomes:
            self._genomes[rank] = self.table.genome(rank)
        return self._genomes[rank]

    def sample(self, rng: np.random.Generator, size: int | None = None) -> Genome:
        """A row, all alike; genomes of a pool have the sizes that they have."""
        return self.unrank(draw_below(rng, self.size))

    def sample_uniform(self, rng: np.random.Generator, number: int) -> list[Genome]:
        """So many different rows, all equally likely.

        Raises:
            InvalidSpace: there are fewer.
        """
        check_number(self.name, number, self.size)
        return [self.unrank(rank) for rank in itertools.islice(shuffled(rng, self.size), number)]

    def crossover(self, a: Genome, b: Genome, rng: np.random.Generator) -> Genome | None:
        """The row nearest to a crossing of two, of another network than both; None where the two cannot be crossed."""
        child = self.around.crossover(a, b, rng)
        if child is None:
            return None
        rows = self._others(self.table.nearest_rows(child), {a.digest, b.digest}, 1)
        return self.unrank(rows[0]) if rows else None

    def parse(self, text: str) -> Genome:
        """The genome of a row from its text.

        Raises:
            InvalidGenome: it is no genome of the space around, or has no row.
        """
        genome: Genome = self.around.parse(text)
        self.check(genome)
        return genome

    def check(self, genome: Genome) -> None:
        """Raises InvalidGenome where a genome has no row."""
        self.rank(genome)

    def architecture(self, name: str) -> Genome:
        """Raises InvalidSpace: rows have no names."""
        raise InvalidSpace(
            f"{name!r} is no architecture of table {self.table.name!r}, whose rows have no names"
        )

    def cost(self, genome: Genome, context: int | None = None) -> Cost:
        cost: Cost = self.around.cost(genome, context)
        return cost

    def graph(self, genome: Genome) -> Graph:
        graph: Graph = self.around.graph(genome)
        return graph

    def build(self, genome: Genome) -> nn.Module:
        network: nn.Module = self.around.build(genome)
        return network

    def _step(self, genome: Genome, rng: np.random.Generator) -> Genome | None:
        row = self.rank(genome)
        if row not in self._near:
            self._near[row] = self._others(self.table.nearest_rows(row), {genome.digest}, NEAR)
        near = self._near[row]
        return self.unrank(near[draw_below(rng, len(near))]) if near else None

    def _others(self, rows: np.ndarray, digests: set[str], number: int) -> list[int]:
        """The first so many of some rows with networks other than some."""
        found: list[int] = []
        for row in rows.tolist():
            if len(found) == number:
                break
            if self.unrank(row).digest not in digests:
                found.append(row)
        return found
