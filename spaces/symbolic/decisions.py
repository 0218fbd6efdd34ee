"""The decisions of a PyGlove program as fields of productions."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Protocol

import pyglove as pg

from spaces.derivation import Node
from spaces.fields import Children, Choice, Real, child, choice, many, spell
from spaces.grammar import Grammar

Field = Choice | Real | Children


class Slot(Protocol):
    """A decision of a program, and the field of a production that stands for it.

    What stands in the field is given as a choice, a number or a list of nodes.
    """

    @property
    def field(self) -> Field: ...
    @property
    def nodes(self) -> int:
        """The most nodes below the field."""
        ...

    @property
    def depth(self) -> int:
        """The most nodes below one another."""
        ...

    def dna(self, value: Any) -> pg.DNA:
        """The DNA of what stands in the field."""
        ...

    def text(self, dna: pg.DNA) -> str:
        """What stands in the field, as a genome's text has it; the inverse of `dna`."""
        ...

    def json(self, value: Any) -> str:
        """What the program has in the decision's place, as `pg.to_json_str` writes it."""
        ...


@dataclass(frozen=True)
class Option:
    """A candidate, or the whole program: a production with a field for each decision, in PyGlove's order."""

    name: str
    slots: Mapping[str, Slot]
    frame: tuple[str, ...]
    """The candidate as `pg.to_json_str` writes it, cut where its decisions are."""

    @property
    def nodes(self) -> int:
        return 1 + sum(slot.nodes for slot in self.slots.values())

    @property
    def depth(self) -> int:
        return 1 + max((slot.depth for slot in self.slots.values()), default=0)

    @property
    def fields(self) -> dict[str, Field]:
        return {key: slot.field for key, slot in self.slots.items()}

    def dna(self, node: Node) -> pg.DNA:
        fields = fields_of(node)
        return pg.DNA(None, [slot.dna(fields[key]) for key, slot in self.slots.items()])

    def text(self, dna: pg.DNA, *beside: str) -> str:
        """The production with fields that it has beside those of its decisions."""
        dnas = [dna] if len(self.slots) == 1 else dna.children
        own = [f"{key}={slot.text(part)}" for (key, slot), part in zip(self.slots.items(), dnas, strict=True)]
        return f"{self.name}({', '.join([*own, *beside])})"

    def json(self, node: Node) -> str:
        fields = fields_of(node)
        parts = [slot.json(fields[key]) for key, slot in self.slots.items()]
        return "".join([text for pair in zip_longest(self.frame, parts, fillvalue="") for text in pair])


def fields_of(node: Node) -> dict[str, Any]:
    """The choices, numbers and lists of nodes of a node, by field."""
    return {**node.choices(), **dict(zip(node.production.children, node.children, strict=True))}


@dataclass(frozen=True)
class Number:
    """A `floatv`."""

    field: Field
    nodes = depth = 0

    def dna(self, value: Any) -> pg.DNA:
        return pg.DNA(value)

    def text(self, dna: pg.DNA) -> str:
        return spell(dna.value)

    def json(self, value: Any) -> str:
        return json.dumps(value)


@dataclass(frozen=True)
class Constants:
    """One pick from constants; a `manyof` of one pick is a list of it."""

    field: Choice
    options: Sequence[str]
    """The constants as JSON."""
    nodes = depth = 0

    def dna(self, value: Any) -> pg.DNA:
        return pg.DNA(self.field.index[spell(value)])

    def text(self, dna: pg.DNA) -> str:
        return spell(self.field.values[dna.value])

    def json(self, value: Any) -> str:
        return self.options[self.field.index[spell(value)]]


class Options:
    """Candidates with productions, which are picked from."""

    def __init__(self, options: Sequence[Option]) -> None:
        self.options = options
        self.most = max(option.nodes for option in options)
        self.deepest = max(option.depth for option in options)
        self._places = {option.name: place for place, option in enumerate(options)}

    def dna(self, node: Node) -> pg.DNA:
        """The DNA of one pick."""
        place = self._places[node.production.name]
        return pg.DNA(place, [self.options[place].dna(node)])

    def text(self, dna: pg.DNA, *beside: str) -> str:
        return self.options[dna.value].text(pg.DNA(None, dna.children), *beside)

    def json(self, node: Node) -> str:
        return self.options[self._places[node.production.name]].json(node)


