import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

import spaces
from spaces import Grammar, InvalidGenome, InvalidSpace, ProductSpace, child, choice, many, real
from spaces.cost import Cost
from tests.spaces.grammars import FREE, grammars

IO = spaces.tokens(16, 8)
HYBRID = spaces.load("hybrid")
TIGHT = spaces.load(
    "hybrid", spaces.tokens(256, 48), parameters=300_000, state_bytes=65_536, context=512, nodes=24
)
ROOMY = spaces.load("hybrid", operators=2**50)
COORDINATES = st.floats(0, 1, exclude_max=True)
POINTS = st.lists(COORDINATES, min_size=1, max_size=30)


def flat(**limits):
    """Weights that no binary fraction holds, and no limit that could be met before the lists end."""
    grammar = Grammar("flat", start="model")

    @grammar.production("model", **FREE)
    def pair(first=many("leaf", 0, 1), second=child("leaf"), order=choice("a", "b", "c")): ...

    @grammar.production("leaf", weight=0.3, **FREE)
    def one(c=choice(1, 2, 3)): ...

    @grammar.production("leaf", weight=0.7, **FREE)
    def two(): ...

    return spaces.GrammarSpace(grammar, IO, **limits)


def scaled():
    grammar = Grammar("scaled", start="model")

    @grammar.production("model", **FREE)
    def scale(by=real(0.001, 1000.0, log=True), shift=real(-1.0, 3.0), body=many("model", 0, 2)): ...

    return spaces.GrammarSpace(grammar, IO, nodes=8)


FLAT, SCALED = flat(), scaled()
PRODUCT = ProductSpace(
    "svm",
    {"kernel": choice("rbf", "linear", "poly"), "shift": choice(None), "c": choice(*range(7))},
    spaces.vector(4),
)


def refusal(error, call, *arguments):
    with pytest.raises(error) as raised:
        call(*arguments)
    return str(raised.value)


def assert_box(space, genome, low, high):
    """Its corners and its centre decode to the genome, what is just outside does not."""
    centre = (
        space.encode(genome, len(low)) if isinstance(space, spaces.GrammarSpace) else space.encode(genome)
    )
    for point in (low, np.nextafter(high, 0), centre):
        assert space.decode(point) == genome
    for k in range(len(low)):
        for beside in (np.nextafter(low[k], -1), high[k]):
            if 0 <= beside < 1:
                point = centre.copy()
                point[k] = beside
                assert space.decode(point) != genome


@settings(max_examples=80, deadline=None)
@given(grammars(), st.integers(1, 6))
def test_boxes_are_laid_side_by_side(grammar, nodes):
    """On one dimension, the boxes of all genomes follow one another from 0 to 1."""
    space = spaces.GrammarSpace(grammar, IO, nodes=nodes)
    assume(space.size <= 500)
    genomes = [space.unrank(rank) for rank in range(space.size)]
    boxes = sorted(
        (*(float(end) for end in np.ravel(space.box(genome, 1))), genome.text) for genome in genomes
    )
    assert boxes[0][0] == 0
    assert boxes[-1][1] == 1
    assert all(a[1] == b[0] for a, b in itertools.pairwise(boxes))
    assert [space.decode([(low + high) / 2]).text for low, high, _ in boxes] == [text for *_, text in boxes]


@settings(max_examples=40, deadline=None)
@given(grammars(), st.integers(1, 5), st.integers(2, 6))
def test_boxes_fill_the_cube(grammar, nodes, dimensions):
    space = spaces.GrammarSpace(grammar, IO, nodes=nodes)
    assume(space.size <= 200)
    volumes = []
    for rank in range(space.size):
        genome = space.unrank(rank)
        low, high = space.box(genome, dimensions)
        volumes.append(np.prod(high - low))
        assert space.decode(space.encode(genome, dimensions)) == genome
        assert space.decode(space.encode(genome)) == genome
    assert math.isclose(sum(volumes), 1, rel_tol=1e-9)


@pytest.mark.parametrize("dimensions", [1, 3])
def test_volumes_are_the_law_of_a_draw(dimensions):
    """Where no limit is near: of drawn genomes, and of those of random points."""
    assert FLAT.size == 3 * 4 * (1 + 4)
    boxes = [FLAT.box(FLAT.unrank(rank), dimensions) for rank in range(FLAT.size)]
    volumes = np.array([np.prod(high - low) for low, high in boxes])
    rng = np.random.default_rng(0)
    drawn = [FLAT.sample(rng) for _ in range(10_000)]
    pointed = [FLAT.decode(rng.random(dimensions)) for _ in range(10_000)]
    for genomes in (drawn, pointed):
        counts = np.bincount([FLAT.rank(genome) for genome in genomes], minlength=FLAT.size)
        assert chisquare(counts, volumes / volumes.sum() * len(genomes)).pvalue > 0.001


