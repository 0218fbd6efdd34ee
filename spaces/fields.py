"""What a production consists of: choices, numbers and children.

Whatever offers choices (grammars, products, programs) declares them as these, and writes them as `spell` does.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spaces.errors import InvalidGrammar

NAME = re.compile(r"[A-Za-z_]\w*")
"""What can stand in the text of a genome without quotes."""


def spell(value: Any) -> str:
    """A choice as it stands in the text of a genome."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value if NAME.fullmatch(value) else json.dumps(value)
    return repr(value)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values; `ordered` ones have neighbours, which mutation prefers."""

    values: tuple[Any, ...]
    ordered: bool
    index: Mapping[str, int] = field(init=False)
    """The place of each value by its spelling."""

    def __post_init__(self) -> None:
        if not self.values:
            raise InvalidGrammar("a choice needs at least one value")
        for value in self.values:
            # By exact type: numpy's numbers, say, would not be read back from the text of a genome.
            known = type(value) in (type(None), bool, int, float, str)
            if not known or (isinstance(value, float) and not math.isfinite(value)):
                raise InvalidGrammar(
                    f"a choice offers {value!r}, but only None, bool, int, finite float and str are allowed"
                )
        index = {spell(value): place for place, value in enumerate(self.values)}
        if len(index) < len(self.values):
            raise InvalidGrammar(
                f"a choice offers the same value twice: {', '.join(map(spell, self.values))}"
            )
        object.__setattr__(self, "index", index)


@dataclass(frozen=True, slots=True)
class Real:
    """A number between two bounds, drawn evenly on a linear or a logarithmic scale."""

    low: float
    high: float
    log: bool

    def __post_init__(self) -> None:
        finite = math.isfinite(self.low) and math.isfinite(self.high)
        if not finite or not self.low < self.high or (self.log and self.low <= 0):
            raise InvalidGrammar(
                f"real({self.low}, {self.high}{', log=True' if self.log else ''}) needs finite low < high"
                + (" and low > 0" if self.log else "")
            )


@dataclass(frozen=True, slots=True)
class Children:
    """A child, or a list of them, derived from a nonterminal."""

    nonterminal: str
    low: int
    high: int
    listed: bool

    def __post_init__(self) -> None:
        if not isinstance(self.nonterminal, str):
            raise InvalidGrammar(f"children derive a nonterminal by its name, not {self.nonterminal!r}")
        if not 0 <= self.low <= self.high or self.high < 1:
            raise InvalidGrammar(
                f"many({self.nonterminal!r}, {self.low}, {self.high}) needs 0 <= low <= high, high >= 1"
            )


# The four are declared as Any so that they can stand as defaults of parameters of any type.
def choice(*values: Any, ordered: bool = False) -> Any:
    """One of `values`: None, bools, numbers or strings; `ordered` ones have neighbours, which mutation prefers.

    Raises:
        InvalidGrammar: there are no values, one is of another type or not finite, or two are the same.
    """
    return Choice(values, ordered)


def real(low: float, high: float, log: bool = False) -> Any:
    """A number from low to high, drawn evenly on a linear or (`log`) a logarithmic scale.

    Raises:
        InvalidGrammar: the bounds are not finite, do not ascend, or have no logarithm where one is taken.
    """
    return Real(float(low), float(high), log)


def child(nonterminal: str) -> Any:
    """Exactly one child, derived from a nonterminal by its name.

    Raises:
        InvalidGrammar: the name is no string.
    """
    return Children(nonterminal, 1, 1, listed=False)


def many(nonterminal: Any, low: int, high: int) -> Any:
    """A list of `low` to `high` children; `nonterminal` is a name, or `child(name)`.

    Raises:
        InvalidGrammar: the name is no string, or not 0 <= low <= high with high >= 1.
    """
    name = nonterminal.nonterminal if isinstance(nonterminal, Children) else nonterminal
    return Children(name, low, high, listed=True)