class Free:
    """Picks that do not depend on one another, with a production for each candidate: a child or a list of them."""

    def __init__(
        self, grammar: Grammar, nonterminal: str, options: Options, number: int, listed: bool
    ) -> None:
        for option in options.options:
            grammar.add(option.name, (nonterminal,), option.fields, form="operator")
        self._options, self._number, self._listed = options, number, listed
        self.field: Field = many(nonterminal, number, number) if number > 1 else child(nonterminal)
        self.nodes, self.depth = number * options.most, options.deepest

    def dna(self, value: Any) -> pg.DNA:
        return pg.DNA(None, list(map(self._options.dna, value)))

    def text(self, dna: pg.DNA) -> str:
        if self._number == 1:
            return self._options.text(dna)
        return f"[{', '.join(map(self._options.text, dna.children))}]"

    def json(self, value: Any) -> str:
        picks = ", ".join(map(self._options.json, value))
        return f"[{picks}]" if self._listed else picks


class Chain:
    """Picks that are distinct or sorted: each has the next as a child, the candidates in order.

    Of the sets of candidates that may be picked, all are equally likely.

    Args:
        entry: the name of the production before the first pick.
        end: the name of the production after the last pick.
    """

    def __init__(
        self, grammar: Grammar, entry: str, end: str, options: Options, primitive: pg.hyper.Choices
    ) -> None:
        number, candidates = primitive.num_choices, len(options.options)
        self._options, self._entry, self._end = options, entry, end
        self._ordered = primitive.choices_sorted
        self.nonterminal = f"{entry}.pick"
        first = {"left": number, "low": 0}
        grammar.add(
            entry,
            (f"{entry}.all",),
            {"first": child(self.nonterminal)},
            attributes=lambda at: first,
            form="operator",
        )
        for place, option in enumerate(options.options):
            put = {} if self._ordered else {"place": choice(*range(number), ordered=True)}
            where, after, share = _pick(place, candidates, number, primitive.choices_distinct, self._ordered)
            grammar.add(
                option.name,
                (self.nonterminal,),
                {**option.fields, **put, "rest": child(self.nonterminal)},
                where=where,
                attributes=after,
                share=share,
                form="operator",
            )
        self.field: Field = child(f"{entry}.all")
        self.nodes = 2 + number * options.most
        self.depth = 1 + number + options.deepest

    def _picks(self, value: Any) -> list[Node]:
        """The picks as the program has them in its list."""
        picks: list[Node] = []
        (node,) = fields_of(value[0])["first"]
        while node.production.name != self._end:
            fields = fields_of(node)
            picks.insert(len(picks) if self._ordered else fields["place"], node)
            (node,) = fields["rest"]
        return picks

    def dna(self, value: Any) -> pg.DNA:
        return pg.DNA(None, list(map(self._options.dna, self._picks(value))))

    def text(self, dna: pg.DNA) -> str:
        picks = sorted(enumerate(dna.children), key=lambda pick: (pick[1].value, pick[0]))
        text = f"{self._end}()"
        for k in reversed(range(len(picks))):
            beside = [f"rest={text}"]
            if not self._ordered:
                beside.append(f"place={sum(before < picks[k][0] for before, _ in picks[:k])}")
            text = self._options.text(picks[k][1], *beside)
        return f"{self._entry}(first={text})"

    def json(self, value: Any) -> str:
        return f"[{', '.join(map(self._options.json, self._picks(value)))}]"


def _pick(
    place: int, candidates: int, number: int, distinct: bool, ordered: bool
) -> tuple[Callable[..., bool], Callable[..., Mapping[str, int]], Callable[[Any], float]]:
    """The guard, the attributes and the share of the candidate at a place, of so many of which a number are picked.

    Picks have the attributes `left`, how many are to come, and `low`, the first candidate that may be picked.
    """

    def sets(low: int, left: int) -> int:
        """How many sets of picks there are from the candidates from `low` on."""
        return math.comb(candidates - low + (0 if distinct else left - 1), left)

    def allowed(at: Any) -> bool:
        fits = candidates - place >= at.left if distinct else True
        return at.left > 0 and place >= at.low and fits

    def placed(at: Any, place: int) -> bool:
        return allowed(at) and place <= number - at.left

    def after(at: Any) -> Mapping[str, int]:
        return {"left": at.left - 1, "low": place + 1 if distinct else place}

    def share(at: Any) -> float:
        return sets(after(at)["low"], at.left - 1) / sets(at.low, at.left)

    return allowed if ordered else placed, after, share
