import collections
import subprocess
import sys

import numpy as np
import pytest

import spaces
from spaces import Grammar, InvalidGrammar, InvalidSpace, child, choice, many, real
from tests.spaces.grammars import FREE


def test_guards_and_attributes_reach_the_children():
    grammar = Grammar("groups", start="model")

    @grammar.production("model", attributes=lambda at, groups: {"width": at.width // groups}, **FREE)
    def split(groups=choice(1, 2, 4), body=child("mixer")): ...

    @grammar.production("mixer", where=lambda at, size: size <= at.width, **FREE)
    def leaf(size=choice(4, 8, 16)): ...

    space = spaces.GrammarSpace(grammar, spaces.tokens(16, 16))
    seen = {space.sample(np.random.default_rng(i)).text for i in range(300)}
    assert seen == {
        f"split(groups={groups}, body=leaf(size={size}))"
        for groups in (1, 2, 4)
        for size in (4, 8, 16)
        if size <= 16 // groups
    }
    genome = space.parse("split(groups=1, body=leaf(size=16))")
    rng = np.random.default_rng(0)
    changed = {space.mutations["change"](genome, rng).text for _ in range(100)}
    assert {text[:14] for text in changed} == {"split(groups=1", "split(groups=2", "split(groups=4"}
    for text in changed:
        space.parse(text)


def test_weights_and_evenness_of_draws():
    grammar = Grammar("weights", start="model")

    @grammar.production("model", weight=3, **FREE)
    def often(n=choice(1, 2)): ...

    @grammar.production("model", weight=1, **FREE)
    def seldom(): ...

    space = spaces.GrammarSpace(grammar, spaces.tokens())
    rng = np.random.default_rng(0)
    counts = collections.Counter(space.sample(rng).text for _ in range(8000))
    expected = {"often(n=1)": 3000, "often(n=2)": 3000, "seldom()": 2000}
    assert (
        sum((counts[text] - n) ** 2 / n for text, n in expected.items()) < 13.8
    )  # chi-square, 2 degrees, p = .001


@pytest.mark.parametrize("name", spaces.load("hybrid").named)
@pytest.mark.parametrize("width, parameters", [(32, 400_000), (64, 1_000_000), (128, None), (768, None)])
def test_known_models_are_genomes(name, width, parameters):
    space = spaces.load("hybrid", spaces.tokens(256, width), parameters=parameters)
    genome = space.architecture(name)
    space.check(genome)
    assert parameters is None or space.cost(genome).parameters <= parameters


def test_a_known_model_that_cannot_fit_says_why():
    space = spaces.load("hybrid", spaces.tokens(256, 64), parameters=50_000)
    with pytest.raises(InvalidSpace, match=r"'jamba-like' does not fit.*more than the limit of 50,000"):
        space.architecture("jamba-like")
    with pytest.raises(InvalidSpace, match=r"no architecture 'mamba2', did you mean 'mamba-2'"):
        space.architecture("mamba2")


@pytest.mark.parametrize("name", spaces.SPACES)
def test_drawing_and_costing_import_no_torch_and_no_networkx(name):
    code = (
        "import contextlib, sys, numpy, spaces\n"
        f"space = spaces.load({name!r})\n"
        "genome = space.mutate(space.sample(numpy.random.default_rng(0)), numpy.random.default_rng(1))\n"
        "with contextlib.suppress(spaces.InvalidSpace): space.cost(genome)  # not every space tells it\n"
        "genome.digest, space.graph(genome), space.size\n"
        "genomes = [genome, *map(space.architecture, space.named)]\n"
        "[(space.check(genome), space.parse(genome.text)) for genome in genomes]\n"
        "if hasattr(space, 'rank'): [space.unrank(space.rank(genome)) for genome in genomes]\n"
        "print([name for name in ('torch', 'networkx', 'ray', 'rich') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_a_block_without_its_choices_is_refused():
    grammar = Grammar("g", start="model")

    @grammar.production("model")
    def attention(heads=choice(1, 2), window=choice(None, 64)): ...

    with pytest.raises(
        InvalidGrammar, match=r"production 'attention': the block of that name cannot be called"
    ):
        spaces.GrammarSpace(grammar, spaces.tokens())


@pytest.mark.slow
@pytest.mark.parametrize("name", spaces.load("hybrid").named)
def test_a_known_model_is_a_genome_or_does_not_fit_at_any_width(name):
    refused = []
    for width in (*range(1, 80), 96, 100, 768):
        space = spaces.load("hybrid", spaces.tokens(16, width))
        try:
            space.check(space.architecture(name))
        except InvalidSpace:
            refused.append(width)
    assert all(width % 8 for width in refused)


def test_choices_of_a_residual_tell_networks_apart():
    grammar = Grammar("g", start="model")

    @grammar.production("model", **FREE)
    def residual(body=child("mixer"), scale=real(0.1, 1.0, log=True)): ...

    @grammar.production("mixer")
    def swiglu(mult=choice(1, 2)): ...

    space = spaces.GrammarSpace(grammar, spaces.tokens(16, 16))
    one, other = (space.parse(f"residual(body=swiglu(mult=1), scale={scale})") for scale in (0.2, 0.9))
    assert one.digest != other.digest


def test_operators_of_another_width_are_other_operators():
    grammar = Grammar("g", start="model")

    @grammar.production("model", form="sequence", **FREE)
    def whole(body=child("mixer")): ...

    @grammar.production("model", form="sequence", attributes=lambda at: {"width": at.width // 2}, **FREE)
    def half(body=child("mixer")): ...

    @grammar.production("mixer")
    def swiglu(mult=choice(1, 2)): ...

    space = spaces.GrammarSpace(grammar, spaces.tokens(16, 16))
    one, other = (space.parse(f"{name}(body=swiglu(mult=1))") for name in ("whole", "half"))
    assert one.digest != other.digest
    assert space.graph(other).operators == ("input", "swiglu@width=8", "output")


def test_nothing_is_not_an_identity():
    grammar = Grammar("g", start="model")

    @grammar.production("model", **FREE)
    def combine(xs=many("x", 0, 3)): ...

    @grammar.production("x", form="identity", **FREE)
    def same(): ...

    space = spaces.GrammarSpace(grammar, spaces.tokens())
    digests = {space.parse(f"combine(xs=[{', '.join(['same()'] * n)}])").digest for n in range(4)}
    assert len(digests) == 4


def test_children_reach_the_builder_and_the_graph_by_field():
    from torch import nn

    seen = []

    def build(at, a, b, one):
        seen.append((len(a), len(b), type(one).__name__))
        return nn.Identity()

    grammar = Grammar("g", start="model")

    @grammar.production("model", build=build, **FREE)
    def two(a=many("x", 0, 2), b=many("x", 0, 2), one=child("x")): ...

    @grammar.production("x", build=lambda at: nn.Identity(), **FREE)
    def leaf(): ...

    space = spaces.GrammarSpace(grammar, spaces.tokens())
    from spaces.compile import build_node

    first, second = (
        space.parse(text)
        for text in ("two(a=[leaf()], b=[], one=leaf())", "two(a=[], b=[leaf()], one=leaf())")
    )
    for genome in (first, second):
        build_node(space.tree(genome))
    assert seen == [(1, 0, "Identity"), (0, 1, "Identity")]
    assert first.digest != second.digest
    assert space.graph(first).ports.tolist() == [0, 0, 0, 2, 0]
    assert space.graph(second).ports.tolist() == [0, 0, 1, 2, 0]


def test_a_rare_neighbour_is_found():
    grammar = Grammar("g", start="model")

    @grammar.production("model", **FREE)
    def top(fixed=many("f", 60, 60), v=child("x")): ...

    @grammar.production("f", **FREE)
    def filler(): ...

    @grammar.production("x", **FREE)
    def one(): ...

    @grammar.production("x", **FREE)
    def two(): ...

    space = spaces.GrammarSpace(grammar, spaces.tokens(), operators=100, nodes=100)
    assert space.size == 2
    genome = space.sample(np.random.default_rng(0))
    for seed in range(50):
        assert space.mutate(genome, np.random.default_rng(seed)).digest != genome.digest


def test_true_is_not_one():
    grammar = Grammar("g", start="model")

    @grammar.production("model", attributes=lambda at, flag: {"flag": flag}, **FREE)
    def top(flag=choice(0, 1, True, 2, ordered=True), body=child("x")): ...

    @grammar.production("x", where=lambda at: at.flag is True, **FREE)
    def yes(): ...

    @grammar.production("x", where=lambda at: at.flag is not True, **FREE)
    def no(): ...

    space = spaces.GrammarSpace(grammar, spaces.tokens())
    texts = {space.sample(np.random.default_rng(i)).text for i in range(200)}
    assert texts == {"top(flag=true, body=yes())"} | {f"top(flag={n}, body=no())" for n in (0, 1, 2)}
    genome = space.parse("top(flag=1, body=no())")
    changed = {space.mutations["change"](genome, np.random.default_rng(i)).text for i in range(50)}
    assert changed == {"top(flag=0, body=no())", "top(flag=true, body=yes())"}


def test_a_change_keeps_the_numbers_beside_it():
    grammar = Grammar("g", start="model")

    @grammar.production("model", attributes=lambda at, k: {"k": k}, **FREE)
    def top(k=choice(1, 2), s=real(0, 1), body=child("x")): ...

    @grammar.production("x", **FREE)
    def leaf(): ...

    space = spaces.GrammarSpace(grammar, spaces.tokens())
    genome = space.parse("top(k=1, s=0.5, body=leaf())")
    texts = {space.mutations["change"](genome, np.random.default_rng(i)).text for i in range(20)}
    assert "top(k=2, s=0.5, body=leaf())" in texts


def test_cost_wants_a_context():
    space = spaces.load("hybrid")
    with pytest.raises(InvalidSpace, match="context = 0, but it must be at least 1"):
        space.cost(space.architecture("mamba-2"), context=0)


def test_costs_over_one_context_do_not_depend_on_others():
    space, rng = spaces.load("hybrid"), np.random.default_rng(0)
    texts = [space.sample(rng).text for _ in range(20)]
    for context in (64, 1024, 64, 7):
        new = spaces.load("hybrid")
        for text in texts:
            assert space.cost(space.parse(text), context) == new.cost(new.parse(text), context)
