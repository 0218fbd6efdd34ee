import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

import spaces
from spaces import Grammar, InvalidGenome, InvalidSpace, ProductSpace, child, choice, many, real
from spaces.cost import Cost
from spaces.counting import draw_below, shuffled
from tests.spaces.grammars import derivations, grammars

IO = spaces.tokens(16, 8)
HYBRID = spaces.load("hybrid")
ROOMY = spaces.load("hybrid", operators=2**50)
"""All its genomes of at most 64 nodes meet the limits."""


def grammar():
    small = Grammar("small", start="model")

    @small.production("model")
    def stack(layers=many("layer", 1, 2), repeat=choice(1, 2)): ...

    @small.production("layer")
    def residual(body=child("mixer")): ...

    @small.production("mixer", where=lambda at, mult: mult != 3 or at.width > 100)
    def swiglu(mult=choice(1, 2, 3)): ...

    @small.production("mixer")
    def gated_conv(kernel=choice(2)): ...

    return small


def with_numbers():
    scaled = grammar()

    @scaled.production("mixer", cost=lambda at, context: Cost(0, 0, 0, 0))
    def scale(by=real(0.1, 1.0)): ...

    return spaces.GrammarSpace(scaled, IO)


SMALL = spaces.GrammarSpace(grammar(), IO)
LIMITED = spaces.GrammarSpace(grammar(), IO, operators=2)
"""Twice two layers, 9 of the 24 genomes, have more operators."""
MOST = 300
"""More genomes of one size are not written out."""
PRODUCT = ProductSpace("svm", {"kernel": choice("rbf", "linear"), "c": choice(1, 2)}, spaces.vector(4))


def refusal(error, call, *arguments):
    with pytest.raises(error) as raised:
        call(*arguments)
    return str(raised.value)


def test_count_equals_the_enumeration():
    mixers = ["swiglu(mult=1)", "swiglu(mult=2)", "gated_conv(kernel=2)"]
    texts = [
        f"stack(layers=[{', '.join(f'residual(body={m})' for m in layers)}], repeat={repeat})"
        for length in (1, 2)
        for repeat in (1, 2)
        for layers in itertools.product(mixers, repeat=length)
    ]
    assert SMALL.size == len(set(texts)) == 24
    assert [SMALL.unrank(rank).text for rank in range(24)] == texts
    assert [SMALL.rank(SMALL.parse(text)) for text in texts] == list(range(24))


def test_count_obeys_the_limit_of_nodes():
    assert spaces.GrammarSpace(grammar(), IO, nodes=3).size == 6
    assert spaces.GrammarSpace(grammar(), IO, nodes=4).size == 6


def test_every_genome_is_reached():
    rng = np.random.default_rng(0)
    assert len({SMALL.sample(rng).text for _ in range(1000)}) == 24


@settings(max_examples=25, deadline=None)
@given(grammars(), st.integers(1, 6))
def test_ranks_follow_the_derivations(grammar, nodes):
    space = spaces.GrammarSpace(grammar, IO, nodes=nodes)
    at = SimpleNamespace(width=8, context=1024, **grammar.attributes)
    by_nodes = [list(itertools.islice(derivations(grammar, "a", at, n), MOST)) for n in range(1, nodes + 1)]
    assume(max(map(len, by_nodes)) < MOST)
    texts = list(itertools.chain(*by_nodes))
    assert space.size == len(texts)
    assert [space.unrank(rank).text for rank in range(space.size)] == texts
    assert [space.rank(space.parse(text)) for text in texts] == list(range(space.size))
    log10 = [-math.inf, *(math.log10(len(found)) if found else -math.inf for found in by_nodes)]
    assert space.log10_sizes.tolist() == log10


