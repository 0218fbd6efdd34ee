"""PyGlove in and out (Peng et al. 2020, arXiv 2101.08809): programs as spaces, and genomes as programs.

space = symbolic.space(pg.Dict(op=pg.oneof(["conv", "pool"]), lr=pg.floatv(1e-4, 1e-1, "log")))
symbolic.program(space, genome)       # a symbolic value of a genome of any space; back: symbolic.genome_of
symbolic.dna(space, genome)           # its DNA; back: symbolic.genome
symbolic.hyper(space)                 # any space in PyGlove: pg.sample(symbolic.hyper(space), algorithm)
symbolic.space(opened, within=space)  # the space around a value, some of whose fields were opened
"""

from __future__ import annotations

from typing import Any

from spaces.protocol import Space
from spaces.symbolic.hyper import Genomes, dna, genome, hyper, spec
from spaces.symbolic.opened import OpenedSpace
from spaces.symbolic.programs import ProgramSpace
from spaces.symbolic.values import genome_of, program


def space(program: Any, *, within: Space | None = None, **options: Any) -> ProgramSpace | OpenedSpace:
    """The space of a program: of its values, or of the genomes of another space that it can become.

    Args:
        within: the space whose value the program is, with fields opened; see `OpenedSpace`.
        options: of `ProgramSpace`, where there is no space around.

    Raises:
        InvalidSpace: the program is none, or can become no genome of the space around.
    """
    return ProgramSpace(program, **options) if within is None else OpenedSpace(program, within, **options)


__all__ = [
    "Genomes",
    "OpenedSpace",
    "ProgramSpace",
    "dna",
    "genome",
    "genome_of",
    "hyper",
    "program",
    "space",
    "spec",
]