def test_a_box_by_hand():
    """The order, the length of `first`, and of `second` its production and its choice: the dimensions in turn."""
    low, high = FLAT.box(FLAT.parse("pair(first=[], second=one(c=2), order=b)"), 4)
    assert np.allclose(low, [1 / 3, 0, 0, 1 / 3])
    assert np.allclose(high, [2 / 3, 1 / 2, 0.3, 2 / 3])
    low, high = FLAT.box(FLAT.parse("pair(first=[], second=one(c=2), order=b)"), 2)
    assert np.allclose(low, [1 / 3, 1 / 6])
    assert np.allclose(high, [1 / 3 + 0.1, 2 / 6])


@settings(max_examples=60, deadline=None)
@given(POINTS)
def test_every_point_is_a_genome(point):
    for space in (HYBRID, TIGHT):
        genome = space.decode(point)
        space.check(genome)
        low, high = space.box(genome, len(point))
        assert (low <= point).all()
        assert (point < high).all()
        assert_box(space, genome, low, high)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(4, 64))
def test_every_genome_has_a_point(seed, size):
    for space in (HYBRID, TIGHT):
        genome = space.sample(np.random.default_rng(seed), size=size)
        point = space.encode(genome)
        assert point.shape == (space.dimensions,)
        assert space.decode(point) == genome


@settings(max_examples=50, deadline=None)
@given(st.integers(0, ROOMY.size - 1))
def test_the_largest_genomes_have_points(rank):
    genome = ROOMY.unrank(rank)
    assert ROOMY.decode(ROOMY.encode(genome)) == genome


@settings(max_examples=50, deadline=None)
@given(st.lists(COORDINATES, min_size=1, max_size=40))
def test_numbers_are_places_in_an_interval(point):
    genome = SCALED.decode(point)
    SCALED.check(genome)
    dimensions = max(len(point), SCALED.dimensions)  # fewer may not hold all bits of the numbers
    assert SCALED.decode(SCALED.encode(genome, dimensions)) == genome


def test_numbers_follow_the_point():
    assert SCALED.decode([0.5, 0.5, 0.2]).text == "scale(by=1.0, shift=1.0, body=[])"
    assert SCALED.decode([0.5, 0.75, 0.2]).text == "scale(by=1.0, shift=2.0, body=[])"
    genome = SCALED.parse("scale(by=0.3, shift=0.1, body=[])")
    again = SCALED.decode(SCALED.encode(genome)).tree
    assert np.allclose(again.reals, [0.3, 0.1], rtol=1e-14)


def test_drawn_numbers_come_back():
    rng = np.random.default_rng(0)
    assert SCALED.dimensions == 8 * 3
    for _ in range(300):
        genome = SCALED.sample(rng)
        assert SCALED.decode(SCALED.encode(genome)) == genome


def test_dimensions():
    for genome in HYBRID.sample_uniform(np.random.default_rng(0), 20):
        assert HYBRID.decode(HYBRID.encode(genome)) == genome
    assert PRODUCT.dimensions == 3
    # 6 decisions (order, length, production and choice of two leaves), the least likely one of 1.74 bits.
    assert FLAT.dimensions == 1
    assert spaces.GrammarSpace(single(), IO).dimensions == 1


def single():
    grammar = Grammar("single", start="model")

    @grammar.production("model", **FREE)
    def one(): ...

    return grammar


def test_a_single_genome_is_the_whole_cube():
    space = spaces.GrammarSpace(single(), IO)
    genome = space.unrank(0)
    assert space.size == 1
    assert space.decode([0.3, 0.4]) == genome
    assert np.array(space.box(genome, 2)).tolist() == [[0, 0], [1, 1]]


def test_too_few_dimensions():
    genome = ROOMY.unrank(ROOMY.size - 1)
    assert refusal(InvalidGenome, ROOMY.encode, genome, 1) == (
        "the box of this genome is too narrow for float64 in dimension 0 of 1; "
        f"{ROOMY.dimensions} dimensions are enough for all genomes"
    )
    assert refusal(InvalidSpace, HYBRID.encode, genome, 0) == "dimensions = 0, but there must be at least 1"


