"""Spaces around a genome: a symbolic value of another space, some of whose fields were opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from spaces.cost import Cost
from spaces.errors import InvalidGenome, InvalidSpace, suggest
from spaces.fields import Choice, Real
from spaces.genome import Genome
from spaces.graph import Graph
from spaces.io import IO
from spaces.mutations import TRIES, Mutable, Mutation
from spaces.protocol import Space
from spaces.symbolic.programs import ProgramSpace
from spaces.symbolic.values import genome_of, program

if TYPE_CHECKING:
    from torch import nn

MOST_REJECTED = 200
"""How many draws in a row may be no genomes of the space around."""


class Opened:
    """What stands behind a genome: decisions of an opened program, and the genome around that they give."""

    __slots__ = ("around", "decided", "space")

    def __init__(self, space: OpenedSpace, decided: Genome, around: Genome) -> None:
        self.space, self.decided, self.around = space, decided, around

    @property
    def text(self) -> str:
        return self.around.text

    @property
    def digest(self) -> str:
        return self.around.digest


class OpenedSpace(Mutable):
    """The genomes of a space that a program can become: a value of it, some of whose fields hold decisions.

    Decisions are drawn as in `ProgramSpace`. What they give need not be a genome of the space, whose guards and limits
    a program does not know; then they are drawn once more, counted in `rejected`.

    Args:
        program: a value as `symbolic.program` gives it, with `oneof`, `manyof` or `floatv` in it.
        within: the space around.

    Raises:
        InvalidSpace: the program is none, or 200 draws in a row are no genomes of the space.
    """

    named: tuple[str, ...] = ()
    size = None
    """Not counted, as what fits depends on the space around."""

    def __init__(self, program: Any, within: Space) -> None:
        self.program, self.within = program, within
        self.name, self.io, self.context = within.name, within.io, within.context
        self._program = ProgramSpace(program, "opened")
        self.redrawn: Counter[str] = Counter()
        self.rejected = 0
        """How many draws, mutants and crossings were no genomes of the space around."""
        self.sample(np.random.default_rng(0))

    def __reduce__(self) -> Any:
        return OpenedSpace, (self.program, self.within)

    def __repr__(self) -> str:
        return f"OpenedSpace({self.within!r})"

    @property
    def operators(self) -> Mapping[str, Mapping[str, Choice | Real]]:
        """What may stand in a graph of the space around."""
        return self.within.operators

    @cached_property
    def mutations(self) -> Mapping[str, Mutation]:
        return {name: partial(self._apply, change) for name, change in self._program.mutations.items()}

    def at(self, io: IO) -> OpenedSpace:
        """The same program within the space at another input and output."""
        return OpenedSpace(self.program, self.within.at(io))

    def _out(self, decided: Genome) -> Genome:
        """The genome that decisions give.

        Raises:
            InvalidGenome: the space around has none such.
        """
        try:
            return Genome(Opened(self, decided, genome_of(self.within, self._program.value(decided))))
        except InvalidGenome:
            self.rejected += 1
            raise

    def _opened(self, genome: Genome) -> Opened:
        """What stands behind a genome; found where another process or space made it."""
        opened = genome.tree
        if not isinstance(opened, Opened) or opened.space is not self:
            opened = self._read(genome.text)
            genome.remember(opened)
        return opened

    def _read(self, text: str) -> Opened:
        around = self.within.parse(text)
        return Opened(self, self._program.genome_of(program(self.within, around)), around)

    def sample(self, rng: np.random.Generator, size: int | None = None) -> Genome:
        """A random genome; `size` has no meaning here, as the program says what is there.

        Raises:
            InvalidSpace: 200 draws in a row are no genomes of the space around.
        """
        for _ in range(MOST_REJECTED):
            try:
                return self._out(self._program.sample(rng))
            except InvalidGenome as error:
                reason = str(error)
        raise InvalidSpace(
            f"{MOST_REJECTED} draws in a row of what was opened are no genomes of {self.name!r}, the last as {reason}"
        )

    def _apply(self, change: Mutation, genome: Genome, rng: np.random.Generator) -> Genome | None:
        """One named mutation of the decisions; None where it cannot be made."""
        parent = self._opened(genome).decided
        for _ in range(TRIES):
            changed = change(parent, rng)
            if changed is None:
                return None
            try:
                return self._out(changed)
            except InvalidGenome:
                continue
        return None

    def crossover(self, a: Genome, b: Genome, rng: np.random.Generator) -> Genome | None:
        """The first genome with decisions of the second; None where that fits nowhere or changes nothing."""
        crossed = self._program.crossover(self._opened(a).decided, self._opened(b).decided, rng)
        if crossed is None:
            return None
        try:
            genome = self._out(crossed)
        except InvalidGenome:
            return None
        return None if genome.digest == a.digest else genome

    def parse(self, text: str) -> Genome:
        """The genome of a text of the space around.

        Raises:
            InvalidGenome: the text is no genome of that space, or the program cannot become it.
        """
        return Genome(self._read(text))

    def check(self, genome: Genome) -> None:
        """Raises InvalidGenome if the genome is not of this space."""
        self.parse(genome.text)

    def architecture(self, name: str) -> Genome:
        """A known model by name; what was opened has none.

        Raises:
            InvalidSpace: always.
        """
        raise InvalidSpace(f"space {self.name!r} has no architecture {name!r}{suggest(name, self.named)}")

    def cost(self, genome: Genome, context: int | None = None) -> Cost:
        """What the genome costs in the space around."""
        return self.within.cost(self._opened(genome).around, context)

    def graph(self, genome: Genome) -> Graph:
        """The canonical graph in the space around."""
        return self.within.graph(self._opened(genome).around)

    def build(self, genome: Genome) -> nn.Module:
        """The torch model, initialised from torch's global random state."""
        return self.within.build(self._opened(genome).around)
