"""Volume coding of flow grammars: every point is a genome, and a genome is a box of points."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spaces
from spaces import InvalidGenome, InvalidSpace
from spaces.flow.derivation import Derivation
from spaces.flow.paths import blocked
from spaces.flow.tree import Node
from spaces.genome import DEEPEST
from tests.spaces.flow.law import shares

SPACE = spaces.load("einspace", nodes=60)
COORDINATES = st.floats(0, 1, exclude_max=True)


def assert_box(space, genome):
    """Corners and centre decode to the genome."""
    low, high = space.box(genome)
    for point in (low, space.encode(genome), np.nextafter(high, 0)):
        assert space.decode(point) == genome


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([(1, 5, 5), (3, 16, 16), (3, 9, 14), (2, 1, 33), (8, 8, 3)]),
    st.sampled_from(["einspace", "einspace_loose"]),
    st.integers(5, 60),
    st.integers(0, 30_000),
    st.integers(0, 300_000),
    st.integers(0, 20_000),
    st.integers(2, 40),
    st.lists(COORDINATES, min_size=1, max_size=30),
)
def test_any_point_is_a_genome_that_is_a_box(
    image, name, nodes, parameters, flops, activations, operators, point
):
    limits = {
        "nodes": nodes,
        "parameters": 4 * (image[0] + 1) + parameters,
        "flops": 8 * image[0] + flops,
        "activations": 2 * math.prod(image) + activations,
        "operators": operators,
    }
    space = spaces.load(name, spaces.image(*image, classes=4), **limits)
    genome = space.decode(point)
    space.check(genome)
    assert_box(space, genome)


@pytest.mark.parametrize("name", ["einspace", "einspace_loose"])
def test_draws_are_boxes(name):
    space, rng = spaces.load(name, nodes=200), np.random.default_rng(0)
    for _ in range(10):
        assert_box(space, space.sample(rng))


def test_known_networks_are_boxes():
    space = spaces.load("einspace")
    for name in space.named:
        assert_box(space, space.architecture(name))


def test_what_the_look_ahead_does_not_see_is_a_box_too(monkeypatch):
    """Both branches halve the image twice, which takes two routings; `Drawer.meet` looks one ahead."""
    half = "routing(pre=im2col_3_2_1, inner=computation(op=linear_16), post=col2im)"
    quarter = f"sequential(first={half}, second={half})"
    text = f"branching(fork=clone_2, branches=[{quarter}, {quarter}], join=add)"
    genome = SPACE.parse(text)
    assert_box(SPACE, genome)
    monkeypatch.setattr(Derivation, "_second_free", lambda *_: None)
    with pytest.raises(InvalidGenome, match="no point decodes to this genome"):
        SPACE.box(genome)


def test_points_that_nest_too_deep_give_way():
    space = spaces.load("einspace")
    point = np.zeros(space.dimensions)
    point[0] = np.nextafter(1, 0)
    volumes = space._volumes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spaces.flow.volume.DEEPEST", 10_000)
        assert volumes.decode(point).depth > DEEPEST
    genome = space.decode(point)
    space.check(genome)
    assert_box(space, genome)


@pytest.mark.parametrize("first", ["softmax", "identity"], ids=["constant", "no parameters"])
def test_what_no_point_decodes_to_is_refused(first):
    space = spaces.load("einspace", spaces.image(1, 5, 1, classes=3))
    second = "linear_16" if first == "softmax" else "identity"
    genome = space.parse(f"sequential(first=computation(op={first}), second=computation(op={second}))")
    with pytest.raises(
        InvalidGenome, match="no point decodes to this genome: it has an operator that is cons"
    ):
        space.box(genome)


def test_few_dimensions_may_be_too_narrow():
    genome = SPACE.sample_exactly(np.random.default_rng(0), 60)
    with pytest.raises(
        InvalidGenome, match="is too narrow for float64 in dimension 0 of 1; 43 dimensions are enough"
    ):
        SPACE.box(genome, 1)
    with pytest.raises(InvalidSpace, match="dimensions = 0, but there must be at least 1"):
        SPACE.encode(genome, 0)


def terminals(node: Node) -> Counter[str]:
    found = Counter(f"{t.kind} {t.name}" for t in node.terminals)
    for child in node.children:
        found += terminals(child)
    return found


def laws(number):
    """Of so many points and draws: the roots, and the share of each terminal among all."""
    rng = np.random.default_rng(3)
    roots = [
        [SPACE.tree(SPACE.decode(point)) for point in rng.random((number, SPACE.dimensions))],
        [SPACE.tree(SPACE.sample(rng)) for _ in range(number)],
    ]
    counts = [sum(map(terminals, each), Counter()) for each in roots]
    return roots, [{key: found[key] / found.total() for key in counts[0] | counts[1]} for found in counts]


def assert_alike(number, tolerance, of_terminals):
    roots, (decoded, drawn) = laws(number)
    bare, dead = sum(root.price[0] == 0 for root in roots[0]), sum(map(blocked, roots[0]))
    print(f"of {number:,} points, {bare} without parameters, {dead} without a path from the input")
    assert bare <= 0.01 * number
    for name, (found, wanted) in shares(SPACE._drawer.sizes, roots[0]).items():
        print(f"{name}: {found:.4f} of the forms, {wanted:.4f} by the law")
        assert abs(found - wanted) < tolerance
    worst = max(decoded, key=lambda key: abs(decoded[key] - drawn[key]))
    print(f"{worst}: {decoded[worst]:.4f} of the terminals by points, {drawn[worst]:.4f} of draws")
    assert abs(decoded[worst] - drawn[worst]) < of_terminals
    sizes = [np.mean([root.size for root in each]) for each in roots]
    print(f"nodes: {sizes[0]:.2f} by points, {sizes[1]:.2f} of draws")


def test_random_points_follow_the_law_of_draws():
    assert_alike(300, 0.03, 0.03)


@pytest.mark.slow
def test_many_random_points_follow_the_law_of_draws():
    assert_alike(5_000, 0.02, 0.01)


def test_sizes_that_are_alike_have_the_same_price():
    look = SPACE._drawer.reach
    for shape in [(3, 32, 32), (16, 8), (5, 1)]:
        for want in [shape, *look.outs(shape), *look.around(shape, None)]:
            by_kind: dict[int, set[object]] = {}
            for n in range(2, 55):
                by_kind.setdefault(look.alike(n), set()).add(look.price(shape, None, want, n))
            assert all(len(prices) == 1 for prices in by_kind.values())
