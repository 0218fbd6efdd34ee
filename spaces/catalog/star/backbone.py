"""The backbone genome of STAR: its notation, what may share with what, and what is shared in effect."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from operator import index
from typing import Any

from spaces.blocks.operators import Layer, Operator
from spaces.catalog.star.pool import DIGITS, POOL, Definition, digits, operator, read_definition
from spaces.errors import InvalidGenome
from spaces.genome import shorten

GROUPS = 4
"""Groups of each kind of sharing."""
FEATURIZER_SHARING = {1: "", 2: "ABCTV", 3: "ABV"}
"""Strategies of sharing the weights of featurizers, with the letters shared: none, all, all but what reads."""
FEATURE_SHARING = {1: "", 2: "ABKV", 3: "B", 4: "V"}
"""Strategies of sharing features: none, all that is read (keys and values, a state), keys alone, values alone."""

FIELDS = {
    "class": max(POOL),
    "featurizer-sharing group": GROUPS,
    "featurizer-sharing strategy": max(FEATURIZER_SHARING),
    "feature-sharing group": GROUPS,
    "feature-sharing strategy": max(FEATURE_SHARING),
}
"""The five numbers of a LIV, each from 1 to what stands here."""
SHARING = ((1, 2), (3, 4))
"""The places of the group and the strategy, for each kind of sharing."""

Row = tuple[int, ...]
"""The five numbers of a LIV."""
Definitions = Mapping[int, Definition]
"""The classes that a genome defines itself, by number."""


class Backbone:
    """What stands behind a genome: its LIVs, the classes that it defines, and its plan, in a space. Never changed."""

    __slots__ = ("defined", "layers", "rows", "space")

    def __init__(
        self, space: Any, rows: tuple[Row, ...], defined: Definitions, layers: tuple[Layer, ...]
    ) -> None:
        self.space, self.rows, self.defined, self.layers = space, rows, defined, layers

    @property
    def text(self) -> str:
        return spell(self.rows, self.defined)

    @property
    def digest(self) -> str:
        return blake2b(canonical(self.layers).encode(), digest_size=16).hexdigest()


_LIV = re.compile(r"[0-9a-z]{5}")
_DEFINITION = re.compile(r"([0-9a-z])=([0-9a-z:]+)")


def spell(rows: Sequence[Row], defined: Definitions) -> str:
    """The text, as in the paper: 21211-31112. Classes that the genome defines stand behind it: | 2=12123:1122."""
    text = "-".join([digits(row) for row in rows])
    if not defined:
        return text
    own = [f"{DIGITS[number]}={definition.text}" for number, definition in sorted(defined.items())]
    return f"{text} | {' '.join(own)}"


def read(text: str) -> tuple[tuple[Row, ...], dict[int, Definition]]:
    """The LIVs and the definitions of a text; which of them a space has is not asked.

    Raises:
        InvalidGenome: the text is no backbone.
    """
    livs, bar, rest = text.partition("|")
    parts = livs.strip().split("-")
    if not all(_LIV.fullmatch(part) for part in parts):
        raise InvalidGenome(
            f"{shorten(text)} is no backbone: expected LIVs of five digits each, such as 21211-31112"
        )
    rows = tuple([tuple([DIGITS.index(digit) for digit in part]) for part in parts])
    defined: dict[int, Definition] = {}
    for word in rest.split():
        match = _DEFINITION.fullmatch(word)
        if match is None:
            raise InvalidGenome(
                f"{shorten(word)} defines no class: expected a class and its genomes, such as 2=12123:1122"
            )
        number = DIGITS.index(match.group(1))
        if number in defined:
            raise InvalidGenome(f"class {match.group(1)} is defined twice")
        defined[number] = read_definition(match.group(2), f"class {match.group(1)}")
    if bar and not defined:
        raise InvalidGenome(f"{shorten(text)} defines no class behind its '|'")
    return rows, defined


def check(rows: Sequence[Row]) -> None:
    """Raises InvalidGenome if a number is out of range, or a group holds LIVs that cannot share.

    A group shares within one class and by one strategy; strategy 1 takes no part in it.
    """
    bound: dict[tuple[int, int], Row] = {}
    for number, row in enumerate(rows, start=1):
        for value, (name, most) in zip(row, FIELDS.items(), strict=True):
            if not 1 <= value <= most:
                raise InvalidGenome(
                    f"LIV {number} ({digits(row)}): {name} {DIGITS[value]} is not from 1 to {DIGITS[most]}"
                )
        for group, strategy in SHARING:
            if row[strategy] == 1:
                continue
            here = row[0], row[strategy]
            there = bound.setdefault((group, row[group]), here)
            if there != here:
                kind = list(FIELDS)[group]
                raise InvalidGenome(
                    f"LIV {number} ({digits(row)}): {kind} {row[group]} shares class {DIGITS[there[0]]} by strategy "
                    f"{there[1]}, so it cannot hold class {DIGITS[here[0]]} by strategy {here[1]}"
                )


def wrapped(numbers: Iterable[int], classes: Sequence[int]) -> tuple[Row, ...]:
    """The rows of whole numbers, five each, in range: see `STAR.repair`.

    Args:
        classes: those that a LIV may be of, ascending.

    Raises:
        InvalidGenome: a number is not whole, or there are not five for each LIV.
    """
    flat = []
    for number in numbers:
        try:
            flat.append(index(number))
        except TypeError:
            raise InvalidGenome(f"{number!r} is not a whole number, as all of a genome are") from None
    if len(flat) % len(FIELDS):
        raise InvalidGenome(f"there are {len(flat)} numbers, but a backbone has five for each LIV")
    rows = []
    for place in range(0, len(flat), len(FIELDS)):
        row = [
            1 + (number - 1) % most
            for number, most in zip(flat[place : place + len(FIELDS)], FIELDS.values(), strict=True)
        ]
        row[0] = next((number for number in classes if number >= row[0]), classes[0])
        rows.append(tuple(row))
    return tuple(rows)


def repaired(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows with no group that holds LIVs that cannot share: see `STAR.repair`. Numbers have to be in range."""
    for group, strategy in SHARING:
        members: dict[int, list[int]] = {}
        for number, row in enumerate(rows):
            if row[strategy] != 1:
                members.setdefault(row[group], []).append(number)
        for numbers in members.values():
            if len({(rows[number][0], rows[number][strategy]) for number in numbers}) > 1:
                rows = _agreed(rows, numbers, strategy)
    return tuple(rows)


