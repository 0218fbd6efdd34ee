import math

import numpy as np
import pytest

import spaces
from spaces import Grammar, InvalidGrammar, InvalidSpace, child, choice, many, real
from tests.spaces.grammars import FREE


def declare(change):
    grammar = Grammar("g", start="model")
    change(grammar)
    grammar.validate()


def twice(grammar):
    for _ in range(2):

        @grammar.production("model")
        def stack(layers=many("model", 0, 1), repeat=choice(1)): ...


def plain_default(grammar):
    @grammar.production("model")
    def stack(repeat=1): ...


def guard_of_unknown(grammar):
    @grammar.production("model", where=lambda at, head: True)
    def attention(heads=choice(1)): ...


def undefined(grammar):
    @grammar.production("model")
    def stack(layers=many("layers", 1, 2)): ...

    @grammar.production("layer")
    def mlp(): ...


def unreachable(grammar):
    @grammar.production("model")
    def stack(): ...

    @grammar.production("layer")
    def mlp(): ...


def endless(grammar):
    @grammar.production("model")
    def residual(body=child("model")): ...


def no_start(grammar):
    @grammar.production("mode")
    def stack(): ...


def bad_passes(grammar):
    @grammar.production("model")
    def looped(body=child("layer"), passes=choice(0, 2)): ...

    @grammar.production("layer")
    def mlp(mult=choice(1)): ...


def bad_repeat(grammar):
    @grammar.production("model")
    def stack(repeat=choice(0, 1)): ...


def bad_weight(grammar):
    @grammar.production("model", weight=0)
    def stack(): ...


def infinite_weight(grammar):
    @grammar.production("model", weight=math.inf)
    def stack(): ...


def bad_choice(grammar):
    @grammar.production("model")
    def stack(what=choice(1, "x", (2,))): ...


def numpy_choice(grammar):
    @grammar.production("model")
    def stack(what=choice(np.float64(0.0))): ...  # noqa: B008 - as a user would write it


def endless_number(grammar):
    @grammar.production("model")
    def scale(by=real(0, math.inf)): ...


def repeated_residual(grammar):
    @grammar.production("model")
    def residual(body=child("mixer"), repeat=choice(1, 2)): ...


def lost_choice(grammar):
    @grammar.production("model", form="sequence")
    def split(body=child("mixer"), groups=choice(1, 2)): ...


def identity_with_children(grammar):
    @grammar.production("model", form="identity")
    def skip(body=child("mixer")): ...


def reserved_name(grammar):
    @grammar.production("model")
    def attention(context=choice(1, 2)): ...


def wrong_build(grammar):
    @grammar.production("model", build=lambda at, head: None)
    def attention(heads=choice(1, 2)): ...


def wrong_cost(grammar):
    @grammar.production("model", cost=lambda at, heads: None)
    def attention(heads=choice(1, 2)): ...


def misspelt_form(grammar):
    @grammar.production("model", form="sequnce")
    def stack(): ...


def misspelt_rule(grammar):
    @grammar.production("model", wehre=lambda at: True)
    def stack(): ...


def no_call(grammar):
    @grammar.production
    def stack(): ...


def no_function(grammar):
    grammar.add("stack", ("model",), {}, where=True)


def impossible_guard(grammar):
    @grammar.production("model", where=lambda at, mult: mult > 4)
    def swiglu(mult=choice(1, 2)): ...


def wrong_share(grammar):
    @grammar.production("model", share=lambda: 1)
    def stack(): ...


def not_a_number(grammar):
    @grammar.production("model")
    def stack(what=choice(math.nan)): ...


def unnamed_child(grammar):
    @grammar.production("model")
    def stack(layers=many(3, 1, 2)): ...


def double_choice(grammar):
    @grammar.production("model")
    def stack(what=choice("none", None)): ...


