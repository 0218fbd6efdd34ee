"""Grammars: what can be built, declared as functions.

    tiny = Grammar("tiny", start="model")

    @tiny.production("model")
    def stack(layers=many("layer", 1, 4), repeat=choice(1, 2, 4, ordered=True)): ...

    @tiny.production("layer")
    def residual(body=child("mixer")): ...

    @tiny.production("mixer", where=lambda at, heads: at.width % heads == 0)
    def attention(heads=choice(1, 2, 4, 8), kv_heads=choice(1), position=choice("rope"), window=choice(None)): ...

A production is a function: its name, its choices, its children. Its module, its cost and its form in the
canonical graph are those known by its name, or what the declaration brings along. In a sequence, a choice called
`repeat` builds the children that many times, one after the other, each time with weights of their own; in an
operator, one called `passes` or `streams` says how often it runs its children with the same weights.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from spaces.errors import InvalidGrammar, suggest
from spaces.fields import NAME, Children, Choice, Real
from spaces.production import (
    FORM_NAMES,
    RESERVED,
    WEIGHTS,
    Form,
    Production,
    asked,
    check_form,
    check_signature,
    default_form,
    never_holds,
    weighs,
)


class Grammar:
    """Productions over nonterminals, from a start symbol.

    `attributes` are inherited by the root beside `width` and `context`; guards
    (`where`) and derived attributes (`attributes` of a production) read them as `at.NAME`.
    """

    def __init__(self, name: str, start: str, attributes: Mapping[str, Any] | None = None) -> None:
        self.name = name
        self.start = start
        self.attributes = dict(attributes or {})
        self.productions: dict[str, Production] = {}
        self.named: dict[str, Callable[[int], Iterator[str]]] = {}

    def production(
        self, *nonterminals: str, **rules: Any
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declares a function as a production of one or several nonterminals; the rules are those of `add`.

        Raises:
            InvalidGrammar: a name is taken, or a field, a guard, a weight or another rule is not usable.
        """
        for nonterminal in nonterminals:
            if not isinstance(
                nonterminal, str
            ):  # perhaps the function itself, from a decorator without its call
                raise InvalidGrammar(
                    f"grammar {self.name!r}: production(...) takes the names of nonterminals, but was given "
                    f"{getattr(nonterminal, '__name__', nonterminal)!r}"
                )
        for key in rules:
            if key not in RULES:
                raise InvalidGrammar(
                    f"grammar {self.name!r}: a production has no rule {key!r}{suggest(key, RULES)}"
                )

        def declare(function: Callable[..., Any]) -> Callable[..., Any]:
            fields = {key: p.default for key, p in inspect.signature(function).parameters.items()}
            self.add(function.__name__, nonterminals, fields, **rules)
            return function

        return declare

    def add(
        self,
        name: str,
        nonterminals: tuple[str, ...],
        fields: Mapping[str, Choice | Real | Children],
        *,
        weight: float = 1.0,
        share: Callable[[Any], float] | None = None,
        where: Callable[..., bool] | None = None,
        attributes: Callable[..., Mapping[str, Any]] | None = None,
        form: Form | None = None,
        build: Callable[..., Any] | None = None,
        cost: Callable[..., Any] | None = None,
        canonical: Callable[[Any], tuple[str, ...]] | None = None,
    ) -> None:
        """Declares a production by its name and fields, as a program that writes a grammar does.

        Args:
            weight: relative to the other productions of the nonterminal that fit.
            share: `share(at)`, above 0, by which the weight is multiplied under inherited attributes.
            where: a guard over the inherited attributes and any of the choices, by name.
            attributes: which attributes the children inherit changed, from the same arguments.
            form: the part in the canonical graph, see `Form`.
            build: `build(at, **fields)` gives the torch module from the choices, the numbers and the children, which
                are modules or lists of them; else the block of that name is used. What it builds may depend on the
                attributes of the input and output (`at.width`), not on those that the grammar adds.
            cost: `cost(at, context, **choices)` gives its `spaces.Cost` without the children, from its arguments alone,
                as what it gave is kept; else that of the name. Numbers cannot change it.
            canonical: `canonical(node)` gives the canonical form of a subtree in place of what the form says (see
                `Node.canonical`), where more subtrees are equal than the form knows.

        Raises:
            InvalidGrammar: a name is taken, or a field, a guard, a weight or another rule is not usable.
        """
        place = f"grammar {self.name!r}, production {name!r}"
        if not nonterminals:
            raise InvalidGrammar(f"{place}: name the nonterminal that it derives")
        for word in (name, *fields):
            if not NAME.fullmatch(word):
                raise InvalidGrammar(
                    f"{place}: {word!r} is no name, and could not be read back from a text; allowed: letters, digits, _"
                )
        if name in self.productions:
            raise InvalidGrammar(f"{place} is declared twice")
        if not weighs(weight):
            raise InvalidGrammar(f"{place}: weight is {weight!r}, but must be {WEIGHTS}")
        for key, part in fields.items():
            if not isinstance(part, (Choice, Real, Children)):
                raise InvalidGrammar(
                    f"{place}: field {key!r} is {part!r}, but must be a choice, real, child or many"
                )
            if key in RESERVED:
                raise InvalidGrammar(f"{place}: a field cannot be called {key!r}; choose another name")
        if form is not None and form not in FORM_NAMES:
            raise InvalidGrammar(f"{place}: form is {form!r}{suggest(str(form), FORM_NAMES)}")
        called = {"where": where, "attributes": attributes, "share": share, "build": build, "cost": cost}
        for what, rule in {**called, "canonical": canonical}.items():
            if rule is not None and not callable(rule):
                raise InvalidGrammar(f"{place}: {what} is {rule!r}, but must be a function")
        choices = {k: f for k, f in fields.items() if isinstance(f, Choice)}
        for what, rule in (("where", where), ("attributes", attributes)):
            for key in asked(rule) if rule else ():
                if key not in choices:
                    raise InvalidGrammar(f"{place}: {what} asks for choice {key!r}{suggest(key, choices)}")
        if where is not None and never_holds(where, choices):
            raise InvalidGrammar(f"{place}: where can never hold, whatever the choices")
        production = Production(
            name,
            nonterminals,
            dict(fields),
            float(weight),
            share,
            form or default_form(name, fields),
            where,
            attributes,
            build,
            cost,
            canonical,
            choices,
            {k: f for k, f in fields.items() if isinstance(f, Real)},
            {k: f for k, f in fields.items() if isinstance(f, Children)},
        )
        check_form(production, place)
        for what, rule in (("share", share), ("canonical", canonical)):
            if rule is not None:
                check_signature(rule, (None,), (), f"{place}: {what}")
        if build is not None:
            check_signature(build, (None,), [key for key in fields if key != "repeat"], f"{place}: build")
        if cost is not None:
            check_signature(cost, (None, 1), [key for key in choices if key != "repeat"], f"{place}: cost")
        self.productions[name] = production

    def architecture(
        self, name: str
    ) -> Callable[[Callable[[int], Iterator[str]]], Callable[[int], Iterator[str]]]:
        """Declares a known model: a function that yields its texts for a width, from the largest version down."""

        def declare(function: Callable[[int], Iterator[str]]) -> Callable[[int], Iterator[str]]:
            if name in self.named:
                raise InvalidGrammar(f"grammar {self.name!r}: architecture {name!r} is declared twice")
            self.named[name] = function
            return function

        return declare

    def reweighted(self, weights: Mapping[str, float]) -> Grammar:
        """The same grammar with other weights of some productions.

        Raises:
            InvalidGrammar: a production is unknown, or a weight is not above 0 and finite.
        """
        place = f"grammar {self.name!r}"
        if not isinstance(weights, Mapping):
            raise InvalidGrammar(f"{place}: weights are {weights!r}, but must be numbers by production")
        for name, weight in weights.items():
            if name not in self.productions:
                raise InvalidGrammar(
                    f"{place}: no production {name!r} to weigh{suggest(name, self.productions)}"
                )
            if not weighs(weight):
                raise InvalidGrammar(f"{place}: weight of {name!r} is {weight!r}, but must be {WEIGHTS}")
        copy = Grammar(self.name, self.start, self.attributes)
        copy.named = self.named
        copy.productions = {
            name: replace(production, weight=float(weights.get(name, production.weight)))
            for name, production in self.productions.items()
        }
        return copy

    def of(self, nonterminal: str) -> list[Production]:
        """The productions of a nonterminal, in the order of their declaration."""
        return [p for p in self.productions.values() if nonterminal in p.nonterminals]

    def validate(self) -> None:
        """Finds what can be found without attributes.

        Raises:
            InvalidGrammar: a nonterminal without productions, one that cannot be reached from the start, or
                one whose derivations never end.
        """
        place = f"grammar {self.name!r}"
        known = {n for p in self.productions.values() for n in p.nonterminals}
        if self.start not in known:
            raise InvalidGrammar(
                f"{place}: no production derives the start symbol {self.start!r}{suggest(self.start, sorted(known))}"
            )
        for production in self.productions.values():
            for key, part in production.children.items():
                if part.nonterminal not in known:
                    raise InvalidGrammar(
                        f"{place}, production {production.name!r}: field {key!r} derives {part.nonterminal!r}, "
                        f"which has no production{suggest(part.nonterminal, sorted(known))}"
                    )
        reached, front = {self.start}, [self.start]
        while front:
            for production in self.of(front.pop()):
                new = {part.nonterminal for part in production.children.values()} - reached
                reached |= new
                front.extend(new)
        for name in sorted(known - reached):
            raise InvalidGrammar(f"{place}: nonterminal {name!r} cannot be reached from {self.start!r}")
        ending: set[str] = set()
        while True:
            more = {
                n
                for p in self.productions.values()
                if all(part.low == 0 or part.nonterminal in ending for part in p.children.values())
                for n in p.nonterminals
            }
            if more <= ending:
                break
            ending |= more
        for name in sorted(known - ending):
            raise InvalidGrammar(f"{place}: derivations of nonterminal {name!r} never end")


RULES = tuple(
    key
    for key, parameter in inspect.signature(Grammar.add).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
)
"""The rules of a production."""
