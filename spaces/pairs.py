"""Joint spaces: an architecture of one space, and beside it the hyperparameters that it is trained with."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from functools import cached_property, partial
from hashlib import blake2b
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from spaces.cost import Cost
from spaces.counting import draw_ranks
from spaces.decisions import Decide, Decision
from spaces.engine import real_at
from spaces.errors import InvalidGenome, InvalidSpace
from spaces.fields import Choice, Real, spell
from spaces.genome import Genome, read
from spaces.grammar import Grammar
from spaces.graph import Graph
from spaces.io import IO
from spaces.mutations import Mutable, Mutation
from spaces.product import ProductSpace
from spaces.protocol import Coded, Ranked, Space
from spaces.trees import TreeSpace, uncosted
from spaces.volume import centre, coordinates

if TYPE_CHECKING:
    from torch import nn

SETTINGS = "hyperparameters"
"""What the second half is called, as an operator of the graph and as a mutation."""


class Pair:
    """What stands behind a genome: an architecture and its hyperparameters, of one joint space."""

    __slots__ = ("architecture", "settings", "space")

    def __init__(self, space: JointSpace, architecture: Genome, settings: Genome) -> None:
        self.space, self.architecture, self.settings = space, architecture, settings

    @property
    def text(self) -> str:
        architecture = self.architecture.text
        try:
            read(architecture)
        except InvalidGenome:  # no term, and quoted for that
            architecture = json.dumps(architecture)
        fields = [f"{key}={spell(value)}" for key, value in self.space.values_of(self.settings).items()]
        return f"joint({', '.join([f'architecture={architecture}', *fields])})"

    @property
    def digest(self) -> str:
        both = f"{self.architecture.digest} {self.settings.digest}"
        return blake2b(both.encode(), digest_size=16).hexdigest()


class JointSpace(Mutable):
    """All pairs of an architecture and a value of each hyperparameter.

    Costs, graphs and networks are those of the architecture; the graph has the hyperparameters as one operator more,
    before the output. A campaign trains each genome with its own (see `nas.training`).

    Args:
        architectures: the space of the first half.
        fields: what the hyperparameters may be (`choice`, `real`), by name; or a product space, for its fields.

    Raises:
        InvalidSpace: there are no fields, one is neither a choice nor a range or is called "architecture", or the
            architectures have hyperparameters already.
        InvalidGrammar: a field is no name.
    """

    def __init__(self, architectures: Space, fields: Mapping[str, Choice | Real] | ProductSpace) -> None:
        self.architectures: Any = architectures  # which may have ranks
        if isinstance(fields, ProductSpace):
            fields = fields.fields
        if not isinstance(fields, Mapping):
            raise InvalidSpace(
                f"space {architectures.name!r}: hyperparameters are {fields!r}, but must be choices and reals by name, "
                "or a product space"
            )
        self.fields = dict(fields)
        self.name, self.io, self.context = architectures.name, architectures.io, architectures.context
        self.named = architectures.named
        if isinstance(architectures, JointSpace):
            raise InvalidSpace(
                f"space {self.name!r} has hyperparameters already: {', '.join(architectures.fields)}"
            )
        if not fields:
            raise InvalidSpace(f"space {self.name!r} was given no hyperparameters")
        for key, field in fields.items():
            if not isinstance(field, (Choice, Real)) or key == "architecture":
                raise InvalidSpace(
                    f"space {self.name!r}: hyperparameter {key!r} is {field!r}, but must be a choice or real, and not "
                    "be called 'architecture'"
                )
        grammar = Grammar(SETTINGS, start=SETTINGS)
        grammar.add(SETTINGS, (SETTINGS,), self.fields, form="operator")
        self._settings = TreeSpace(uncosted(grammar, 1), self.io)
        self.redrawn: Counter[str] = Counter()
        self.rejected = 0
        """How many genomes that `sample_uniform` drew broke a limit, and were left out."""

    def __reduce__(self) -> Any:
        return JointSpace, (self.architectures, self.fields)

    def __repr__(self) -> str:
        return f"JointSpace({self.architectures!r}, {', '.join(self.fields)})"

    @property
    def operators(self) -> Mapping[str, Mapping[str, Choice | Real]]:
        """What may stand in a graph, and the choices and numbers of each."""
        return {**self.architectures.operators, SETTINGS: self.fields}

    @property
    def size(self) -> int | None:
        """How many genomes there are; None: infinitely many, or the architectures are not counted."""
        halves = (self.architectures.size, self._settings.size)
        return None if None in halves else halves[0] * halves[1]

    @cached_property
    def mutations(self) -> Mapping[str, Mutation]:
        """Those of the architecture, and a change of one hyperparameter."""
        ours = {name: partial(self._rebuilt, change) for name, change in self.architectures.mutations.items()}
        return {**ours, SETTINGS: self._reset}

    def at(self, io: IO) -> JointSpace:
        """The same pairs at another input and output."""
        return JointSpace(self.architectures.at(io), self.fields)

    # Genomes and their halves

    def pair(self, genome: Genome) -> Pair:
        """The halves of a genome; parsed where another process or space made it."""
        pair = genome.tree
        if not isinstance(pair, Pair) or pair.space is not self:
            pair = self._read(genome.text)
            genome.remember(pair)
        return pair

    def values(self, genome: Genome) -> dict[str, Any]:
        """The value of every hyperparameter."""
        return self.values_of(self.pair(genome).settings)

    def values_of(self, settings: Genome) -> dict[str, Any]:
        """The same from the second half alone."""
        return self._settings.tree(settings).choices()

    def genome(self, architecture: Genome, **values: Any) -> Genome:
        """The genome of an architecture and a value for every hyperparameter.

        Raises:
            InvalidGenome: the architecture is not of its space, or a value is missing, unknown or not allowed.
        """
        self.architectures.check(architecture)
        return self._genome(architecture, self._set(values))

    def _genome(self, architecture: Genome, settings: Genome) -> Genome:
        return Genome(Pair(self, architecture, settings))

    def _set(self, values: Mapping[str, Any]) -> Genome:
        written = ", ".join(f"{key}={spell(value)}" for key, value in values.items())
        return self._settings.parse(f"{SETTINGS}({written})")

    def _read(self, text: str) -> Pair:
        term = read(text)
        if term.name != "joint":
            raise InvalidGenome(f"the genome is {term.name!r}, but those of this space are 'joint'")
        fields = dict(term.fields)
        first = fields.pop("architecture", None)
        if isinstance(first, str) and first.startswith('"'):
            written = json.loads(first)
        elif first is None or isinstance(first, str | list):
            raise InvalidGenome(
                "'joint' needs the field 'architecture': a genome, or the text of one in quotes"
            )
        else:
            written = str(first)
        values = ", ".join(f"{key}={value}" for key, value in fields.items())
        return Pair(self, self.architectures.parse(written), self._settings.parse(f"{SETTINGS}({values})"))

    def parse(self, text: str) -> Genome:
        """The genome of a text.

        Raises:
            InvalidGenome: the text is no genome of this space: where, what was found, what is allowed.
        """
        return Genome(self._read(text))

    def check(self, genome: Genome) -> None:
        """Raises InvalidGenome if the genome is not of this space."""
        self.parse(genome.text)

    def architecture(self, name: str) -> Genome:
        """A known model by name, with the first value of each choice and the middle of each range.

        Raises:
            InvalidSpace: the name is unknown, or the model does not fit.
        """
        values = {k: real_at(f, 0.5) if isinstance(f, Real) else f.values[0] for k, f in self.fields.items()}
        return self._genome(self.architectures.architecture(name), self._set(values))

    # Ranks

    def _ranked(self) -> int:
        """How many settings there are, where genomes have ranks.

        Raises:
            InvalidSpace: the architectures have none, or there are infinitely many genomes.
        """
        settings = self._settings.size
        if not isinstance(self.architectures, Ranked) or settings is None or self.size is None:
            raise InvalidSpace(f"space {self.name!r} with {', '.join(self.fields)} has no ranks")
        return settings

    def rank(self, genome: Genome) -> int:
        """The number of a genome, from 0 to `size` - 1: by architecture, then by hyperparameters.

        Raises:
            InvalidSpace: the architectures have no ranks, or there are infinitely many genomes.
        """
        number, pair = self._ranked(), self.pair(genome)
        return self.architectures.rank(pair.architecture) * number + self._settings.rank(pair.settings)

    def unrank(self, rank: int) -> Genome:
        """The genome of a number.

        Raises:
            InvalidGenome: the number is not from 0 to `size` - 1, or its genome breaks a limit.
            InvalidSpace: as `rank`.
        """
        first, second = divmod(index(rank), self._ranked())
        return self._genome(self.architectures.unrank(first), self._settings.unrank(second))

    def sample_uniform(self, rng: np.random.Generator, number: int) -> list[Genome]:
        """Different genomes in random order, all equally likely among those that meet the limits.

        Raises:
            InvalidSpace: there are fewer, or 10,000 in a row break a limit; or as `rank`.
        """
        settings = self._ranked()
        genomes, rejected = draw_ranks(
            self.name, self.unrank, range(self.architectures.size * settings), number, rng
        )
        self.rejected += rejected
        return genomes

    # Volume coding

    @property
    def _coded(self) -> Any:
        """The architectures.

        Raises:
            InvalidSpace: they are no boxes of a cube.
        """
        if not isinstance(self.architectures, Coded):
            raise InvalidSpace(
                f"space {self.name!r} has no volume coding, so it has none with {', '.join(self.fields)} either"
            )
        return self.architectures

    @property
    def dimensions(self) -> int:
        """How many coordinates `encode` gives a genome: those of the hyperparameters and those of the architecture."""
        return self._settings.dimensions + self._coded.dimensions

    def decode(self, point: ArrayLike) -> Genome:
        """The genome of a point of the cube [0, 1)^d: the first coordinates say the hyperparameters, which take a turn
        each, and the others the architecture.

        Raises:
            InvalidGenome: the point is outside the cube, or has too few coordinates.
            InvalidSpace: the architectures have no volume coding.
        """
        row, first = coordinates(point), self._settings.dimensions
        if len(row) <= first:
            raise InvalidGenome(
                f"the point has {len(row)} coordinates, but {first} say the hyperparameters and others the architecture"
            )
        return self._genome(self._coded.decode(row[first:]), self._settings.decode(row[:first]))

    def derive(self, decide: Decide) -> Genome:
        """The genome of decisions: first the hyperparameters', then the architecture's.

        Raises:
            InvalidSpace: the architectures have no volume coding.
        """
        coded, settings = self._coded, self._settings.derive(decide)
        return self._genome(coded.derive(decide), settings)

    def decisions(self, genome: Genome) -> list[tuple[Decision, int]]:
        """The decisions that `derive` asks for on the way to a genome, each with the place of the option to take.

        Raises:
            InvalidGenome: none lead to it.
            InvalidSpace: the architectures have no volume coding.
        """
        pair = self.pair(genome)
        return self._settings.decisions(pair.settings) + self._coded.decisions(pair.architecture)

    def box(self, genome: Genome) -> tuple[np.ndarray, np.ndarray]:
        """The lower and the upper corner of a genome's box: the points from the one to below the other decode to it.

        Raises:
            InvalidGenome: no point decodes to the genome.
            InvalidSpace: the architectures have no volume coding.
        """
        pair = self.pair(genome)
        halves = self._settings.box(pair.settings), self._coded.box(pair.architecture)
        low, high = (np.concatenate(corners) for corners in zip(*halves, strict=True))
        return low, high

    def encode(self, genome: Genome) -> np.ndarray:
        """A point that decodes to the genome: the centre of its box.

        Raises:
            InvalidGenome: no point decodes to the genome.
            InvalidSpace: the architectures have no volume coding.
        """
        return centre(self.box(genome))

    # Draws

    def sample(self, rng: np.random.Generator, size: int | None = None) -> Genome:
        """A random architecture (of at most `size` nodes) and random values, choices evenly, ranges on their scale."""
        return self._genome(self.architectures.sample(rng, size), self._settings.sample(rng))

    def _rebuilt(self, change: Mutation, genome: Genome, rng: np.random.Generator) -> Genome | None:
        pair = self.pair(genome)
        architecture = change(pair.architecture, rng)
        return None if architecture is None else self._genome(architecture, pair.settings)

    def _reset(self, genome: Genome, rng: np.random.Generator) -> Genome | None:
        pair = self.pair(genome)
        settings = self._settings.mutations["change"](pair.settings, rng)
        return None if settings is None else self._genome(pair.architecture, settings)

    def crossover(self, a: Genome, b: Genome, rng: np.random.Generator) -> Genome | None:
        """The architectures crossed where they can be, each hyperparameter from either; None if nothing changes."""
        one, other = self.pair(a), self.pair(b)
        architecture = (
            self.architectures.crossover(one.architecture, other.architecture, rng) or one.architecture
        )
        pairs = zip(
            self.values_of(one.settings).items(), self.values_of(other.settings).values(), strict=True
        )
        settings = self._set({key: (first, second)[int(rng.random() * 2)] for (key, first), second in pairs})
        genome = self._genome(architecture, settings)
        return None if genome.digest == a.digest else genome

    # What the architecture says

    def cost(self, genome: Genome, context: int | None = None) -> Cost:
        """What the architecture costs."""
        return self.architectures.cost(self.pair(genome).architecture, context)

    def graph(self, genome: Genome) -> Graph:
        """The canonical graph of the architecture, with the hyperparameters as an operator before the output."""
        pair = self.pair(genome)
        graph = self.architectures.graph(pair.architecture)
        last = len(graph.operators) - 1
        return Graph(
            (*graph.operators[:-1], SETTINGS, graph.operators[-1]),
            (*graph.choices[:-1], self.values_of(pair.settings), graph.choices[-1]),
            np.append(graph.sources, np.int32(last)),
            np.append(graph.targets, np.int32(last + 1)),
            np.append(graph.ports, np.int32(0)),
        )

    def build(self, genome: Genome) -> nn.Module:
        """The torch model of the architecture, initialised from torch's global random state."""
        return self.architectures.build(self.pair(genome).architecture)


def joint(space: Space, hyperparameters: Mapping[str, Choice | Real] | ProductSpace) -> JointSpace:
    """A space with hyperparameters beside it: `joint(space, {"lr": choice(0.001, 0.01)})`; see `JointSpace`.

    The hyperparameters may be a product space, so that two spaces are one.
    """
    return JointSpace(space, hyperparameters)


def hyperparameters(space: Space, genome: Genome) -> dict[str, Any]:
    """What a genome says of its training, by name; nothing, unless the space is a joint one."""
    return space.values(genome) if isinstance(space, JointSpace) else {}
