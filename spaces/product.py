"""Product spaces: one value of each of some choices, as cells and joint architecture and hyperparameter grids are.

A genome is a row of an array of that many axes, so it has a rank, and a table of measurements is an array.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from itertools import islice
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from spaces.cost import Cost
from spaces.counting import check_number, shuffled
from spaces.decisions import Decide, Decision, evenly
from spaces.errors import InvalidGenome, InvalidSpace, suggest
from spaces.fields import Choice, Real, spell
from spaces.genome import Genome, read
from spaces.graph import Graph
from spaces.io import IO, VectorIO
from spaces.mutations import Mutable, Mutation
from spaces.volume import Interval, Place, centre, coordinates

if TYPE_CHECKING:
    from torch import nn

NOWHERE = VectorIO(1, 1)
"""The input and output of a space that builds no networks, where they mean nothing."""

Code = tuple[int, ...]
"""The place of the value of each field in its choice."""


class Point:
    """What stands behind a genome: its code in a space. Never changed once made."""

    __slots__ = ("code", "space")

    def __init__(self, space: ProductSpace, code: Code) -> None:
        self.space = space
        self.code = code

    @property
    def text(self) -> str:
        return self.space.spell(self.code)

    @property
    def digest(self) -> str:
        return blake2b(self.space.canonical(self.code).encode(), digest_size=16).hexdigest()


class ProductSpace(Mutable):
    """All combinations of the values of some choices.

    A subclass may write its genomes in another way (`spell`, `code`), say which of them are equal networks
    (`canonical`, `graph`), and what they cost and build.

    Args:
        name: of the space; a genome is written `name(field=value, ...)`.
        fields: the choices by name. The rank of a genome counts the last of them fastest.
        io: what goes in and out, of a space that builds networks.

    Raises:
        InvalidSpace: there are no fields, one is no choice, or a name is more than letters, digits and "_".
    """

    context = 1
    named: tuple[str, ...] = ()

    def __init__(self, name: str, fields: Mapping[str, Choice], io: IO = NOWHERE) -> None:
        if not fields:
            raise InvalidSpace(f"space {name!r} has no fields")
        for word in (name, *fields):
            if spell(word) != word:
                raise InvalidSpace(
                    f"space {name!r}: {word!r} is no name, and could not be read back from a text"
                )
        for key, field in fields.items():
            if not isinstance(field, Choice):
                raise InvalidSpace(f"space {name!r}: field {key!r} is {field!r}, but must be a choice")
        self.name, self.fields, self.io = name, dict(fields), io
        self._sizes = tuple(len(field.values) for field in self.fields.values())
        self.redrawn: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.io})"

    @property
    def size(self) -> int:
        """How many genomes there are."""
        return math.prod(self._sizes)

    @property
    def operators(self) -> Mapping[str, Mapping[str, Choice | Real]]:
        """What may stand in a graph, and the choices of each."""
        return {self.name: self.fields}

    @property
    def mutations(self) -> Mapping[str, Mutation]:
        """One field of its value changed: "change" to the next where values are ordered, "resample" to any other."""
        return {
            "change": partial(self._mutated, self._change),
            "resample": partial(self._mutated, self._resample),
        }

    def at(self, io: IO) -> ProductSpace:
        """The same space at another input and output."""
        moved = copy.copy(self)
        moved.io = io
        moved.redrawn = Counter()
        return moved

    # Genomes, texts, codes and ranks

    def genome(self, **values: Any) -> Genome:
        """The genome with a value for every field.

        Raises:
            InvalidGenome: a field is missing or unknown, or a value is not among its choices.
        """
        plain = {
            key: value.item() if isinstance(value, np.generic) else value for key, value in values.items()
        }
        return self._genome(self._code_from({key: spell(value) for key, value in plain.items()}))

    def values(self, genome: Genome) -> dict[str, Any]:
        """The value of every field."""
        return self._values(self._code_of(genome))

    def rank(self, genome: Genome) -> int:
        """The number of a genome, from 0 to `size` - 1."""
        return self.rank_of(self._code_of(genome))

    def rank_of(self, code: Code) -> int:
        """The number of a code: the place of the value of each field, the last of which counts fastest."""
        rank = 0
        for place, size in zip(code, self._sizes, strict=True):
            rank = rank * size + place
        return rank

    def unrank(self, rank: int) -> Genome:
        """The genome of a number.

        Raises:
            InvalidGenome: the number is not from 0 to `size` - 1.
        """
        rank = index(rank)  # a number of numpy's would be handed on
        if not 0 <= rank < self.size:
            raise InvalidGenome(f"rank {rank} is not from 0 to {self.size - 1}, the genomes of {self.name!r}")
        code: list[int] = []
        for size in reversed(self._sizes):
            rank, place = divmod(rank, size)
            code.append(place)
        return self._genome(tuple(reversed(code)))

    @property
    def dimensions(self) -> int:
        """How many coordinates `encode` gives a genome: one a field."""
        return len(self.fields)

    def decode(self, point: ArrayLike) -> Genome:
        """The genome of a point of the cube [0, 1)^d, one dimension a field, its values side by side.

        Raises:
            InvalidGenome: the point is outside the cube, or of another cube.
        """
        row = coordinates(point)
        if len(row) != self.dimensions:
            raise InvalidGenome(
                f"the point has {len(row)} coordinates, but the genomes of {self.name!r} have {self.dimensions}"
            )
        return self._genome(
            tuple([Place(x).cut(range(size + 1)) for x, size in zip(row, self._sizes, strict=True)])
        )

    def derive(self, decide: Decide) -> Genome:
        """The genome of decisions, one a field that has more than one value."""
        fields = zip(self.fields, self._sizes, strict=True)
        return self._genome(
            tuple([decide(evenly(name, range(size))) if size > 1 else 0 for name, size in fields])
        )

    def decisions(self, genome: Genome) -> list[tuple[Decision, int]]:
        """The decisions that `derive` asks for on the way to a genome, each with the place of the value to take."""
        fields = zip(self.fields, self._sizes, self._code_of(genome), strict=True)
        return [(evenly(name, range(size)), place) for name, size, place in fields if size > 1]

    def box(self, genome: Genome) -> tuple[np.ndarray, np.ndarray]:
        """The lower and the upper corner of a genome's box: the points from the one to below the other decode to it."""
        intervals = [Interval() for _ in self._sizes]
        for interval, size, place in zip(intervals, self._sizes, self._code_of(genome), strict=True):
            interval.cut(range(size + 1), place)
        low, high = np.array([interval.ends for interval in intervals]).T
        return low, high

    def encode(self, genome: Genome) -> np.ndarray:
        """A point that decodes to the genome: the centre of its box."""
        return centre(self.box(genome))

    def parse(self, text: str) -> Genome:
        """The genome of a text.

        Raises:
            InvalidGenome: the text is no genome of this space: where, what was found, what is allowed.
        """
        return self._genome(self.code(text))

    def check(self, genome: Genome) -> None:
        """Raises InvalidGenome if the genome is not of this space."""
        self.code(genome.text)

    def architecture(self, name: str) -> Genome:
        """A known model by name.

        Raises:
            InvalidSpace: the name is unknown.
        """
        raise InvalidSpace(f"space {self.name!r} has no architecture {name!r}{suggest(name, self.named)}")

    def _genome(self, code: Code) -> Genome:
        return Genome(Point(self, code))

    def _code_of(self, genome: Genome) -> Code:
        """The code of a genome; parsed where another process or space made it."""
        point = genome.tree
        if not isinstance(point, Point) or point.space is not self:
            point = Point(self, self.code(genome.text))
            genome.remember(point)
        return point.code

    def _values(self, code: Code) -> dict[str, Any]:
        return {
            key: field.values[place] for (key, field), place in zip(self.fields.items(), code, strict=True)
        }

    def _code_from(self, tokens: Mapping[str, str]) -> Code:
        """The code of values as they are spelled."""
        for key in tokens:
            if key not in self.fields:
                raise InvalidGenome(f"{self.name!r} has no field {key!r}{suggest(key, self.fields)}")
        code: list[int] = []
        for key, field in self.fields.items():
            if key not in tokens:
                raise InvalidGenome(f"{self.name!r} lacks its field {key!r}")
            place = field.index.get(tokens[key])
            if place is None:
                place = _numbered(field, tokens[key])
            if place is None:
                raise InvalidGenome(f"{key}: {tokens[key]} is not allowed{suggest(tokens[key], field.index)}")
            code.append(place)
        return tuple(code)

    # What a subclass may do its own way

    def spell(self, code: Code) -> str:
        """The text of a genome."""
        values = self._values(code)
        return f"{self.name}({', '.join(f'{key}={spell(value)}' for key, value in values.items())})"

    def code(self, text: str) -> Code:
        """The code of a text; the inverse of `spell`.

        Raises:
            InvalidGenome: the text is no genome of this space.
        """
        term = read(text)
        if term.name != self.name:
            raise InvalidGenome(f"the genome is {term.name!r}, but those of this space are {self.name!r}")
        tokens: dict[str, str] = {}
        for key, value in term.fields.items():
            if not isinstance(value, str):
                raise InvalidGenome(f"{key}: expected a value, found a production")
            tokens[key] = value
        return self._code_from(tokens)

    def canonical(self, code: Code) -> str:
        """What equal networks have in common."""
        return self.spell(code)

    def graph(self, genome: Genome) -> Graph:
        """The canonical graph: one operator with all choices, unless a space says more."""
        return chain([(self.name, self.values(genome))])

    def cost(self, genome: Genome, context: int | None = None) -> Cost:
        """What the whole model costs; FLOPs are of one sample.

        Raises:
            InvalidSpace: the space does not say.
        """
        raise InvalidSpace(f"space {self.name!r} does not say what its genomes cost")

    def build(self, genome: Genome) -> nn.Module:
        """The torch model, initialised from torch's global random state.

        Raises:
            InvalidSpace: the space does not say how.
        """
        raise InvalidSpace(f"space {self.name!r} does not say how its genomes are built")

    # Draws

    def sample(self, rng: np.random.Generator, size: int | None = None) -> Genome:
        """A random genome, all equally likely; `size` has no meaning here, as all are of one size."""
        return self._genome(tuple([int(rng.random() * size) for size in self._sizes]))

    def sample_uniform(self, rng: np.random.Generator, number: int) -> list[Genome]:
        """Different genomes in random order, all equally likely.

        Raises:
            InvalidSpace: there are fewer.
        """
        check_number(self.name, number, self.size)
        return [self.unrank(rank) for rank in islice(shuffled(rng, self.size), number)]

    def crossover(self, a: Genome, b: Genome, rng: np.random.Generator) -> Genome | None:
        """Each field from either parent; None where that is the first parent's network."""
        pairs = zip(self._code_of(a), self._code_of(b), strict=True)
        child = self._genome(tuple([pair[int(rng.random() * 2)] for pair in pairs]))
        return None if child.digest == a.digest else child

    def _mutated(
        self,
        move: Callable[[Choice, int, np.random.Generator], int],
        genome: Genome,
        rng: np.random.Generator,
    ) -> Genome | None:
        """One field moved; None where no field has another value."""
        code = self._code_of(genome)
        places = [k for k, size in enumerate(self._sizes) if size > 1]
        if not places:
            return None
        k = places[int(rng.random() * len(places))]
        field = list(self.fields.values())[k]
        return self._genome((*code[:k], move(field, code[k], rng), *code[k + 1 :]))

    @staticmethod
    def _resample(field: Choice, place: int, rng: np.random.Generator) -> int:
        """Another value, all equally likely."""
        return (place + 1 + int(rng.random() * (len(field.values) - 1))) % len(field.values)

    @staticmethod
    def _change(field: Choice, place: int, rng: np.random.Generator) -> int:
        """The next value on one side where values are ordered, else any other."""
        if not field.ordered:
            return ProductSpace._resample(field, place, rng)
        sides = [p for p in (place - 1, place + 1) if 0 <= p < len(field.values)]
        return sides[int(rng.random() * len(sides))]


def _numbered(field: Choice, token: str) -> int | None:
    """The place of the value that is the number of a text, so that 0 and 1e-1 may be written for 0.0 and 0.1."""
    try:
        number = float(token)
    except ValueError:
        return None
    values = [value if type(value) in (int, float) else None for value in field.values]
    return values.index(number) if number in values else None


def chain(operators: Sequence[tuple[str, Mapping[str, Any]]]) -> Graph:
    """The graph of operators with their choices, one after the other."""
    names, choices = zip(*operators, strict=True)
    line = np.arange(len(names) + 1, dtype=np.int32)
    return Graph(("input", *names, "output"), ({}, *choices, {}), line, line + 1, np.zeros_like(line))
