import collections
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spaces
from spaces import Grammar, InvalidGrammar, InvalidSpace, child, choice, many, real
from spaces.blocks.costs import Cost, frame
from tests.spaces.grammars import FREE


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([16, 24, 64, 96]),
    st.integers(20_000, 300_000),
    st.integers(500, 100_000),
    st.integers(4, 40),
    st.integers(0, 1000),
)
def test_limits_hold_for_draws_mutants_and_crossings(width, parameters, state_bytes, nodes, seed):
    limits = {"parameters": parameters, "state_bytes": state_bytes, "flops_per_token": 2 * parameters}
    try:
        space = spaces.load("hybrid", spaces.tokens(64, width), nodes=nodes, context=128, **limits)
    except InvalidSpace:
        return
    rng = np.random.default_rng(seed)
    genomes = [space.sample(rng) for _ in range(10)]
    for mutation in space.mutations.values():
        genomes += [new for genome in genomes[:10] if (new := mutation(genome, rng)) is not None]
    genomes += [
        new for a in genomes[:10] for b in genomes[:3] if (new := space.crossover(a, b, rng)) is not None
    ]
    for genome in genomes:
        space.check(genome)
        cost = space.cost(genome)
        assert cost.parameters <= parameters
        assert cost.state_bytes <= state_bytes
        assert cost.flops_per_token <= 2 * parameters
        assert genome.text.count("(") <= nodes


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


def test_the_law_of_what_fits():
    """What does not fit leaves the weights of the rest as they are, and so do choices that do not fit."""
    grammar = Grammar("law", start="model")

    @grammar.production(
        "model", weight=3, cost=lambda at, context, n: Cost(n, 0, 0, 0), build=lambda at, n: None
    )
    def some(n=choice(1, 2, 300, 400)): ...

    @grammar.production("model", weight=1, cost=lambda at, context: Cost(50, 0, 0, 0), build=lambda at: None)
    def one(): ...

    @grammar.production("model", weight=9, cost=lambda at, context: Cost(200, 0, 0, 0), build=lambda at: None)
    def none(): ...

    space = spaces.GrammarSpace(grammar, spaces.tokens(4, 4), parameters=frame(4, 4).parameters + 100)
    rng = np.random.default_rng(0)
    counts = collections.Counter(space.sample(rng).text for _ in range(8000))
    expected = {"some(n=1)": 3000, "some(n=2)": 3000, "one()": 2000}
    assert counts.keys() == expected.keys()
    assert (
        sum((counts[text] - n) ** 2 / n for text, n in expected.items()) < 13.8
    )  # chi-square, 2 degrees, p = .001


def test_no_place_of_a_list_is_favoured_under_a_tight_limit():
    """The mean cost of the first layer of four equals that of the last, within four standard errors."""
    space = spaces.load("hybrid", spaces.tokens(64, 64), parameters=120_000, context=128)
    rng = np.random.default_rng(0)
    difference = []
    for _ in range(4000):
        layers = space.tree(space.sample(rng)).children[0]
        if len(layers) >= 4:
            difference.append(layers[0].cost[2] - layers[-1].cost[2])
    assert len(difference) > 500
    assert abs(np.mean(difference)) < 4 * np.std(difference) / math.sqrt(len(difference))


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


def mixers(**options):
    """A grammar whose start derives `top`, for productions that are declared next."""
    return Grammar("g", start="model", **options)


def test_choices_of_a_residual_tell_networks_apart():
    grammar = mixers()

    @grammar.production("model", **FREE)
    def residual(body=child("mixer"), scale=real(0.1, 1.0, log=True)): ...

    @grammar.production("mixer")
    def swiglu(mult=choice(1, 2)): ...

    space = spaces.GrammarSpace(grammar, spaces.tokens(16, 16))
    one, other = (space.parse(f"residual(body=swiglu(mult=1), scale={scale})") for scale in (0.2, 0.9))
    assert one.digest != other.digest


def test_operators_of_another_width_are_other_operators():
    grammar = mixers()

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
    grammar = mixers()

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

    grammar = mixers()

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


