"""Programs as spaces."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import pyglove as pg

from spaces.cost import Cost
from spaces.derivation import Node
from spaces.errors import InvalidGenome, InvalidSpace, suggest
from spaces.genome import DEEPEST, Genome, shorten
from spaces.io import IO, tokens
from spaces.symbolic.encoding import encode
from spaces.symbolic.grammar import Writer
from spaces.trees import TreeSpace, uncosted

if TYPE_CHECKING:
    from torch import nn


class ProgramSpace(TreeSpace):
    """All values of a PyGlove program: one that holds `oneof`, `manyof`, `permutate` or `floatv`, also in one another.

    Genomes and DNAs match one to one, by the numbers of `pg.dna_spec(program)`; genomes with equal values have one
    digest. Candidates are equally likely, as are the sets of candidates that a distinct or sorted `manyof` may pick.

    Args:
        program: the symbolic value.
        name: of the space; the texts of genomes start with it.
        io: what goes in and out of what is built; default: `tokens()`.
        build: gives the torch module of a value.
        cost: gives the `Cost` of a value.

    Raises:
        InvalidSpace: the program cannot be serialised, is none to PyGlove, nests too deep for a text, or holds custom
            decisions.
        InvalidGrammar: it has more states than an engine can hold.
    """

    context = 1
    named: tuple[str, ...] = ()

    def __init__(
        self,
        program: Any,
        name: str = "program",
        io: IO | None = None,
        build: Callable[[Any], nn.Module] | None = None,
        cost: Callable[[Any], Cost] | None = None,
    ) -> None:
        self.program = program
        self._given: dict[str, Any] = {"name": name, "build": build, "cost": cost}
        self._build, self._cost = build, cost
        try:
            pg.to_json(program)
        except (TypeError, ValueError) as error:
            raise InvalidSpace(f"program {name!r} cannot be written for other processes: {error}") from None
        self.template = pg.template(program)
        if self.template.is_constant:
            raise InvalidSpace(
                f"program {name!r} holds no decisions: write oneof, manyof or floatv where it may vary"
            )
        writer = Writer(name, self.template, self._canonical)
        if writer.root.depth > DEEPEST:
            raise InvalidSpace(
                f"program {name!r} nests {writer.root.depth} productions in one another, more than the {DEEPEST} of a "
                "text; a distinct or sorted manyof has one for each pick"
            )
        try:
            self.spec = self.template.dna_spec()
        except ValueError as error:
            raise InvalidSpace(f"program {name!r}: {error}") from None
        self._root = writer.root
        super().__init__(uncosted(writer.grammar, self._root.nodes), tokens() if io is None else io)

    def __reduce__(self) -> Any:
        return partial(ProgramSpace, self.program, io=self.io, **self._given), ()

    def at(self, io: IO) -> ProgramSpace:
        """The same program at another input and output."""
        return ProgramSpace(self.program, io=io, **self._given)

    def _canonical(self, node: Node) -> tuple[str, ...]:
        return (self._root.json(node),)

    def dna(self, genome: Genome) -> pg.DNA:
        """The DNA of a genome, bound to the program's specification."""
        return self._root.dna(self.tree(genome)).use_spec(self.spec)

    def genome(self, dna: pg.DNA) -> Genome:
        """The genome of a DNA.

        Raises:
            InvalidGenome: it is no DNA of this program.
        """
        try:
            self.spec.validate(dna)
        except ValueError as error:
            raise InvalidGenome(f"no DNA of program {self.name!r}: {error}") from None
        return self.parse(self._root.text(dna))

    def value(self, genome: Genome) -> Any:
        """What the program is with the decisions of a genome, made anew at each call."""
        return self.template.decode(self._root.dna(self.tree(genome)))

    def genome_of(self, value: Any) -> Genome:
        """A genome that gives a value; of several, the one of the first candidates.

        Raises:
            InvalidGenome: no genome gives it.
        """
        dna = encode(self.template, value)
        if dna is None:
            raise InvalidGenome(
                f"program {self.name!r} cannot become {shorten(pg.format(value, compact=True, verbose=False))}"
            )
        return self.genome(dna)

    def architecture(self, name: str) -> Genome:
        """A known model by name; a program has none.

        Raises:
            InvalidSpace: always.
        """
        raise InvalidSpace(f"space {self.name!r} has no architecture {name!r}{suggest(name, self.named)}")

    def cost(self, genome: Genome, context: int | None = None) -> Cost:
        """What a genome's value costs.

        Raises:
            InvalidSpace: the space was not given `cost`.
        """
        if self._cost is None:
            raise InvalidSpace(f"space {self.name!r} does not say what its genomes cost")
        return self._cost(self.value(genome))

    def build(self, genome: Genome) -> nn.Module:
        """The torch module of a genome's value, initialised from torch's global random state.

        Raises:
            InvalidSpace: the space was not given `build`.
        """
        if self._build is None:
            raise InvalidSpace(f"space {self.name!r} does not say how its genomes are built")
        return self._build(self.value(genome))