def test_the_edge_of_the_limits():
    """Where children trade one limit for another, the first of them may have to leave the wrong one."""
    grammar = Grammar("edge", start="model")

    @grammar.production("model", **FREE)
    def pair(parts=many("part", 2, 2)): ...

    @grammar.production("part", cost=lambda at, context: Cost(8, 8, 0, 0))
    def heavy(): ...

    @grammar.production("part", cost=lambda at, context: Cost(0, 0, 0, 8))
    def lasting(): ...

    around = spaces.GrammarSpace(grammar, IO)
    empty = around.cost(around.parse("pair(parts=[lasting(), lasting()])")).parameters
    space = spaces.GrammarSpace(grammar, IO, parameters=empty + 8, state_bytes=8)
    found = {space.decode([x]).text for x in np.linspace(0, 0.99, 20)}
    assert len(found) == 1
    (other,) = {"pair(parts=[heavy(), lasting()])", "pair(parts=[lasting(), heavy()])"} - found
    assert refusal(InvalidGenome, space.encode, space.parse(other)) == (
        "no point decodes to this genome, which is at the edge of the limits: in the order of its text, each child "
        "has to leave the least that those after it need"
    )


def test_genomes_too_deep_to_be_read():
    grammar = Grammar("deep", start="model")

    @grammar.production("model", **FREE)
    def chain(body=many("model", 0, 1)): ...

    space = spaces.GrammarSpace(grammar, IO, nodes=1100, operators=1100)
    told = "space 'deep': a genome nests more than 150 productions in one another, too deep to be read; lower 'nodes' (1100)"
    assert refusal(InvalidSpace, space.decode, [0.9] * 1100) == told
    for rank in (150, 1099):
        assert refusal(InvalidSpace, space.unrank, rank) == told
    space.check(space.unrank(149))
    genome = space.unrank(100)
    assert space.rank(genome) == 100
    assert space.decode(space.encode(genome)) == genome


@pytest.mark.parametrize("space", [HYBRID, PRODUCT], ids=lambda space: space.name)
@pytest.mark.parametrize(
    "point, message",
    [
        ([0.5, 1.0, 0.5], "coordinate 1 of the point is 1.0, but must be from 0 to less than 1"),
        ([-1e-9, 0.5, 0.5], "coordinate 0 of the point is -1e-09, but must be from 0 to less than 1"),
        ([0.5, 0.5, math.nan], "coordinate 2 of the point is nan, but must be from 0 to less than 1"),
        ([], "a point is a row of numbers, but this has the shape (0,)"),
        (0.5, "a point is a row of numbers, but this has the shape ()"),
        ([[0.5, 0.5, 0.5]], "a point is a row of numbers, but this has the shape (1, 3)"),
    ],
)
def test_points_outside_the_cube(space, point, message):
    assert refusal(InvalidGenome, space.decode, point) == message


def test_products_have_a_dimension_for_each_field():
    genome = PRODUCT.decode([0.4, 0.9, 0.99])
    assert genome.text == "svm(kernel=linear, shift=none, c=6)"
    low, high = PRODUCT.box(genome)
    assert np.allclose(low, [1 / 3, 0, 6 / 7])
    assert np.allclose(high, [2 / 3, 1, 1])
    for rank in range(PRODUCT.size):
        genome = PRODUCT.unrank(rank)
        assert PRODUCT.decode(PRODUCT.encode(genome)) == genome
        assert_box(PRODUCT, genome, *PRODUCT.box(genome))
    assert refusal(InvalidGenome, PRODUCT.decode, [0.5, 0.5]) == (
        "the point has 2 coordinates, but the genomes of 'svm' have 3"
    )


def test_points_of_any_float_type():
    point = np.array([0.25, 0.5, 0.75], dtype=np.float32)
    assert HYBRID.decode(point) == HYBRID.decode([0.25, 0.5, 0.75])
    assert HYBRID.decode([0, 0, 0]) == HYBRID.decode([0.0, 0.0, 0.0])


@pytest.mark.parametrize("point", ["abc", ["a"], [[0.1], [0.1, 0.2]], None])
def test_what_is_no_point_is_refused(point):
    with pytest.raises(InvalidGenome, match="a point is a row of numbers, but this"):
        spaces.load("hybrid").decode(point)


@pytest.mark.parametrize("number", [-1, 1.5, "2"])
def test_numbers_of_draws_are_whole(number):
    for name in ("hybrid", "mlp"):
        with pytest.raises(InvalidSpace, match="genomes cannot be drawn; give an integer of at least 0"):
            spaces.load(name).sample_uniform(np.random.default_rng(0), number)
