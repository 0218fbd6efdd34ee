"""A flow grammar of a user's own: declared in a few lines, it does all that einspace does."""

import numpy as np
import pytest
from torch import nn

import spaces
from spaces import FlowGrammar, InvalidGrammar
from spaces.testing import space_checks

dense = FlowGrammar("dense", clones=(2,))
for width in (4, 16):
    dense.computation(
        f"linear_{width}",
        gives=lambda shape, width=width: (width,),
        module=lambda shape, out: nn.Linear(shape[0], out[0]),
        cost=lambda shape, out: ((shape[0] + 1) * out[0], 2 * shape[0] * out[0]),
    )
dense.computation("tanh", module=lambda shape, out: nn.Tanh())

SPACE = spaces.load("tests.spaces.flow.test_own_grammar:dense", spaces.vector(6, outputs=2), nodes=60)


@pytest.mark.parametrize("check", space_checks, ids=lambda check: check.__name__)
def test_conformance(check):
    check(SPACE)


def test_a_genome_by_hand():
    tanh = "routing(pre=identity, inner=computation(op=tanh), post=identity)"
    genome = SPACE.parse(f"sequential(first=computation(op=linear_16), second={tanh})")
    assert SPACE.cost(genome).parameters == 7 * 16 + 17 * 2
    assert SPACE.parse("sequential(first=computation(op=linear_16), second=computation(op=tanh))").digest == (
        genome.digest
    )
    with pytest.raises(spaces.InvalidGenome, match="linear_8"):
        SPACE.parse("sequential(first=computation(op=linear_8), second=computation(op=tanh))")


@pytest.mark.parametrize(
    "declare, message",
    [
        (
            lambda grammar: grammar.computation("tanh", module=None),
            "computation 'tanh': module must be a function of 2 arguments: None is not",
        ),
        (lambda grammar: grammar.computation("a b", module=lambda shape, out: nn.Tanh()), "is no name"),
        (
            lambda grammar: grammar.computation("identity", module=lambda shape, out: nn.Tanh()),
            "computation 'identity': there is one already",
        ),
        (
            lambda grammar: grammar.computation("x", module=lambda shape: nn.Tanh()),
            "computation 'x': module must be a function of 2 arguments",
        ),
        (
            lambda grammar: grammar.fork(
                "three", ways=3, gives=lambda shape: shape, module=lambda shape, out: nn.Tanh()
            ),
            "fork 'three': ways = 3; allowed: 2, 4, 8",
        ),
        (lambda grammar: grammar.reweighted({"routng": 1}), "no form 'routng', did you mean 'routing'"),
        (lambda grammar: grammar.reweighted({"routing": 0}), "weight of 'routing' is 0"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_declared(declare, message):
    with pytest.raises(InvalidGrammar, match=message):
        declare(FlowGrammar("mine"))


@pytest.mark.parametrize("out", [3, [6], 6.0])
def test_what_is_given_but_no_shape_is_told(out):
    grammar = FlowGrammar("mine")
    grammar.computation("linear", module=lambda shape, out: nn.Tanh(), gives=lambda shape: out)
    with pytest.raises(InvalidGrammar, match=r"computation 'linear': gives .* but must give a shape"):
        spaces.FlowSpace(grammar, spaces.vector(6, outputs=2)).sample(np.random.default_rng(0))


def test_a_rule_that_fails_names_its_terminal():
    grammar = FlowGrammar("mine")
    grammar.computation("linear", module=lambda shape, out: nn.Tanh(), gives=lambda shape: shape[7:][0])
    with pytest.raises(InvalidGrammar, match=r"computation 'linear': gives fails at \(6,\): IndexError"):
        spaces.FlowSpace(grammar, spaces.vector(6, outputs=2)).sample(np.random.default_rng(0))


@pytest.mark.parametrize("cost", [3, None, (-1, 0), (1, 1, 0)])
def test_a_cost_that_is_no_pair_is_told(cost):
    grammar = FlowGrammar("mine")
    grammar.computation("linear", module=lambda shape, out: nn.Tanh(), cost=lambda shape, out: cost)
    space = spaces.FlowSpace(grammar, spaces.vector(6, outputs=2))
    with pytest.raises(InvalidGrammar, match=r"computation 'linear': cost gives .* but must give a pair"):
        space.parse("routing(pre=identity, inner=computation(op=linear), post=identity)")


def grammar_of(**rules):
    grammar = FlowGrammar("mine")
    grammar.computation(
        "linear",
        **{
            "module": lambda shape, out: nn.Linear(shape[0], out[0]),
            "gives": lambda shape: (4,),
            "cost": lambda shape, out: ((shape[0] + 1) * out[0], 2 * shape[0] * out[0]),
            **rules,
        },
    )
    return grammar


@pytest.mark.parametrize(
    "rules, message",
    [
        (
            {"module": lambda shape, out: 1 / 0},
            r"fails: ZeroDivisionError: division by zero \(test_own_grammar",
        ),
        ({"module": lambda shape, out: None}, r"\(6,\) gives a NoneType, but must give a torch.nn.Module"),
        (
            {"module": lambda shape, out: nn.Linear(shape[0], 5)},
            r"output has the shape \(5,\), but gives= says \(4,\)",
        ),
        (
            {"module": lambda shape, out: nn.Linear(7, 4)},
            "gives a Linear that fails: RuntimeError: mat1 and mat2",
        ),
        ({"cost": lambda shape, out: (24, 48)}, "gives a Linear of 28 parameters, but cost= says 24"),
    ],
)
def test_modules_are_held_to_shapes_and_costs(rules, message):
    space = spaces.FlowSpace(grammar_of(**rules), spaces.vector(6, outputs=2), nodes=20)
    with pytest.raises(InvalidGrammar, match=f"computation 'linear': module at .*{message}"):
        space.check_modules()


def test_modules_that_keep_their_word_pass():
    spaces.FlowSpace(grammar_of(), spaces.vector(6, outputs=2), nodes=20).check_modules()


@pytest.mark.parametrize("name", ["einspace", "vision"])
def test_the_operators_of_our_own_spaces_keep_their_word(name):
    spaces.load(name, spaces.image(3, 16, 16, classes=4), nodes=40).check_modules()


def test_a_size_below_one_is_no_shape():
    grammar = grammar_of(gives=lambda shape: (-4,))
    with pytest.raises(InvalidGrammar, match=r"gives \(-4,\) at \(6,\), but must give a shape"):
        spaces.FlowSpace(grammar, spaces.vector(6, outputs=2)).sample(np.random.default_rng(0))


def test_a_cost_that_fails_names_its_terminal():
    grammar = grammar_of(cost=lambda shape, out: 1 / 0)
    with pytest.raises(
        InvalidGrammar, match=r"computation 'linear': cost fails at \(6,\): ZeroDivisionError"
    ):
        spaces.FlowSpace(grammar, spaces.vector(6, outputs=2)).sample(np.random.default_rng(0))
