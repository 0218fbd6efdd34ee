"""The notation of STAR's genomes, what is refused, and which texts are equal networks."""

import itertools

import numpy as np
import pytest

import spaces
from spaces.blocks.operators import problem
from spaces.catalog.star import NUMBERS, POOL
from spaces.catalog.star.pool import FEATURIZER, OPERATOR, Definition, definitions, operator, variants
from tests.spaces.helpers import draws, refusal

SPACE = spaces.load("star")
FOUR = spaces.load("star", layers=4)
DEEP = spaces.load("star", layers=12, min_layers=2, levels="featurizers")
SMALL = spaces.load("star", spaces.tokens(32, 16), layers=5, min_layers=1, context=70, levels="featurizers")
PAPER = "21211-31112-21221-32112"


# Notation


def test_the_example_of_the_paper():
    """Class 2 shares featurizer weights, class 3 features, as the paper says of it."""
    genome = FOUR.parse(PAPER)
    assert genome.text == PAPER
    first, second, third, fourth = genome.tree.layers
    assert third.owners == (0,) * len(third.weights)
    assert (fourth.leader, fourth.taken, fourth.weights) == (1, "BV", "C")
    assert [layer.taken for layer in (first, second, third)] == ["", "", ""]


def test_the_genomes_that_the_paper_gives():
    texts = {name: POOL[number].definition.text for name, number in NUMBERS.items()}
    assert (texts["SA-1"], texts["Rec-1"], texts["GMemless"]) == ("12123", "54111", "91142")
    assert {texts["GConv-1"][1], texts["GConv-2"][1]} == {"3"}
    assert len({liv.definition.operator[0] for liv in POOL.values()}) == 9
    assert texts["SA-1-Diff"] == "d12123"


def test_numbers_from_ten_on_are_letters():
    genome = FOUR.parse("h1111-91111-a1111-91111")
    assert FOUR.numbers(genome)[:10] == [17, 1, 1, 1, 1, 9, 1, 1, 1, 1]


def test_a_genome_may_define_classes():
    space = spaces.load("star", layers=2, levels="featurizers")
    genome = space.parse(" 21211-31112 |  3=d54111   2=12123:1122 ")
    assert genome.text == "21211-31112 | 2=12123:1122 3=d54111"
    assert [layer.operator.token_mixing for layer in genome.tree.layers] == [2, 4]
    assert genome.tree.layers[0].operator.repeat == 2
    assert genome.tree.layers[1].operator.differential


@pytest.mark.parametrize(
    "text, message",
    [
        ("2121-31112", "'2121-31112' is no backbone: expected LIVs of five digits each, such as 21211-31112"),
        ("", "'' is no backbone: expected LIVs of five digits each, such as 21211-31112"),
        ("11111-91111", "the backbone has 2 LIVs, but must have 4, as option 'layers' of the space says"),
        ("01111-91111-91111-91111", "LIV 1 (01111): class 0 is not from 1 to h"),
        ("11111-91111-91111-91511", "LIV 4 (91511): featurizer-sharing strategy 5 is not from 1 to 3"),
        ("11111-95111-91111-91111", "LIV 2 (95111): featurizer-sharing group 5 is not from 1 to 4"),
        ("11111-91171-91111-91111", "LIV 2 (91171): feature-sharing group 7 is not from 1 to 4"),
        ("11111-91117-91111-91111", "LIV 2 (91117): feature-sharing strategy 7 is not from 1 to 4"),
        (
            "21112-31112-91111-91111",
            "LIV 2 (31112): feature-sharing group 1 shares class 2 by strategy 2, so it cannot hold class 3 by strategy 2",
        ),
        (
            "21211-21311-91111-91111",
            "LIV 2 (21311): featurizer-sharing group 1 shares class 2 by strategy 2, so it cannot hold class 2 by strategy 3",
        ),
        ("11111-91111-91111-91111 |", "'11111-91111-91111-91111 |' defines no class behind its '|'"),
        (
            "11111-91111-91111-91111 | 1",
            "'1' defines no class: expected a class and its genomes, such as 2=12123:1122",
        ),
        ("11111-91111-91111-91111 | 1=12123 1=12123", "class 1 is defined twice"),
        (
            "11111-91111-91111-91111 | 1=1212",
            "class 1: operator genome '1212' has 4 numbers, but must have 5: featurizer class, token mixing, sparsity, "
            "nonlinearity, channel mixing",
        ),
        (
            "11111-91111-91111-91111 | 1=15123",
            "class 1: operator genome '15123': token mixing 5 is not allowed; allowed: 1, 2, 3, 4",
        ),
        (
            "11111-91111-91111-91111 | 1=12123:1271",
            "class 1: featurizer genome '1271': expansion factor 7 is not allowed; allowed: 1, 2, 3, 4, 8, g",
        ),
        ("11111-91111-91111-91111 | 2=12123", "class 2 = 12123 is defined, but no LIV is of it"),
        ("11111-91111-91111-91111 | z=12123", "class z = 12123: the classes are 1 to h"),
        (
            "11111-91111-91111-91111 | 1=12123",
            "class 1 = 12123: a space of levels='backbone' takes classes from the pool",
        ),
    ],
)
def test_other_texts_are_refused(text, message):
    assert refusal(FOUR.parse, text) == message


