import contextlib
import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spaces
from spaces import InvalidSpace, NoNeighbour
from spaces.flow import reach
from spaces.flow.mutations import sites
from spaces.flow.reach import features
from spaces.flow.tree import fit, within

LIMITS = ("nodes", "parameters", "flops", "activations", "operators")


def used(space, genome):
    root, cost = space.tree(genome), space.cost(genome)
    return dict(zip(LIMITS, (root.size, cost.parameters, cost.flops_per_token, *root.price[2:]), strict=True))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([(1, 5, 5), (3, 16, 16), (3, 9, 14), (2, 1, 33), (8, 8, 3)]),
    st.integers(5, 60),
    st.integers(1, 30_000),
    st.integers(1, 300_000),
    st.integers(1, 20_000),
    st.integers(1, 40),
    st.integers(0, 1000),
)
def test_limits_hold_for_draws_mutants_and_crossings(
    image, nodes, parameters, flops, activations, operators, seed
):
    numel = math.prod(image)
    limits = {
        "nodes": nodes,
        "parameters": 4 * (image[0] + 1) + parameters,
        "flops": 8 * image[0] + flops,
        "activations": 2 * numel + activations,
        "operators": 1 + operators if operators > 1 else 2,
    }
    space = spaces.load("einspace", spaces.image(*image, classes=4), **limits)
    rng = np.random.default_rng(seed)
    try:
        genomes = [space.sample(rng) for _ in range(8)]
    except InvalidSpace:  # so tight limits leave no room for parameters before the head
        return
    for genome in genomes[:8]:
        with contextlib.suppress(NoNeighbour):  # so tight limits leave some genomes alone
            genomes.append(space.mutate(genome, rng))
    genomes += [space.crossover(a, b, rng) for a, b in itertools.pairwise(genomes)]
    for genome in genomes:
        if genome is not None:
            space.check(genome)
            for name, number in used(space, genome).items():
                assert number <= limits[name], f"{name} of {genome}"


def test_sizes_asked_for_are_those_drawn():
    space = spaces.load("einspace")
    rng = np.random.default_rng(0)
    for nodes in [5, 7, 8, *range(10, 80)]:
        for _ in range(5):
            genome = space.sample_exactly(rng, nodes)
            assert space.tree(genome).size == nodes
            space.check(genome)
    for most in (5, 6, 9, 10, 30):
        assert max(space.tree(space.sample(rng, size=most)).size for _ in range(100)) <= most


def test_no_draw_nests_too_deep_to_be_read():
    space = spaces.load("einspace", weights={"routing": 100.0})
    rng = np.random.default_rng(0)
    for genome in [space.sample_exactly(rng, 500) for _ in range(5)]:
        space.check(genome)


def test_a_known_price_is_enough():
    """Wherever the look-ahead knows a price, a tree is drawn for it, to the last parameter."""
    space = spaces.load("einspace", spaces.image(3, 16, 16, classes=4))
    drawer, look = space._drawer, space._drawer.reach
    rng = np.random.default_rng(1)
    places, known, dear = set(), 0, 0
    for _ in range(60):
        places |= {
            (site.node.shape, site.node.scope) for site in sites(space.tree(space.sample_exactly(rng, 25)))
        }
    for shape, scope in sorted(places, key=repr):
        outs = [*look.outs(shape), *look.around(shape, scope)]
        for place in rng.choice(len(outs), 3):
            for n in (2, 5, 7, 8, 12, 13, 14, 16):
                price = look.price(shape, scope, outs[place], n)
                if price is not None:
                    known, dear = known + 1, dear + (price[0] > 0)
                    tree = drawer.toward(shape, scope, n, price, outs[place], rng)
                    assert (tree.shape, tree.out, tree.size) == (shape, outs[place], n)
                    assert within(tree.price, price)
    assert known > 1000
    assert dear > 500


def test_the_look_ahead_finds_what_trying_everything_finds():
    space = spaces.load("einspace", spaces.image(3, 8, 10))
    look, terminals = space._drawer.reach, space.grammar.terminals
    for shape, scope in [((3, 8, 10), None), ((80, 27), (8, 10)), ((6, 20), (4, 5)), ((5, 4, 16), (2, 2))]:
        found = {}
        for pre in terminals["pre"].values():
            between = pre.gives(shape)
            if between is None:
                continue
            inside = scope if pre.opens is None else pre.opens(shape)
            for op in terminals["computation"].values():
                after = op.gives(between)
                if op.constant is not None and op.constant(between):
                    continue
                for post in terminals["post"].values():
                    out = post.gives(after, inside) if post.scoped else post.gives(after)
                    if out is not None:
                        cost = op.cost(between, after)[0] if op.cost else 0
                        found[out] = min(found.get(out, math.inf), cost)
        assert set(look.around(shape, scope)) == set(found)
        for out, parameters in found.items():
            assert look.route_price(shape, scope, out)[0] == parameters


