"""Spaces as PyGlove's hyper values, so that what PyGlove samples and evolves are genomes."""

from __future__ import annotations

import functools
import random
from typing import Any

import numpy as np
import pyglove as pg

from spaces.errors import InvalidGenome
from spaces.fields import spell
from spaces.genome import Genome
from spaces.product import ProductSpace
from spaces.protocol import Space
from spaces.symbolic.programs import ProgramSpace
from spaces.symbolic.values import genome_of, program
from spaces.trees import TreeSpace


@pg.members([("space", pg.typing.Any())], init_arg_list=["space"])
class Genomes(pg.hyper.CustomHyper):
    """The genomes of a space as a custom decision: a DNA is a text, and its value as `symbolic.program` gives it.

    PyGlove draws by `Space.sample`, moves to a neighbour by `Space.mutate`, and sweeps genomes that have ranks.
    """

    def custom_decode(self, dna: pg.DNA) -> Any:
        return program(self.space, self.space.parse(dna.value))

    def custom_encode(self, value: Any) -> pg.DNA:
        return pg.DNA(genome_of(self.space, value).text)

    def random_dna(self, random_generator: Any = None, previous_dna: pg.DNA | None = None) -> pg.DNA:
        rng = np.random.default_rng((random_generator or random).getrandbits(64))
        if previous_dna is None:
            return pg.DNA(self.space.sample(rng).text)
        return pg.DNA(self.space.mutate(self.space.parse(previous_dna.value), rng).text)

    def next_dna(self, dna: pg.DNA | None = None) -> pg.DNA | None:
        space = self.space
        if not isinstance(space, TreeSpace) or space.size is None:
            raise NotImplementedError(f"the genomes of {space.name!r} have no ranks, so they cannot be swept")
        first = 0 if dna is None else space.rank(space.parse(dna.value)) + 1
        for rank in range(first, space.size):
            try:
                return pg.DNA(space.unrank(rank).text)
            except InvalidGenome:  # over a limit
                continue
        return None


def hyper(space: Space) -> Any:
    """A space as a hyper value: its program, a `oneof` for each field of a product, else `Genomes`."""
    if isinstance(space, ProgramSpace):
        return space.program
    if isinstance(space, ProductSpace):
        return pg.Dict({key: pg.oneof(list(field.values)) for key, field in space.fields.items()})
    return Genomes(space)


@functools.lru_cache(maxsize=16)  # tens of milliseconds where there are many candidates
def spec(space: Space) -> pg.DNASpec:
    """The specification of `hyper(space)`."""
    return pg.dna_spec(hyper(space))


def dna(space: Space, genome: Genome) -> pg.DNA:
    """The DNA of a genome, bound to the specification of `hyper(space)`.

    Raises:
        InvalidGenome: the genome is not of the space.
    """
    if isinstance(space, ProgramSpace):
        return space.dna(genome)
    if isinstance(space, ProductSpace):
        values = space.values(genome)
        found = pg.DNA([field.index[spell(values[key])] for key, field in space.fields.items()])
    else:
        space.check(genome)
        found = pg.DNA(genome.text)
    return found.use_spec(spec(space))


def genome(space: Space, dna: pg.DNA) -> Genome:
    """The genome of a DNA; the inverse of `dna`.

    Raises:
        InvalidGenome: it is no DNA of the space.
    """
    if isinstance(space, ProgramSpace):
        return space.genome(dna)
    try:
        spec(space).validate(dna)
    except (TypeError, ValueError) as error:
        raise InvalidGenome(f"no DNA of space {space.name!r}: {error}") from None
    if isinstance(space, ProductSpace):
        places = [dna.value] if len(space.fields) == 1 else [part.value for part in dna.children]
        fields = zip(space.fields.items(), places, strict=True)
        return space.genome(**{key: field.values[place] for (key, field), place in fields})
    return space.parse(dna.value)