@pytest.mark.parametrize(
    "definition, reason",
    [
        (
            "11122",
            "nonlinearity 2, softmax, is over the scores of tokens, which only token mixing 2, low-rank, has",
        ),
        ("14211", "sparsity 2, banded, needs token mixing 2, low-rank, or 3, scaled Toeplitz"),
        ("d91142", "a difference is of two mixings of tokens, but token mixing 1 is diagonal"),
        ("12123:2211", "a featurizer mixes tokens by 1, diagonal, or 3, Toeplitz"),
        (
            "14111:1131",
            "featurizer channel mixing 1, diagonal, cannot make 3 channels of 32, as feature B needs at width 128",
        ),
        (
            "13111:1132",
            "featurizer channel mixing 1, diagonal, cannot make 96 channels of 64, as feature B needs at width 128",
        ),
    ],
)
def test_combinations_without_a_meaning_are_refused(definition, reason):
    space = spaces.load("star", layers=1, levels="featurizers")
    assert refusal(space.parse, f"11111 | 1={definition}") == f"class 1 = {definition} cannot be: {reason}"


def test_narrow_widths_have_fewer_classes():
    space = spaces.load("star", spaces.tokens(32, 6), layers=2)
    assert space.unavailable[3] == "repeat factor 4 does not divide the 1 heads of width 6"
    message = "class 3 (SA-3) cannot be at width 6: repeat factor 4 does not divide the 1 heads of width 6"
    assert refusal(space.parse, "31111-91111") == message
    odd = spaces.load("star", spaces.tokens(32, 5), layers=2)
    assert "an odd number of them at width 5" in odd.unavailable[1]
    for here in (space, odd, odd.at(spaces.tokens(4, 1))):
        for genome in draws(here, 50):
            here.check(genome)


def test_levels_bound_what_may_be_defined():
    space = spaces.load("star", layers=1, levels="operators")
    message = "class 1 = 12123:1211: a space of levels='operators' takes featurizers by their class"
    assert refusal(space.parse, "11111 | 1=12123:1211") == message


@pytest.mark.parametrize(
    "limits, message",
    [
        ({"layers": 0}, "space 'star': layers = 0, but it must be an integer of at least 1"),
        ({"layers": 300}, "space 'star': layers = 300, but it must be at most 256"),
        ({"min_layers": 9}, "space 'star': min_layers = 9, but it must be at most 'layers' (8)"),
        (
            {"levels": "operator"},
            "space 'star': levels = 'operator', did you mean 'operators'? allowed: backbone, operators, featurizers",
        ),
        (
            {"io": spaces.image()},
            "space 'star' reads tokens, but it was given ImageIO(channels=3, height=32, width=32, classes=10)",
        ),
        (
            {"parameters": 70_000, "state_bytes": 9},
            "space 'star': no 8 LIVs of the pool, whatever they share, at width 128 and a vocabulary of 256, meet parameters = 70,000, "
            "state_bytes = 9",
        ),
    ],
)
def test_impossible_spaces_are_refused(limits, message):
    assert refusal(spaces.load, "star", **limits) == message


# Equal networks


@pytest.mark.parametrize(
    "one, other",
    [
        ("11111-11111-91111-91111", "12131-13141-94111-91141"),  # groups that nobody shares by
        ("11112-11111-91111-91111", "11111-11111-91111-91111"),  # the only member
        ("11213-11213-91111-91111", "13223-13223-91111-91111"),  # groups by other numbers
        (
            "91112-91112-11111-11111",
            "91114-91114-11111-11111",
        ),  # a gate has no keys: all that is read are its values
        ("91113-91113-11111-11111", "91111-91111-11111-11111"),  # nor anything to share by keys
        ("11312-11312-91111-91111", "11112-11112-91111-91111"),  # weights of what is taken anyway
    ],
)
def test_equal_networks_have_one_digest(one, other):
    one, other = FOUR.parse(one), FOUR.parse(other)
    assert one != other
    assert one.digest == other.digest
    for a, b in zip(vars_of(FOUR.graph(one)), vars_of(FOUR.graph(other)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert FOUR.cost(one) == FOUR.cost(other)


def vars_of(graph):
    return graph.operators, graph.choices, graph.sources, graph.targets, graph.ports


def test_a_definition_that_repeats_the_pool_is_the_pools():
    space = spaces.load("star", layers=2, levels="featurizers")
    texts = [
        "11111-91111",
        "11111-91111 | 1=12123",
        "21111-91111 | 2=12123:1211",
        "21111-91111 | 2=92123:1211",
    ]
    assert len({space.parse(text).digest for text in texts}) == 1


def test_unequal_plans_have_unequal_digests_and_graphs():
    seen = {}
    for genome in draws(SMALL, 2000):
        graph = SMALL.graph(genome)
        drawn = (graph.operators, str(graph.choices), *(part.tobytes() for part in vars_of(graph)[2:]))
        assert seen.setdefault(genome.digest, drawn) == drawn
    assert len(set(seen.values())) == len(seen) > 1500


def test_every_number_is_honoured():
    """Any change of one number of any class gives another network."""
    for liv in POOL.values():
        for changed in variants(liv.definition, 128, featurizers=True):
            assert operator(changed, 128) != operator(liv.definition, 128)
            assert problem(operator(changed, 128), 128) is None


def test_what_can_be_is_what_the_guards_allow():
    kinds, *rest = OPERATOR.values()
    every = {
        Definition((1, *genome), own, differential)
        for genome in itertools.product(*rest)
        for own in itertools.product(*FEATURIZER.values())
        for differential in (False, True)
        if problem(operator(Definition((1, *genome), own, differential), 24), 24) is None
    }
    found = list(definitions(24, featurizers=True))
    assert len(found) == len(set(found)) == len(kinds) * len(every)
    assert {made for made in found if made.operator[0] == 1} == every