def _agreed(rows: Sequence[Row], numbers: Sequence[int], strategy: int) -> list[Row]:
    """One group brought to the class of most of its members, and of these to the strategy of most."""
    kept = Counter([rows[number][0] for number in numbers]).most_common(1)[0][0]
    inside = [number for number in numbers if rows[number][0] == kept]
    agreed = Counter([rows[number][strategy] for number in inside]).most_common(1)[0][0]
    changed = list(rows)
    for number in numbers:
        row = rows[number]
        changed[number] = (*row[:strategy], agreed if row[0] == kept else 1, *row[strategy + 1 :])
    return changed


def operators(rows: Sequence[Row], defined: Definitions, width: int) -> dict[int, Operator]:
    """What each class in use is."""
    return {
        number: operator(defined[number] if number in defined else POOL[number].definition, width)
        for number in {row[0] for row in rows}
    }


class Planner:
    """What is shared in effect, one LIV after the other.

    The first LIV of a feature-sharing group leads it, and the others take its features; weights of a featurizer that a
    LIV so has no use for are not there. The first LIV of a featurizer-sharing group that applies a weight owns it.

    Args:
        operators: what each class is.
    """

    def __init__(self, operators: Mapping[int, Operator]) -> None:
        self.layers: list[Layer] = []
        self._operators = operators
        self._leaders: dict[int, int] = {}
        self._owners: dict[tuple[int, str], int] = {}

    def following(self, row: Row) -> Layer:
        """What one more LIV would be."""
        kind, group, strategy, feature_group, feature_strategy = row
        number, made, taken = len(self.layers), self._operators[kind], ""
        leader = number
        if feature_strategy != 1 and feature_group in self._leaders:
            taken = _taken(made, feature_strategy)
            leader = self._leaders[feature_group] if taken else number
        weights = _weights(made, taken)
        if strategy == 1:
            return Layer(made, leader, taken, weights, (number,) * len(weights))
        shared, owners = FEATURIZER_SHARING[strategy], self._owners
        owned = [owners.get((group, letter), number) if letter in shared else number for letter in weights]
        return Layer(made, leader, taken, weights, tuple(owned))

    def add(self, row: Row) -> None:
        """One more LIV."""
        layer, number = self.following(row), len(self.layers)
        _, group, strategy, feature_group, feature_strategy = row
        if feature_strategy != 1:
            self._leaders.setdefault(feature_group, number)
        if strategy != 1:
            shared = FEATURIZER_SHARING[strategy]
            for letter in layer.weights:
                if letter in shared:
                    self._owners.setdefault((group, letter), number)
        self.layers.append(layer)


def plan(rows: Sequence[Row], defined: Definitions, width: int) -> tuple[Layer, ...]:
    """What is shared in effect: equal networks have equal plans, however their groups are numbered."""
    planner = Planner(operators(rows, defined, width))
    for row in rows:
        planner.add(row)
    return tuple(planner.layers)


def plan_of(made: Sequence[Operator]) -> tuple[Layer, ...]:
    """The plan of operators that share nothing."""
    return tuple(
        [
            Layer(one, number, "", weights := _weights(one, ""), (number,) * len(weights))
            for number, one in enumerate(made)
        ]
    )


@lru_cache(maxsize=1 << 16)
def _taken(made: Operator, strategy: int) -> str:
    return "".join([letter for letter in made.letters if letter in FEATURE_SHARING[strategy]])


@lru_cache(maxsize=1 << 16)
def _weights(made: Operator, taken: str) -> str:
    """The letters of the featurizer that are needed beside what is taken."""
    letters = [letter for letter in made.letters if letter not in taken and letter != "K"]
    return "".join(sorted([*letters, *("T" if made.featurizer_token_mixing == 3 else "")]))


@lru_cache(maxsize=1 << 16)
def _code(made: Operator) -> str:
    return "".join([DIGITS[int(getattr(made, field))] for field in Operator.__slots__])


def canonical(layers: Sequence[Layer]) -> str:
    """What equal networks have in common."""
    return " ".join(
        [f"{_code(layer.operator)}:{layer.leader}{layer.taken}{layer.owners}" for layer in layers]
    )
