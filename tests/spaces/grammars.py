"""Random small grammars, and all their genomes written out from the declarations alone."""

import inspect
import itertools
from types import SimpleNamespace

from hypothesis import strategies as st

from spaces import Grammar, child, choice, many
from spaces.cost import Cost
from spaces.fields import spell

FREE = {"cost": lambda at, context, **choices: Cost(0, 0, 0, 0)}


def declare(grammar, name, nonterminals, fields, **options):
    def production(): ...

    production.__name__ = name
    production.__signature__ = inspect.Signature(
        [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=value)
            for key, value in fields.items()
        ]
    )
    grammar.production(*nonterminals, **FREE, **options)(production)


@st.composite
def grammars(draw):
    """Grammars over two nonterminals that share a leaf; some choices use up an attribute that children inherit."""

    def part():
        nonterminal, low = draw(st.sampled_from("ab")), draw(st.integers(0, 2))
        return draw(
            st.sampled_from(
                [child(nonterminal), many(nonterminal, low, low + draw(st.integers(low == 0, 2)))]
            )
        )

    grammar = Grammar("random", start="a", attributes={"left": draw(st.integers(0, 2))})
    weights = st.sampled_from([0.1, 1, 3])
    both = {"first": many("b", draw(st.integers(0, 1)), 2), "c": choice(*range(draw(st.integers(1, 2))))}
    both |= {f"f{i}": part() for i in range(draw(st.integers(0, 2)))}
    declare(grammar, "both", "a", both, weight=draw(weights))
    for i in range(draw(st.integers(0, 2))):
        spend = {"c": choice(*range(draw(st.integers(2, 3)))), "d": choice("x", None), "below": part()}
        declare(
            grammar,
            f"spend{i}",
            draw(st.sampled_from([["a"], ["b"], ["a", "b"]])),
            spend,
            weight=draw(weights),
            where=lambda at, c: c <= at.left,
            attributes=lambda at, c: {"left": at.left - c},
        )
    leaf = {"c": choice(*range(draw(st.integers(1, 3))))}
    declare(grammar, "leaf", ["a", "b"], leaf, weight=draw(weights))
    return grammar


def derivations(grammar, nonterminal, at, nodes):
    """The texts of exactly so many nodes, in the order of their ranks."""
    for production in grammar.of(nonterminal):
        alike = {}
        for values in itertools.product(*(option.values for option in production.choices.values())):
            chosen = dict(zip(production.choices, values, strict=True))
            if production.holds(at, chosen):
                below = {**vars(at), **production.inherited(at, chosen)} if production.children else {}
                alike.setdefault(tuple(below.items()), []).append(chosen)
        for below, every in alike.items():
            for chosen in every:
                choices = {key: spell(value) for key, value in chosen.items()}
                fields = list(production.children.items())
                for children in _arrangements(grammar, fields, SimpleNamespace(**dict(below)), nodes - 1):
                    written = choices | children
                    texts = ", ".join(f"{key}={written[key]}" for key in production.fields)
                    yield f"{production.name}({texts})"


def _arrangements(grammar, fields, at, nodes):
    """The children of several fields, as text by field."""
    if not fields:
        yield from [{}] if nodes == 0 else []
        return
    (key, part), *others = fields
    for inside in range(nodes + 1):
        for length in range(part.low, part.high + 1):
            for texts in _lists(grammar, part.nonterminal, at, inside, length):
                written = f"[{', '.join(texts)}]" if part.listed else texts[0]
                for rest in _arrangements(grammar, others, at, nodes - inside):
                    yield {key: written, **rest}


def _lists(grammar, nonterminal, at, nodes, length):
    """The lists of so many children."""
    if length == 0:
        yield from [[]] if nodes == 0 else []
        return
    for size in range(1, nodes + 1):
        for first in derivations(grammar, nonterminal, at, size):
            for others in _lists(grammar, nonterminal, at, nodes - size, length - 1):
                yield [first, *others]
