"""What a space of STAR may be told, and what its genomes may define."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from spaces.blocks.operators import problem
from spaces.catalog.star.pool import DIGITS, POOL, Definition, operator
from spaces.errors import InvalidGenome, InvalidSpace, suggest

LEVELS = ("backbone", "operators", "featurizers")


def check_limits(limits: Mapping[str, Any]) -> int:
    """Checks limits as they were given, and tells how many LIVs a backbone has at least.

    Raises:
        InvalidSpace: a limit is impossible.
    """
    for key, value in limits.items():
        if key == "levels":
            if value not in LEVELS:
                raise InvalidSpace(f"space 'star': levels = {value!r}{suggest(str(value), LEVELS)}")
        elif value is not None and (type(value) is not int or value < 1):
            raise InvalidSpace(f"space 'star': {key} = {value!r}, but it must be an integer of at least 1")
    layers, least = limits["layers"], limits["min_layers"]
    least = layers if least is None else least
    for key, value, most, limit in (
        ("layers", layers, 256, "256"),
        ("min_layers", least, layers, f"'layers' ({layers})"),
    ):
        if value > most:
            raise InvalidSpace(f"space 'star': {key} = {value}, but it must be at most {limit}")
    return least


def check_definition(
    number: int, definition: Definition, used: Collection[int], levels: str, width: int
) -> None:
    """Raises InvalidGenome if the space does not search that level, or the class cannot be or is not in use."""
    place = f"class {DIGITS[number]} = {definition.text}"
    if number not in POOL:
        raise InvalidGenome(f"{place}: the classes are 1 to {DIGITS[max(POOL)]}")
    if number not in used:
        raise InvalidGenome(f"{place} is defined, but no LIV is of it")
    if levels == "backbone":
        raise InvalidGenome(f"{place}: a space of levels='backbone' takes classes from the pool")
    if definition.featurizer is not None and levels == "operators":
        raise InvalidGenome(f"{place}: a space of levels='operators' takes featurizers by their class")
    reason = problem(operator(definition, width), width)
    if reason is not None:
        raise InvalidGenome(f"{place} cannot be: {reason}")