def test_where_children_trade_limits_every_order_is_drawn():
    """Room for one branch of parameters and one of state: which of them comes first is chance."""
    grammar = Grammar("two", start="model")

    @grammar.production("model")
    def stack(layers=many("layer", 2, 2)): ...

    @grammar.production("layer", cost=lambda at, context: Cost(100, 100, 0, 0), build=lambda at: None)
    def heavy(): ...

    @grammar.production("layer", cost=lambda at, context: Cost(0, 0, 0, 100), build=lambda at: None)
    def stateful(): ...

    around = frame(4, 4)
    space = spaces.GrammarSpace(
        grammar, spaces.tokens(4, 4), parameters=around.parameters + 100, state_bytes=100
    )
    rng = np.random.default_rng(0)
    drawn = {space.sample(rng).text for _ in range(50)}
    assert drawn == {"stack(layers=[heavy(), stateful()])", "stack(layers=[stateful(), heavy()])"}


def trade(limit):
    """A space where every leaf trades parameters against state, in 100 ways."""
    grammar = mixers()

    @grammar.production("model", **FREE)
    def pair(a=child("x"), b=child("x")): ...

    @grammar.production("x", cost=lambda at, context, i: Cost(10 * i, 0, 0, 10 * (99 - i)))
    def leaf(i=choice(*range(100))): ...

    around = spaces.blocks.costs.frame(16, 16)
    return spaces.GrammarSpace(
        grammar, spaces.tokens(16, 16), parameters=around.parameters + limit, state_bytes=1980 - limit + 10
    )


@pytest.mark.parametrize("limit", [0, 500, 1000, 1235, 1980])
def test_limits_that_trade_against_each_other_are_met_exactly(limit):
    space = trade(limit)
    rng = np.random.default_rng(0)
    for _ in range(50):
        genome = space.sample(rng)
        space.check(genome)
        space.check(space.mutations["resample"](genome, rng))


def test_a_rare_neighbour_is_found():
    grammar = mixers()

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


def test_no_list_is_favoured():
    grammar = mixers()

    @grammar.production("model", **FREE)
    def two(a=many("x", 0, 5), b=many("x", 0, 5)): ...

    @grammar.production("x", **FREE)
    def leaf(): ...

    space = spaces.GrammarSpace(grammar, spaces.tokens(), nodes=6)
    rng = np.random.default_rng(0)
    lengths = np.array(
        [[len(group) for group in space.tree(space.sample(rng)).children] for _ in range(4000)]
    )
    difference = lengths[:, 0] - lengths[:, 1]
    assert abs(difference.mean()) < 4 * difference.std() / math.sqrt(len(difference))


def test_true_is_not_one():
    grammar = mixers()

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


def test_too_deep_is_an_error_and_no_crash():
    grammar = mixers()

    @grammar.production("model", weight=1000, **FREE)
    def chain(body=child("model")): ...

    @grammar.production("model", **FREE)
    def end(): ...

    space = spaces.GrammarSpace(grammar, spaces.tokens(), nodes=5000, operators=5000)
    rng = np.random.default_rng(0)
    with pytest.raises(InvalidSpace, match="nests deeper than Python can follow; lower 'nodes'"):
        [space.sample(rng) for _ in range(50)]
    with pytest.raises(spaces.InvalidGenome, match="more than 150 productions stand in one another"):
        space.parse("chain(body=" * 2000)


def test_operators_with_children_count_against_their_limit():
    grammar = mixers()

    @grammar.production("model", "x", weight=2)
    def stack(layers=many("x", 1, 2), repeat=choice(1, 12)): ...

    @grammar.production("x", **FREE)
    def op(extra=many("e", 0, 1)): ...

    @grammar.production("e", **FREE)
    def extra(): ...

    space = spaces.GrammarSpace(grammar, spaces.tokens(), operators=8)
    with pytest.raises(spaces.InvalidGenome, match="144 operators, more than the limit of 8"):
        space.parse("stack(layers=[stack(layers=[op(extra=[])], repeat=12)], repeat=12)")


def test_a_change_keeps_the_numbers_beside_it():
    grammar = mixers()

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
