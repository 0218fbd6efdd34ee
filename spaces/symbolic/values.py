"""Genomes of any space as symbolic values, and back.

A value of a grammar is a `pg.Dict` for each production, its name under "operator" (what no field can be called) and
its fields beside it; of a product of choices the values of its fields; of a program what the program then is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pyglove as pg

from spaces.derivation import Node
from spaces.errors import InvalidGenome
from spaces.fields import spell
from spaces.genome import Genome, Term, read
from spaces.product import ProductSpace
from spaces.protocol import Space
from spaces.symbolic.programs import ProgramSpace
from spaces.trees import TreeSpace


def program(space: Space, genome: Genome) -> Any:
    """A genome as a symbolic value, made anew: to print, to compare (`pg.diff`), to change (`rebind`) or to open.

    Where a text is no term, it is the value of "text".

    Raises:
        InvalidGenome: the genome is not of the space.
    """
    if isinstance(space, ProgramSpace):
        return space.value(genome)
    if isinstance(space, ProductSpace):
        return pg.Dict(space.values(genome))
    if isinstance(space, TreeSpace):
        return _of_node(space.tree(genome))
    space.check(genome)
    try:
        return _of_term(read(genome.text))
    except InvalidGenome:
        return pg.Dict(text=genome.text)


def genome_of(space: Space, value: Any) -> Genome:
    """The genome of a symbolic value; the inverse of `program`.

    Raises:
        InvalidGenome: the value is none of this space: where, what was found, what is allowed.
    """
    if isinstance(space, ProgramSpace):
        return space.genome_of(value)
    if not isinstance(value, Mapping):
        raise InvalidGenome(f"a value of space {space.name!r} is a dictionary, but this is {value!r}")
    if isinstance(space, ProductSpace):
        return space.genome(**value)
    return space.parse(value["text"] if list(value) == ["text"] else _written(value, ""))


def _of_node(node: Node) -> pg.Dict:
    fields: dict[str, Any] = dict(node.choices())
    for (key, part), group in zip(node.production.children.items(), node.children, strict=True):
        below = [_of_node(child) for child in group]
        fields[key] = below if part.listed else below[0]
    return pg.Dict(operator=node.production.name, **{key: fields[key] for key in node.production.fields})


def _of_term(term: Term) -> pg.Dict:
    def value(part: str | Term | list[Term]) -> Any:
        if isinstance(part, Term):
            return _of_term(part)
        return [_of_term(below) for below in part] if isinstance(part, list) else _read(part)

    return pg.Dict(operator=term.name, **{key: value(part) for key, part in term.fields.items()})


def _read(token: str) -> Any:
    """The value that a text spells; the inverse of `spell`."""
    words = {"none": None, "true": True, "false": False}
    if token in words:
        return words[token]
    return json.loads(token) if re.match(r'["\d.+-]', token) else token


def _written(value: Any, where: str) -> str:
    """A value as the text of a genome."""
    if isinstance(value, list):
        return f"[{', '.join(_written(part, f'{where}[{i}]') for i, part in enumerate(value))}]"
    if isinstance(value, Mapping):
        name = value.get("operator")
        if not isinstance(name, str):
            raise InvalidGenome(f"{where or 'the root'}: 'operator' is {name!r}, but must name a production")
        prefix = f"{where}." if where else ""
        fields = [f"{k}={_written(part, prefix + k)}" for k, part in value.items() if k != "operator"]
        return f"{name}({', '.join(fields)})"
    if not isinstance(value, str | int | float | None):
        raise InvalidGenome(
            f"{where}: {type(value).__name__} is no value; of a program with decisions, make a space"
        )
    return spell(value)
