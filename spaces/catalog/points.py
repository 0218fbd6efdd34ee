"""Points of a cube: hyperparameters that a study has scaled to numbers from 0 to 1, and tells no more of."""

from __future__ import annotations

from collections.abc import Callable

from spaces.cost import Cost
from spaces.errors import InvalidSpace, suggest
from spaces.fields import real
from spaces.genome import Genome
from spaces.grammar import Grammar
from spaces.io import IO, VectorIO, vector
from spaces.trees import TreeSpace, uncosted


class Points(TreeSpace):
    """The points of a cube, written point(x0=0.5, x1=0.25, ...); a genome is drawn evenly.

    Args:
        io: a vector, whose features are the dimensions.

    Raises:
        InvalidSpace: the input and output are not vectors.
    """

    context = 1
    named: tuple[str, ...] = ()

    def __init__(self, io: IO | None = None) -> None:
        io = vector(features=2) if io is None else io
        if not isinstance(io, VectorIO):
            raise InvalidSpace(f"space 'points' reads vectors, but it was given {io}")
        self.fields = {f"x{k}": real(0.0, 1.0) for k in range(io.features)}
        grammar = Grammar("points", start="point")
        grammar.add("point", ("point",), self.fields, form="operator")
        super().__init__(uncosted(grammar, 1), io)

    def __reduce__(self) -> tuple[Callable[..., Points], tuple[IO]]:
        return Points, (self.io,)

    def at(self, io: IO) -> Points:
        return Points(io)

    def values(self, genome: Genome) -> dict[str, float]:
        """The coordinates of a point, by name."""
        return self.tree(genome).choices()

    def architecture(self, name: str) -> Genome:
        raise InvalidSpace(f"space {self.name!r} has no architecture {name!r}{suggest(name, self.named)}")

    def cost(self, genome: Genome, context: int | None = None) -> Cost:
        raise InvalidSpace(f"space {self.name!r} does not say what its genomes cost")

    def build(self, genome: Genome) -> None:
        raise InvalidSpace(f"space {self.name!r} does not say how its genomes are built")