def test_no_draw_is_constant_and_none_lacks_parameters():
    space = spaces.load("einspace", spaces.image(1, 6, 1))
    rng = np.random.default_rng(2)
    bare_mutants = 0
    for _ in range(500):
        genome = space.sample(rng, size=40)
        drawn, mutant = space.tree(genome), space.tree(space.mutate(genome, rng))
        assert not drawn.constant
        assert not mutant.constant
        assert drawn.price[0] > 0
        bare_mutants += mutant.price[0] == 0
    assert bare_mutants <= 5  # where no leaf with parameters fits, a mutant is left without
    assert 0 < space.repaired < 400
    bare = "routing(pre=identity, inner=computation(op=leaky_relu), post=identity)"
    assert space.cost(space.parse(bare)).parameters == 20  # what is written by hand may do without
    constant = space.parse("routing(pre=identity, inner=computation(op=softmax), post=identity)")
    assert space.tree(constant).constant


def test_terminals_are_drawn_evenly_among_those_that_fit():
    """The exact law of routings around one computation, by going through all of them."""
    space = spaces.load("einspace", spaces.image(2, 6, 4))
    terminals = space.grammar.terminals
    law = Counter()
    pres = [found for pre in terminals["pre"].values() if (found := fit(pre, (2, 6, 4), None))]
    for pre in pres:
        ops = [found for op in terminals["computation"].values() if (found := fit(op, pre.out, None))]
        ops = [op for op in ops if not op.constant]
        for op in ops:
            posts = [found for post in terminals["post"].values() if (found := fit(post, op.out, pre.scope))]
            for post in posts:
                key = (pre.terminal.name, op.out, post.terminal.name)
                law[key] += 1 / (len(pres) * len(ops) * len(posts))
    assert sum(law.values()) == pytest.approx(1)
    rng = np.random.default_rng(3)
    drawn = Counter()
    for _ in range(30_000):
        root = space.tree(space.sample_exactly(rng, 5))
        if root.form == "routing":
            pre, post = root.terminals
            drawn[pre.name, root.children[0].out, post.name] += 1
    assert set(drawn) <= set(law)
    number = drawn.total()
    assert number > 10_000
    distance = sum(abs(drawn[key] / number - share) for key, share in law.items()) / 2
    by_chance = sum(math.sqrt(share / (2 * math.pi * number)) for share in law.values())
    assert distance < 1.1 * by_chance


def test_memory_is_bounded_and_draws_do_not_depend_on_it(monkeypatch):
    wide = spaces.load("einspace")
    monkeypatch.setattr(reach, "MOST", 20)
    narrow = spaces.load("einspace")
    draws = [
        [space.sample_exactly(np.random.default_rng(k), 40) for k in range(100)] for space in (wide, narrow)
    ]
    assert draws[0] == draws[1]
    assert all(held == 20 < found for held, found in narrow.memory.values())


def test_impossible_limits_are_refused():
    for limits, message in [
        (
            {"nodes": 4},
            "space 'einspace': nodes = 4, but it must be an integer of at least 5 at input (3, 32, 32)",
        ),
        (
            {"nodes": None},
            "space 'einspace': nodes = None, but it must be an integer of at least 5 at input (3, 32, 32)",
        ),
        ({"nodes": 1001}, "space 'einspace': nodes = 1001, but the most is 1000"),
        (
            {"parameters": 39},
            "space 'einspace': parameters = 39, but it must be an integer of at least 40 at input (3, 32, 32)",
        ),
        (
            {"flops": 59},
            "space 'einspace': flops = 59, but it must be an integer of at least 60 at input (3, 32, 32)",
        ),
        (
            {"activations": 6143},
            "space 'einspace': activations = 6143, but it must be an integer of at least 6,144 at input (3, 32, 32)",
        ),
        (
            {"operators": True},
            "space 'einspace': operators = True, but it must be an integer of at least 2 at input (3, 32, 32)",
        ),
        (
            {"node": 9},
            "space 'einspace' has no limit 'node', did you mean 'nodes'? allowed: nodes, parameters, flops, activations, operators, weights",
        ),
    ]:
        with pytest.raises(InvalidSpace) as error:
            spaces.load("einspace", **limits)
        assert str(error.value) == message
    space = spaces.load("einspace", nodes=30)
    for call, message in [
        (
            lambda rng: space.sample(rng, size=4),
            "space 'einspace': no genome has at most 4 nodes; the smallest have 5",
        ),
        (
            lambda rng: space.sample_exactly(rng, 9),
            "space 'einspace': no genome has 9 nodes; allowed: 5, 7, 8 and 10 to 30",
        ),
        (
            lambda rng: space.sample_exactly(rng, 31),
            "space 'einspace': no genome has 31 nodes; allowed: 5, 7, 8 and 10 to 30",
        ),
        (
            lambda rng: spaces.load("einspace", spaces.tokens()),
            "space 'einspace' reads images or vectors, but it was given TokenIO(vocab=256, width=128)",
        ),
    ]:
        with pytest.raises(InvalidSpace) as error:
            call(np.random.default_rng(0))
        assert str(error.value) == message


def test_features_are_channels_or_the_last_axis():
    assert [features(shape) for shape in ((3, 8, 9), (20, 5), (7,))] == [3, 5, 7]
