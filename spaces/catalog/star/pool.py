"""The LIV classes of STAR: operator genomes, featurizer genomes, and the pool of both under a number and a name."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from spaces.blocks.operators import DENSE, GROUPED, Operator, head_count, problem
from spaces.errors import InvalidGenome

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
"""One for each number of a genome: from 10 on they are letters, so that expansion factor 16 is g."""

OPERATOR = {
    "featurizer class": (1, 2, 3, 4, 5, 6, 7, 8, 9),
    "token mixing": (1, 2, 3, 4),
    "sparsity": (1, 2),
    "nonlinearity": (1, 2, 3, 4),
    "channel mixing": (1, 2, 3),
}
"""The five numbers of an operator genome and what each may be."""
FEATURIZER = {
    "featurizer token mixing": (1, 2, 3, 4),
    "featurizer channel mixing": (1, 2, 3),
    "expansion factor": (1, 2, 3, 4, 8, 16),
    "repeat factor": (1, 2, 4),
}
"""The four of a featurizer genome."""

FEATURIZERS = {
    1: (1, 2, 1, 1),
    2: (3, 2, 1, 1),
    3: (1, 2, 1, 4),
    4: (1, 2, 1, 2),
    5: (3, 2, 16, 1),
    6: (3, 2, 2, 1),
    7: (1, 2, 1, 1),
    8: (3, 2, 1, 1),
    9: (1, 2, 3, 1),
}
"""The featurizer genome of each featurizer class."""


class Definition(NamedTuple):
    """What a LIV class is: its operator genome, its own featurizer genome or None for that of the featurizer class, and
    whether two are subtracted."""

    operator: tuple[int, ...]
    featurizer: tuple[int, ...] | None = None
    differential: bool = False

    @property
    def text(self) -> str:
        featurizer = "" if self.featurizer is None else f":{digits(self.featurizer)}"
        return f"{'d' if self.differential else ''}{digits(self.operator)}{featurizer}"


class LIVClass(NamedTuple):
    """A class of the pool."""

    name: str
    definition: Definition


def _pool() -> dict[int, LIVClass]:
    genomes = {
        "SA-1": (1, 2, 1, 2, 3),
        "SA-2": (2, 2, 1, 2, 3),
        "SA-3": (3, 2, 1, 2, 3),
        "SA-4": (4, 2, 1, 2, 3),
        "Rec-1": (5, 4, 1, 1, 1),
        "Rec-2": (6, 4, 1, 1, 1),
        "GConv-1": (7, 3, 2, 1, 1),
        "GConv-2": (8, 3, 1, 1, 1),
        "GMemless": (9, 1, 1, 4, 2),
    }
    classes = [LIVClass(name, Definition(genome)) for name, genome in genomes.items()]
    classes += [
        LIVClass(f"{name}-Diff", Definition(genome, differential=True))
        for name, genome in genomes.items()
        if name != "GMemless"
    ]
    return dict(enumerate(classes, start=1))


POOL = _pool()
"""The classes by number: 1 to 9, and as letters from a on the differential variants."""
NUMBERS = {liv.name: number for number, liv in POOL.items()}


def digits(numbers: tuple[int, ...]) -> str:
    return "".join([DIGITS[number] for number in numbers])


@lru_cache(maxsize=1 << 17)
def operator(definition: Definition, width: int) -> Operator:
    """The operator of a class, with its featurizer, at a width. Where that is one head, grouped mixing is dense."""
    kind, mixing, sparsity, nonlinearity, channels = definition.operator
    own_mixing, own_channels, expansion, repeat = definition.featurizer or FEATURIZERS[kind]
    if head_count(width) == 1:
        channels, own_channels = (
            DENSE if mixing == GROUPED else mixing for mixing in (channels, own_channels)
        )
    return Operator(
        token_mixing=mixing,
        sparsity=sparsity,
        nonlinearity=nonlinearity,
        channel_mixing=channels,
        featurizer_token_mixing=own_mixing,
        featurizer_channel_mixing=own_channels,
        expansion=expansion,
        repeat=repeat,
        differential=definition.differential,
    )


def definitions(width: int, featurizers: bool) -> Iterator[Definition]:
    """All that can be at a width, each with a featurizer genome of its own or each without."""
    kinds, *rest = OPERATOR.values()
    for genome, differential in itertools.product(itertools.product(*rest), (False, True)):
        if not featurizers:
            made = [Definition((kind, *genome), None, differential) for kind in kinds]
            yield from (one for one in made if problem(operator(one, width), width) is None)
            continue
        for own in itertools.product(*FEATURIZER.values()):
            # The featurizer class says nothing where the featurizer genome is given, but is written.
            if problem(operator(Definition((1, *genome), own, differential), width), width) is None:
                yield from (Definition((kind, *genome), own, differential) for kind in kinds)


def variants(definition: Definition, width: int, featurizers: bool) -> list[Definition]:
    """What can be at a width and differs in one number, or in whether two are subtracted."""
    genome, featurizer, differential = definition
    found = [Definition(genome, featurizer, not differential)]
    for place, values in enumerate(OPERATOR.values()):
        found += [
            Definition((*genome[:place], value, *genome[place + 1 :]), featurizer, differential)
            for value in values
        ]
    if featurizers:
        own = featurizer or FEATURIZERS[genome[0]]
        for place, values in enumerate(FEATURIZER.values()):
            found += [
                Definition(genome, (*own[:place], value, *own[place + 1 :]), differential) for value in values
            ]
    here = operator(definition, width)
    changed = [(made, operator(made, width)) for made in found]
    return [made for made, what in changed if what != here and problem(what, width) is None]


def read_definition(text: str, place: str) -> Definition:
    """The definition of a text such as 12123, d54111 or 12123:1122; whether it can be at a width is not asked.

    Raises:
        InvalidGenome: a number is missing or not allowed; `place` says where.
    """
    differential = text.startswith("d")
    genome, colon, featurizer = text.removeprefix("d").partition(":")
    return Definition(
        _numbers(genome, OPERATOR, f"{place}: operator genome"),
        _numbers(featurizer, FEATURIZER, f"{place}: featurizer genome") if colon else None,
        differential,
    )


def _numbers(text: str, names: dict[str, tuple[int, ...]], place: str) -> tuple[int, ...]:
    if len(text) != len(names):
        raise InvalidGenome(
            f"{place} {text!r} has {len(text)} numbers, but must have {len(names)}: {', '.join(names)}"
        )
    for digit, (name, values) in zip(text, names.items(), strict=True):
        if digit not in DIGITS or DIGITS.index(digit) not in values:
            allowed = ", ".join([DIGITS[value] for value in values])
            raise InvalidGenome(f"{place} {text!r}: {name} {digit} is not allowed; allowed: {allowed}")
    return tuple([DIGITS.index(digit) for digit in text])