@pytest.mark.parametrize(
    "where, reason",
    [
        (
            lambda at: at.widht > 3,
            "AttributeError: no inherited attribute 'widht'; there are: width, context",
        ),
        (lambda at, mult: mult / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_a_guard_that_fails_is_named(where, reason):
    grammar = Grammar("own", start="model")
    grammar.add("swiglu", ("model",), {"mult": choice(1, 2)}, where=where)
    with pytest.raises(InvalidGrammar) as error:
        spaces.GrammarSpace(grammar)
    assert str(error.value).startswith(f"production 'swiglu': where= fails: {reason} (test_grammar.py:")


@pytest.mark.parametrize(
    "rules, message",
    [
        ({"share": lambda at: 0}, "share= gives 0, but must give a number above 0"),
        ({"share": lambda at: None}, "share= gives None, but"),
        ({"share": lambda at: at.widht}, "share= fails: AttributeError: no inherited attribute 'widht'"),
        ({"attributes": lambda at: 3}, "attributes= gives 3, but must give a dictionary"),
        ({"attributes": lambda at: {"left": [1]}}, "attributes= gives {'left': [1]}, but"),
        ({"cost": lambda at, context, mult: 3}, "cost= gives 3, but must give a spaces.Cost"),
        ({"cost": lambda at, context, mult: spaces.Cost(-1, 0, 0, 0)}, "cost= gives Cost(parameters=-1"),
        ({"cost": lambda at, context, mult: at.widht}, "cost= fails: AttributeError: no inherited"),
    ],
)
def test_what_a_rule_gives_is_held_to_what_it_must_be(rules, message):
    grammar = Grammar("own", start="model")
    grammar.add("swiglu", ("model",), {"mult": choice(1, 2)}, **rules)
    with pytest.raises(InvalidGrammar) as error:
        spaces.GrammarSpace(grammar)
    assert str(error.value).startswith(f"production 'swiglu': {message}")


def test_guards_that_leave_nothing_at_an_input_are_named():
    grammar = Grammar("own", start="model")
    grammar.add("swiglu", ("model",), {"mult": choice(1)}, where=lambda at: at.width > 100)
    with pytest.raises(
        InvalidSpace, match=r"with width=64, context=1024 no derivation of 'model' ends, .* swiglu"
    ):
        spaces.GrammarSpace(grammar, spaces.tokens(width=64))
    spaces.GrammarSpace(grammar, spaces.tokens(width=128))


@pytest.mark.parametrize(
    "change, message",
    [
        (twice, "grammar 'g', production 'stack' is declared twice"),
        (plain_default, "production 'stack': field 'repeat' is 1, but must be a choice, real, child or many"),
        (guard_of_unknown, "where asks for choice 'head', did you mean 'heads'?"),
        (undefined, "field 'layers' derives 'layers', which has no production, did you mean 'layer'?"),
        (unreachable, "nonterminal 'layer' cannot be reached from 'model'"),
        (endless, "derivations of nonterminal 'model' never end"),
        (no_start, "no production derives the start symbol 'model', did you mean 'mode'?"),
        (bad_repeat, "'repeat' must be a choice among integers of at least 1"),
        (
            bad_passes,
            "'passes' says how often the children run or are kept, and must be a choice among integers of at least 1",
        ),
        (bad_weight, "weight is 0, but must be a number above 0 and at most 1e9"),
        (infinite_weight, "weight is inf, but must be a number above 0 and at most 1e9"),
        (bad_choice, "a choice offers (2,), but only None, bool, int, finite float and str are allowed"),
        (double_choice, "a choice offers the same value twice: none, none"),
        (numpy_choice, "a choice offers np.float64(0.0), but only"),
        (endless_number, "real(0.0, inf) needs finite low < high"),
        (repeated_residual, "'repeat' needs form='sequence' and one list of children"),
        (lost_choice, "as 'sequence' it would lose groups in the canonical graph"),
        (identity_with_children, "an identity has no children, but it has body"),
        (misspelt_form, "form is 'sequnce', did you mean 'sequence'? allowed: operator, sequence"),
        (misspelt_rule, "a production has no rule 'wehre', did you mean 'where'?"),
        (no_call, "production(...) takes the names of nonterminals, but was given 'stack'"),
        (no_function, "where is True, but must be a function"),
        (impossible_guard, "production 'swiglu': where can never hold, whatever the choices"),
        (wrong_share, "share cannot be called with no choices"),
        (not_a_number, "a choice offers nan, but only"),
        (unnamed_child, "children derive a nonterminal by its name, not 3"),
        (reserved_name, "a field cannot be called 'context'"),
        (wrong_build, "build cannot be called with heads: missing a required argument: 'head'"),
        (wrong_cost, "cost cannot be called with heads:"),
    ],
)
def test_errors_of_a_declaration(change, message):
    with pytest.raises(InvalidGrammar) as error:
        declare(change)
    assert message in str(error.value)


def test_an_unknown_block_is_named():
    grammar = Grammar("g", start="model")

    @grammar.production("model")
    def swigloo(): ...

    with pytest.raises(
        InvalidGrammar, match=r"production 'swigloo' has no known cost.*did you mean 'swiglu'"
    ):
        spaces.GrammarSpace(grammar, spaces.tokens())


def test_choices_that_combine_in_too_many_ways_are_refused():
    grammar = Grammar("g", start="model")

    @grammar.production("model", **FREE)
    def wide(a=choice(*range(300)), b=choice(*range(300))): ...

    with pytest.raises(InvalidGrammar, match="combine in 90,000 ways"):
        spaces.GrammarSpace(grammar, spaces.tokens())


@pytest.mark.parametrize(
    "limits, message",
    [
        ({"parameters": 1000}, "no genome fits parameters <= 1,000 (the least is 70,400)"),
        ({"parameters": 0}, "parameters = 0, but it must be an integer of at least 1"),
        ({"context": "long"}, "context = 'long', but it must be an integer"),
        ({"paramters": 5}, "has no limit 'paramters', did you mean 'parameters'?"),
    ],
)
def test_errors_of_limits(limits, message):
    with pytest.raises(InvalidSpace) as error:
        spaces.load("hybrid", **limits)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "name, message",
    [
        ("hybird", "unknown space 'hybird', did you mean 'hybrid'?"),
        (
            "no_such_module:space",
            "space 'no_such_module:space' cannot be imported: no module 'no_such_module' is installed",
        ),
        ("spaces.catalog.hybrid:hybird", "has no 'hybird', did you mean 'hybrid'?"),
        ("spaces:SPACES", "is a dict, but must be a Grammar"),
    ],
)
def test_errors_of_names(name, message):
    with pytest.raises(InvalidSpace) as error:
        spaces.load(name)
    assert message in str(error.value)


def test_a_production_that_no_width_allows_is_told():
    unavailable = spaces.load("hybrid", spaces.tokens(256, 7)).unavailable
    assert unavailable == (
        "cross_layer_attention",
        "followers",
        "follower",
        "attention",
        "differential_attention",
        "linear_attention",
        "gated_linear_attention",
        "gated_delta_net",
        "mamba2",
        "einfft",
    )
    assert spaces.load("hybrid", spaces.tokens(256, 64)).unavailable == ()