@settings(max_examples=100, deadline=None)
@given(st.integers(0, ROOMY.size - 1))
def test_every_rank_of_a_large_space_is_that_of_its_genome(rank):
    genome = ROOMY.unrank(rank)
    ROOMY.check(genome)
    assert ROOMY.rank(genome) == rank
    assert ROOMY.rank(ROOMY.parse(genome.text)) == rank


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(4, 64))
def test_every_genome_of_a_large_space_is_that_of_its_rank(seed, size):
    genome = HYBRID.sample(np.random.default_rng(seed), size=size)
    rank = HYBRID.rank(genome)
    assert HYBRID.unrank(rank) == genome
    assert ROOMY.rank(ROOMY.parse(genome.text)) == rank
    nodes = genome.text.count("(")
    smaller = np.cumsum(10**HYBRID.log10_sizes)
    assert smaller[nodes - 1] * 0.999999 <= rank <= smaller[nodes] * 1.000001


def test_ranks_hold_under_other_limits():
    few = spaces.GrammarSpace(grammar(), IO, nodes=3)
    assert [few.unrank(rank) for rank in range(few.size)] == [SMALL.unrank(rank) for rank in range(few.size)]
    assert [LIMITED.unrank(rank) for rank in range(15)] == [SMALL.unrank(rank) for rank in range(15)]
    assert LIMITED.size == 24
    assert refusal(InvalidGenome, LIMITED.unrank, 15) == (
        "the genome has 4 operators, more than the limit of 2"
    )


@pytest.mark.parametrize("rank", [-1, 24, 10**30])
def test_ranks_of_no_genome(rank):
    assert refusal(InvalidGenome, SMALL.unrank, rank) == (
        f"rank {rank} is not from 0 to 23, the genomes of 'small'"
    )


def test_ranks_are_plain_integers():
    assert SMALL.unrank(np.int64(7)) == SMALL.unrank(7)
    assert type(SMALL.rank(SMALL.unrank(np.int64(7)))) is int
    with pytest.raises(TypeError):
        SMALL.unrank(7.0)


def test_genomes_of_other_spaces_have_no_rank():
    genome = HYBRID.parse("stack(layers=[residual(body=mlp(mult=1, activation=gelu))], repeat=1)")
    assert refusal(InvalidGenome, SMALL.rank, genome) == (
        "layers[0].body: 'mlp' is no mixer here; allowed: swiglu, gated_conv"
    )


def test_numbers_make_a_space_infinite():
    space = with_numbers()
    assert space.size is None
    told = "space 'small' has infinitely many genomes, which have no ranks, because of the numbers in scale"
    rng = np.random.default_rng(0)
    assert refusal(InvalidSpace, space.rank, space.sample(rng)) == told
    assert refusal(InvalidSpace, space.unrank, 0) == told
    assert refusal(InvalidSpace, space.sample_uniform, rng, 1) == told


def test_skeletons_of_an_infinite_space_are_counted():
    assert np.round(10 ** with_numbers().log10_sizes[:7]).tolist() == [0, 0, 0, 2 * 4, 0, 2 * 4**2, 0]


def test_most_genomes_of_the_hybrid_space_are_the_longest():
    assert math.isclose(HYBRID.log10_sizes.max(), HYBRID.log10_sizes[64])


# Uniform draws


def test_all_genomes_are_drawn_equally_often():
    rng = np.random.default_rng(0)
    ranks = [SMALL.rank(genome) for _ in range(2400) for genome in SMALL.sample_uniform(rng, 2)]
    assert chisquare(np.bincount(ranks, minlength=24)).pvalue > 0.001


@pytest.mark.parametrize("space", [SMALL, PRODUCT], ids=lambda space: space.name)
def test_draws_differ(space):
    rng = np.random.default_rng(0)
    for number in (0, 1, space.size - 1, space.size):
        genomes = space.sample_uniform(rng, number)
        assert len(set(genomes)) == number
        for genome in genomes:
            space.check(genome)
    assert space.sample_uniform(rng, space.size) != space.sample_uniform(rng, space.size)


