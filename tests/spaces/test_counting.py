import itertools

import spaces
from spaces import Grammar, child, choice, many, real


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


def test_count_equals_the_enumeration():
    space = spaces.GrammarSpace(grammar(), spaces.tokens(16, 8))
    mixers = ["swiglu(mult=1)", "swiglu(mult=2)", "gated_conv(kernel=2)"]
    texts = [
        f"stack(layers=[{', '.join(f'residual(body={m})' for m in layers)}], repeat={repeat})"
        for length in (1, 2)
        for layers in itertools.product(mixers, repeat=length)
        for repeat in (1, 2)
    ]
    for text in texts:
        space.parse(text)
    assert space.size == len(set(texts)) == 24


def test_count_obeys_the_limit_of_nodes():
    assert spaces.GrammarSpace(grammar(), spaces.tokens(16, 8), nodes=3).size == 6
    assert spaces.GrammarSpace(grammar(), spaces.tokens(16, 8), nodes=4).size == 6


def test_numbers_make_a_space_infinite():
    scaled = grammar()

    @scaled.production("mixer", cost=lambda at, context: spaces.blocks.costs.Cost(0, 0, 0, 0))
    def scale(by=real(0.1, 1.0)): ...

    assert spaces.GrammarSpace(scaled, spaces.tokens(16, 8)).size is None


def test_every_genome_is_reached():
    import numpy as np

    space = spaces.GrammarSpace(grammar(), spaces.tokens(16, 8))
    rng = np.random.default_rng(0)
    assert len({space.sample(rng).text for _ in range(1000)}) == 24
