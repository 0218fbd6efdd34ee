"""What every space is, whether it is a grammar, a product of choices or a user's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from spaces.cost import Cost
from spaces.decisions import Decide, Decision
from spaces.errors import InvalidSpace
from spaces.fields import Choice, Real
from spaces.genome import Genome
from spaces.graph import Graph
from spaces.io import IO
from spaces.mutations import Mutation

if TYPE_CHECKING:
    from torch import nn

    from spaces.networks.supernet import Mixture, Supernet


class Space(Protocol):
    """Genomes that fit one input and output: how to draw, change, check, cost and build them.

    What is raised for a genome that is not of the space is `InvalidGenome`, for anything else `InvalidSpace`.

    Attributes:
        name: as users know it.
        context: the sequence length, in tokens, at which costs are counted; 1 where inputs are no sequences.
        named: the known models, by name.
    """

    name: str
    context: int
    named: tuple[str, ...]

    def __hash__(self) -> int: ...

    @property
    def io(self) -> IO:
        """What goes in and out of every network."""

    @property
    def mutations(self) -> Mapping[str, Mutation]:
        """The changes of a genome that can be made, by name, so that strategies may weigh them."""

    @property
    def operators(self) -> Mapping[str, Mapping[str, Choice | Real]]:
        """What may stand in a graph, and the choices and numbers of each, by name."""

    @property
    def size(self) -> int | None:
        """How many genomes there are, before the limits on cost; None: infinitely many, or they are not counted."""

    def at(self, io: IO) -> Space:
        """The same space at another input and output.

        Raises:
            InvalidSpace: it cannot be bound to that.
        """

    def sample(self, rng: np.random.Generator, size: int | None = None) -> Genome:
        """A random genome within the limits, of at most `size` nodes where genomes differ in that.

        Raises:
            InvalidSpace: there is none so small.
        """

    def mutate(self, genome: Genome, rng: np.random.Generator) -> Genome:
        """A neighbour by one of the mutations; never a network equal to its parent.

        Raises:
            NoNeighbour: there is none.
        """

    def crossover(self, a: Genome, b: Genome, rng: np.random.Generator) -> Genome | None:
        """The first genome with a part of the second; None where they have nothing to exchange that changes it."""

    def parse(self, text: str) -> Genome:
        """The genome of a text.

        Raises:
            InvalidGenome: the text is no genome of this space: where, what was found, what is allowed.
        """

    def check(self, genome: Genome) -> None:
        """Raises InvalidGenome, which names the place, if the genome is not of this space."""

    def architecture(self, name: str) -> Genome:
        """A known model by name.

        Raises:
            InvalidSpace: the name is unknown, or the model does not fit the input or the limits.
        """

    def cost(self, genome: Genome, context: int | None = None) -> Cost:
        """What the whole network costs, known without building it: at the space's context, or so many tokens.

        Raises:
            InvalidSpace: the space does not say.
        """

    def graph(self, genome: Genome) -> Graph:
        """The canonical graph, equal for equal networks."""

    def build(self, genome: Genome) -> nn.Module:
        """The torch model, initialised from torch's global random state; `spaces.io` says what it reads and gives.

        Raises:
            InvalidSpace: the space does not say how.
        """


def tells_costs(space: Space) -> bool:
    """Whether the space says what its genomes cost."""
    try:
        space.cost(space.sample(np.random.default_rng(0)))
    except InvalidSpace:
        return False
    return True


@runtime_checkable
class Ranked(Protocol):
    """A space whose genomes are numbered from 0 to `size` - 1, where that is not None."""

    def rank(self, genome: Genome) -> int:
        """The number of a genome."""

    def unrank(self, rank: int) -> Genome:
        """The genome of a number.

        Raises:
            InvalidGenome: there is no such number, or its genome breaks a limit.
        """

    def sample_uniform(self, rng: np.random.Generator, number: int) -> list[Genome]:
        """Different genomes in random order, all equally likely.

        Raises:
            InvalidSpace: there are fewer.
        """


@runtime_checkable
class Coded(Protocol):
    """A space whose genomes are derived by decisions, which make them boxes of a cube and every point a genome."""

    def derive(self, decide: Decide) -> Genome:
        """The genome of decisions, each made by `decide` when it comes up."""

    def decisions(self, genome: Genome) -> list[tuple[Decision, int]]:
        """The decisions that `derive` asks for on the way to a genome, each with the place of the option to take.

        Raises:
            InvalidGenome: none lead to it.
        """

    def decode(self, point: ArrayLike) -> Genome:
        """The genome of a point, [d] from 0 to below 1.

        Raises:
            InvalidGenome: the point is outside the cube, or has too few coordinates.
        """

    def box(self, genome: Genome) -> tuple[np.ndarray, np.ndarray]:
        """The corners of a genome's box, [d] each: points from the lower to below the upper one decode to it.

        Raises:
            InvalidGenome: no point decodes to the genome.
        """

    def encode(self, genome: Genome) -> np.ndarray:
        """A point that decodes to the genome, [d]: the centre of its box.

        Raises:
            InvalidGenome: no point decodes to the genome.
        """


@runtime_checkable
class Sharing(Protocol):
    """A space in whose networks layers share weights and features."""

    def saved(self, genome: Genome, context: int | None = None) -> Cost:
        """By how much the network costs less than if nothing in it were shared."""


@runtime_checkable
class Relaxed(Protocol):
    """A space with a supernet, whose operators are mixtures, and genomes for what these become."""

    def supernet(self, mixture: Mixture) -> Supernet:
        """The network in which every edge of a cell is a mixture of all operators, weighed as `mixture` says."""

    def discretised(self, scores: Mapping[str, np.ndarray]) -> Genome:
        """The genome of the architecture of a supernet.

        Args:
            scores: by kind of cell, of each operator on each edge, [edges, operators]; greater is better.
        """