def test_draws_leave_out_what_breaks_a_limit():
    space = spaces.GrammarSpace(grammar(), IO, operators=2)
    rng = np.random.default_rng(0)
    ranks = [space.rank(genome) for _ in range(1000) for genome in space.sample_uniform(rng, 3)]
    assert set(ranks) == set(range(15))
    assert chisquare(np.bincount(ranks)).pvalue > 0.001
    assert space.rejected > 0
    assert {space.rank(genome) for genome in space.sample_uniform(rng, 15)} == set(range(15))


def test_draws_of_a_large_space():
    genomes = HYBRID.sample_uniform(np.random.default_rng(0), 3)
    assert len(set(genomes)) == 3
    for genome in genomes:
        HYBRID.check(genome)
    assert genomes == HYBRID.sample_uniform(np.random.default_rng(0), 3)


def test_uniform_draws_of_so_many_nodes():
    rng = np.random.default_rng(0)
    for nodes in (5, 12, 30):
        genomes = HYBRID.sample_uniform(rng, 5, nodes=nodes)
        assert len(set(genomes)) == 5
        assert {HYBRID.tree(genome).cost[0] for genome in genomes} == {nodes}
    every = {g for g in (SMALL.unrank(rank) for rank in range(SMALL.size)) if SMALL.tree(g).cost[0] == 3}
    assert every
    assert {*SMALL.sample_uniform(rng, len(every), nodes=3)} == every
    for nodes in (0, 1, 999):
        assert refusal(InvalidSpace, HYBRID.sample_uniform, rng, 1, nodes) == (
            f"space 'hybrid' has 0 genomes of {nodes} nodes, so 1 different ones cannot be drawn"
        )


def test_more_draws_than_there_are_genomes():
    rng = np.random.default_rng(0)
    assert refusal(InvalidSpace, SMALL.sample_uniform, rng, 25) == (
        "space 'small' has 24 genomes, so 25 different ones cannot be drawn"
    )
    assert refusal(InvalidSpace, PRODUCT.sample_uniform, rng, 5) == (
        "space 'svm' has 4 genomes, so 5 different ones cannot be drawn"
    )
    assert refusal(InvalidSpace, PRODUCT.sample_uniform, rng, -1) == (
        "space 'svm': -1 genomes cannot be drawn; give an integer of at least 0"
    )
    assert refusal(InvalidSpace, LIMITED.sample_uniform, rng, 16) == (
        "space 'small': 15 of its 24 genomes meet the limits, so 16 different ones cannot be drawn"
    )


def test_limits_that_hardly_any_genome_meets(monkeypatch):
    monkeypatch.setattr("spaces.counting.MOST_REJECTED", 1000)
    space = spaces.load("hybrid", operators=1)
    message = refusal(InvalidSpace, space.sample_uniform, np.random.default_rng(0), 1)
    assert message.startswith(
        "space 'hybrid': 1,000 genomes in a row break a limit, the last as the genome has "
    )
    assert message.endswith(" operators, more than the limit of 1; lower 'nodes' (64) or raise the limits")


@pytest.mark.parametrize("number", [2, 3, 255, 256, 257, 3 * 2**100])
def test_large_integers_are_drawn_evenly(number):
    rng = np.random.default_rng(0)
    drawn = [draw_below(rng, number) for _ in range(3000)]
    assert 0 <= min(drawn) <= max(drawn) < number
    parts = min(number, 3)
    assert chisquare(np.bincount([n * parts // number for n in drawn], minlength=parts)).pvalue > 0.001
    assert draw_below(rng, 1) == 0


def test_orders_are_equally_likely():
    rng = np.random.default_rng(0)
    orders = [tuple(shuffled(rng, 4)) for _ in range(4800)]
    assert set(orders) == set(itertools.permutations(range(4)))
    assert chisquare([orders.count(order) for order in set(orders)]).pvalue > 0.001
    assert len(set(itertools.islice(shuffled(rng, 10**40), 50))) == 50
