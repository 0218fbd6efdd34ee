"""Productions: what stands for a nonterminal, with its choices, its children and its rules."""

from __future__ import annotations

import functools
import inspect
import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from spaces.blame import reason
from spaces.errors import InvalidGrammar
from spaces.fields import Children, Choice, Real

Form = Literal["operator", "sequence", "residual", "identity"]
"""The part that a production plays in the canonical graph: an operator of its own, whatever its children; its
children one after the other; x + the sum of its children (which commute); nothing at all. All but an operator have
no choices that could get lost."""

FORM_NAMES: tuple[str, ...] = get_args(Form)

FORMS: Mapping[str, Form] = {"stack": "sequence", "residual": "residual", "parallel": "residual"}
"""Forms known by name, unless choices make it an operator; every other production is an operator."""

RESERVED = ("at", "context", "operator")
"""What fields cannot be called: they would clash with what `build`, `cost` and the graph's nodes are given."""

PASSES = ("passes", "streams")
"""Choices of an operator that say how often it runs its children with the same weights, one after the other or side
by side: their parameters count once, their FLOPs and decode state each time."""

TEMPLATES = "templates"
"""A choice of an operator that says how many versions of its children it keeps, of whose weights it mixes those of each
run: their parameters count as often."""

WEIGHTS = "a number above 0 and at most 1e9"
"""What a weight may be: so that any number of them add up without loss."""

MOST_ASSIGNMENTS = 65_536
"""The most ways in which the choices of one production may combine."""


@dataclass(frozen=True, eq=False, slots=True)
class Production:
    """One production of a grammar, as declared."""

    name: str
    nonterminals: tuple[str, ...]
    fields: Mapping[str, Choice | Real | Children]
    weight: float
    share: Callable[[Any], float] | None
    form: Form
    where: Callable[..., bool] | None
    attributes: Callable[..., Mapping[str, Any]] | None
    build: Callable[..., Any] | None
    cost: Callable[..., Any] | None
    canonical: Callable[[Any], tuple[str, ...]] | None
    choices: Mapping[str, Choice]
    reals: Mapping[str, Real]
    children: Mapping[str, Children]

    def holds(self, at: Any, values: Mapping[str, Any]) -> bool:
        """Whether the guard allows these choices under these attributes."""
        return self.where is None or bool(self._told("where", self.where, at, values))

    def weighed(self, at: Any) -> float:
        """The weight under these attributes."""
        if self.share is None:
            return self.weight
        share = self._told("share", self.share, at, {})
        if not isinstance(share, int | float) or not 0 < share < math.inf:
            raise InvalidGrammar(
                f"production {self.name!r}: share= gives {share!r}, but must give a number above 0"
            )
        return self.weight * share

    def passes(self, values: Mapping[str, Any]) -> int:
        """How often the children run with the same weights, under these choices."""
        return math.prod(values[key] for key in PASSES if self.children and key in values)

    def templates(self, values: Mapping[str, Any]) -> int:
        """How many versions of the children are kept, under these choices."""
        return values.get(TEMPLATES, 1) if self.children else 1

    def inherited(self, at: Any, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The attributes of the children that differ from those of the node."""
        if self.attributes is None:
            return {}
        changed: Mapping[str, Any] = self._told("attributes", self.attributes, at, values)
        if not isinstance(changed, Mapping) or not all(
            isinstance(key, str) and isinstance(value, Hashable) for key, value in changed.items()
        ):
            raise InvalidGrammar(
                f"production {self.name!r}: attributes= gives {changed!r}, but must give a dictionary of names to "
                "hashable values"
            )
        return changed

    def _told(self, what: str, rule: Callable[..., Any], at: Any, values: Mapping[str, Any]) -> Any:
        """What a rule says.

        Raises:
            InvalidGrammar: it fails.
        """
        try:
            return rule(at, **{name: values[name] for name in asked(rule)})
        except Exception as error:
            raise InvalidGrammar(f"production {self.name!r}: {what}= fails: {reason(error)}") from error


@functools.cache
def asked(rule: Callable[..., Any]) -> tuple[str, ...]:
    """The choices that a guard or an attribute rule asks for: its parameters after `at`."""
    return tuple(inspect.signature(rule).parameters)[1:]


class _Unread:
    """Stands for attributes that nobody knows yet."""

    def __getattr__(self, name: str) -> Any:
        raise _AttributeRead


class _AttributeRead(Exception):
    """A guard asked for an attribute."""


def never_holds(where: Callable[..., bool], choices: Mapping[str, Choice]) -> bool:
    """Whether a guard allows none of the choices, whatever is inherited: it says no to each and asks for nothing."""
    values_of = {name: choices[name].values for name in asked(where)}
    if math.prod(map(len, values_of.values())) > MOST_ASSIGNMENTS:
        return False
    try:
        return not any(
            where(_Unread(), **dict(zip(values_of, values, strict=True)))
            for values in itertools.product(*values_of.values())
        )
    except Exception:  # it asks for an attribute, or fails, which is told where there are attributes
        return False


def weighs(weight: object) -> bool:
    """Whether something can be a weight."""
    return isinstance(weight, int | float) and not isinstance(weight, bool) and 0 < weight <= 1e9


def default_form(name: str, fields: Mapping[str, object]) -> Form:
    """The form known by name, for a production that has no more to say than its children."""
    plain = all(isinstance(part, Children) or key == "repeat" for key, part in fields.items())
    return FORMS.get(name, "operator") if plain else "operator"


def check_form(production: Production, place: str) -> None:
    """Refuses what a form would lose in the canonical graph, and repeats that would not be one after the other."""
    own = [key for key in (*production.choices, *production.reals) if key != "repeat"]
    if production.form != "operator" and own:
        raise InvalidGrammar(
            f"{place}: as {production.form!r} it would lose {', '.join(own)} in the canonical graph; "
            "declare it with form='operator'"
        )
    if production.form == "identity" and production.children:
        raise InvalidGrammar(
            f"{place}: an identity has no children, but it has {', '.join(production.children)}"
        )
    for key in (*PASSES, TEMPLATES):
        counts = production.choices[key].values if key in production.choices and production.children else (1,)
        if not all(type(count) is int and count >= 1 for count in counts):
            raise InvalidGrammar(
                f"{place}: {key!r} says how often the children run or are kept, and must be a choice among integers "
                "of at least 1"
            )
    if "repeat" in production.fields:
        counts = production.choices["repeat"].values if "repeat" in production.choices else ()
        if not counts or not all(type(count) is int and count >= 1 for count in counts):
            raise InvalidGrammar(f"{place}: 'repeat' must be a choice among integers of at least 1")
        lists = [part.listed for part in production.children.values()]
        if production.form != "sequence" or lists != [True]:
            raise InvalidGrammar(
                f"{place}: 'repeat' needs form='sequence' and one list of children, but the form is "
                f"{production.form!r} and the fields are {', '.join(production.children) or 'none'}"
            )


def check_signature(
    function: Callable[..., Any], given: tuple[Any, ...], names: Iterable[str], place: str
) -> None:
    """Raises InvalidGrammar, which starts with the place, if a function cannot be called with these arguments."""
    try:
        inspect.signature(function).bind(*given, **dict.fromkeys(names))
    except TypeError as error:
        raise InvalidGrammar(
            f"{place} cannot be called with {', '.join(names) or 'no choices'}: {error}"
        ) from None
