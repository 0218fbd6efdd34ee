import math

import numpy as np
import pytest

import spaces
from spaces import Grammar, NoNeighbour, real
from spaces.mutations import alternatives, nearby
from tests.spaces.grammars import FREE


def test_numbers_stay_within_their_bounds_and_near():
    grammar = Grammar("numbers", start="model")

    @grammar.production("model", **FREE)
    def scale(by=real(0.1, 10.0, log=True), shift=real(-1, 1)): ...

    space = spaces.GrammarSpace(grammar, spaces.tokens())
    rng = np.random.default_rng(0)
    drawn = [space.tree(space.sample(rng)).reals for _ in range(2000)]
    logs = np.log10([by for by, _ in drawn])
    assert abs(logs.mean()) < 0.06
    assert logs.min() < -0.95
    assert logs.max() > 0.95
    rule = grammar.productions["scale"].reals["by"]
    steps = [nearby(rule, 9.0, rng) for _ in range(2000)]
    assert 0.1 <= min(steps) <= max(steps) <= 10.0
    assert np.std(np.log(steps)) < 0.3 * math.log(100)


def test_ordered_choices_move_to_their_neighbours():
    space = spaces.load("hybrid")
    tree = space.tree(space.parse("stack(layers=[residual(body=swiglu(mult=2))], repeat=4)"))
    body = tree.children[0][0].children[0][0]
    mults = {body.table.assignments[i] for group in alternatives(body.table, body.index, 0) for i in group}
    assert mults == {(1,), (3,)}


def test_a_choice_that_is_tied_by_a_guard_moves_the_others_along():
    space = spaces.load("hybrid", spaces.tokens(256, 64))
    genome = space.parse(
        "stack(layers=[residual(body=attention(heads=4, kv_heads=4, position=none, window=none, qk_norm=false))], repeat=1)"
    )
    rng = np.random.default_rng(0)
    texts = [space.mutations["change"](genome, rng).text for _ in range(300)]
    assert any("heads=2, kv_heads=2" in text or "heads=2, kv_heads=1" in text for text in texts)


def test_each_mutation_does_what_it_says():
    space = spaces.load("hybrid")
    rng = np.random.default_rng(0)
    layers = ["residual(body=swiglu(mult=2))", "residual(body=gated_conv(kernel=3))"]
    genome = space.parse(f"stack(layers=[{', '.join(layers)}], repeat=1)")
    swapped = f"stack(layers=[{', '.join(reversed(layers))}], repeat=1)"
    assert {space.mutations["swap"](genome, rng).text for _ in range(10)} == {swapped}
    assert {space.mutations["delete"](genome, rng).text for _ in range(30)} == {
        f"stack(layers=[{layer}], repeat=1)" for layer in layers
    }
    assert {space.mutations["duplicate"](genome, rng).text for _ in range(30)} == {
        f"stack(layers=[{', '.join(three)}], repeat=1)"
        for three in ([layers[0], *layers], [*layers, layers[1]])
    }
    inserted = space.tree(space.mutations["insert"](genome, rng))
    assert len(inserted.children[0]) == 3


def test_a_space_of_one_genome_has_no_neighbours():
    grammar = Grammar("one", start="model")

    @grammar.production("model", **FREE)
    def only(): ...

    space = spaces.GrammarSpace(grammar, spaces.tokens())
    with pytest.raises(NoNeighbour, match=r"no mutation of space 'one' changes only\(\): none can be made"):
        space.mutate(space.parse("only()"), np.random.default_rng(0))


def test_crossover_brings_in_a_subtree_of_the_other():
    space = spaces.load("hybrid")
    a = space.parse("stack(layers=[residual(body=swiglu(mult=2))], repeat=1)")
    b = space.parse("stack(layers=[residual(body=gated_conv(kernel=3))], repeat=6)")
    crossed = space.crossover(a, b, np.random.default_rng(0))
    assert crossed.text == "stack(layers=[residual(body=gated_conv(kernel=3))], repeat=1)"
    assert space.crossover(a, a, np.random.default_rng(0)) is None


def test_a_root_that_is_also_a_layer_crosses_in():
    space = spaces.load("hybrid")
    b = space.parse(
        "stack(layers=[stack(layers=[residual(body=mlp(mult=1, activation=gelu))], repeat=2)], repeat=1)"
    )
    a = space.parse("stack(layers=[residual(body=swiglu(mult=2))], repeat=1)")
    texts = {space.crossover(a, b, np.random.default_rng(i)).text for i in range(40)}
    assert b.text in texts  # the whole pattern in place of the one layer
