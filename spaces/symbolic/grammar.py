"""PyGlove programs as grammars: the DNAs of a program and the derivation trees of its grammar match one to one.

A program is an instance of a production, and each of its decisions a field: `oneof` of constants is a choice, other
`oneof` a child with a production for each candidate, `floatv` a number. `manyof` whose picks are independent is a
list; where they are distinct or sorted it is a chain of picks in the order of the candidates. Distinct picks in any
order say beside it where each is put among those before it (`place`), so that a step to the next place exchanges two.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Container, Sequence
from typing import Any

import pyglove as pg

from spaces.derivation import Node
from spaces.errors import InvalidSpace
from spaces.fields import choice, real, spell
from spaces.grammar import Grammar
from spaces.production import RESERVED
from spaces.symbolic.decisions import Chain, Constants, Free, Number, Option, Options, Slot

_CUT = "\0 a decision stands here"


class Writer:
    """Writes the grammar of a program.

    Args:
        name: of the grammar and of the production that is the whole program.

    Attributes:
        grammar: the grammar.
        root: the production that is the whole program.

    Raises:
        InvalidSpace: the program holds what is neither `oneof`, `manyof`, `permutate` nor `floatv`.
    """

    def __init__(
        self, name: str, template: pg.hyper.ObjectTemplate, canonical: Callable[[Node], tuple[str, ...]]
    ) -> None:
        self.grammar = Grammar(name, start=name, attributes={"left": 0, "low": 0})
        self._taken: set[str] = set()
        self._chains: list[str] = []
        self._end = self._unique("end")
        self.root = self._option(name, template)
        self.grammar.add(self.root.name, (name,), self.root.fields, form="operator", canonical=canonical)
        if self._chains:
            self.grammar.add(
                self._end, tuple(self._chains), {}, where=lambda at: at.left == 0, form="operator"
            )

    def _option(self, name: str, template: pg.hyper.ObjectTemplate, *beside: str) -> Option:
        """The production of a template, not yet declared; `beside` are fields that it has besides."""
        name = self._unique(name)
        slots: dict[str, Slot] = {}
        for path, primitive in template.hyper_primitives:
            key = _distinct(_word(str(path), "value"), (*slots, *beside, *RESERVED, "repeat"))
            slots[key] = self._slot(key, path, primitive)
        return Option(name, slots, _frame(template))

    def _slot(self, key: str, path: pg.KeyPath, primitive: Any) -> Slot:
        if isinstance(primitive, pg.hyper.Float):
            low, high = primitive.min_value, primitive.max_value
            return Number(choice(low) if low == high else real(low, high, primitive.scale == "log"))
        if not isinstance(primitive, pg.hyper.Choices):
            raise InvalidSpace(
                f"program {self.grammar.name!r}: a {type(primitive).__name__} at {str(path) or 'the root'!r} has DNAs "
                "of its own; allowed: oneof, manyof, permutate, floatv"
            )
        number, listed = primitive.num_choices, not isinstance(primitive, pg.hyper.OneOf)
        if number == 1 and primitive.is_leaf:
            written = [json.dumps(pg.to_json(value)) for value in primitive.candidates]
            return Constants(
                choice(*_labels(primitive.candidates)), [f"[{one}]" if listed else one for one in written]
            )
        chained = number > 1 and (primitive.choices_distinct or primitive.choices_sorted)
        name = self._unique(key)
        pairs = zip(primitive.candidates, primitive.candidate_templates, strict=True)
        options = Options(
            [
                self._option(_candidate(value, key, place), template, *(("rest", "place") if chained else ()))
                for place, (value, template) in enumerate(pairs)
            ]
        )
        if not chained:
            return Free(self.grammar, f"{name}.pick", options, number, listed)
        chain = Chain(self.grammar, name, self._end, options, primitive)
        self._chains.append(chain.nonterminal)
        return chain

    def _unique(self, name: str) -> str:
        """The name, with a number behind it where it is taken."""
        name = _distinct(name, self._taken)
        self._taken.add(name)
        return name


def _frame(template: pg.hyper.ObjectTemplate) -> tuple[str, ...]:
    """A template as JSON, cut where its decisions are."""
    holder = [pg.to_json(template.value)]
    for path, _ in template.hyper_primitives:
        keys = [0, *path.keys]
        place: Any = holder
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = _CUT
    return tuple(json.dumps(holder)[1:-1].split(json.dumps(_CUT)))


def _distinct(name: str, taken: Container[str]) -> str:
    """The name, or the first of name_2, name_3 ... that is not taken."""
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    return found


def _word(text: str, otherwise: str) -> str:
    """A text as a name."""
    word = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_") or otherwise
    return word if not word[0].isdigit() else f"_{word}"


def _candidate(value: Any, key: str, place: int) -> str:
    """What the production of a candidate is called: a string by itself, an object by its class, others by the field."""
    if isinstance(value, str):
        return _word(value, f"{key}_{place}")
    if isinstance(value, pg.Object) and not isinstance(value, pg.hyper.HyperValue):
        return _word(type(value).__name__, f"{key}_{place}")
    return _word(f"{key}_{spell(value) if _plain(value) else place}", key)


def _labels(candidates: Sequence[Any]) -> list[Any]:
    """How constants are written: as themselves where the text of a genome holds them, else as PyGlove prints them.

    Where some would be written alike, all have their places behind.
    """
    labels = [value if _plain(value) else _printed(value) for value in candidates]
    if len(set(map(spell, labels))) == len(labels):
        return labels
    return [f"{label} ({place})" for place, label in enumerate(labels)]


def _printed(value: Any) -> str:
    """A value as PyGlove prints it, without what differs from process to process."""
    name = getattr(value, "__qualname__", None)
    return name or re.sub(r" at 0x[0-9a-f]+", "", pg.format(value, compact=True, verbose=False))


def _plain(value: Any) -> bool:
    return type(value) in (type(None), bool, int, str) or (type(value) is float and math.isfinite(value))
