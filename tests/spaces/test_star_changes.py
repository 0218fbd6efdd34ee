"""Repair, draws and changes of STAR's genomes."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spaces
from spaces.catalog.star import POOL
from spaces.catalog.star.pool import DIGITS
from tests.spaces.helpers import draws, refusal

SPACE = spaces.load("star")
FOUR = spaces.load("star", layers=4)
DEEP = spaces.load("star", layers=12, min_layers=2, levels="featurizers")


NUMBERS_ = st.lists(st.integers(-50, 50), min_size=5, max_size=60).map(
    lambda given: given[: len(given) // 5 * 5]
)


@given(NUMBERS_)
@settings(max_examples=300, deadline=None)
def test_repair_gives_a_valid_genome_and_is_idempotent(numbers):
    space = spaces.load("star", layers=12, min_layers=1)
    genome = space.repair(numbers)
    space.check(genome)
    assert len(space.numbers(genome)) == len(numbers)
    assert space.repair(space.numbers(genome)) == genome


@pytest.mark.parametrize("space", [SPACE, DEEP], ids=["backbone", "featurizers"])
def test_repair_changes_nothing_valid(space):
    for genome in draws(space, 300):
        defined = {number: own.text for number, own in genome.tree.defined.items()}
        assert space.repair(space.numbers(genome), defined) == genome


def test_repair_keeps_what_most_of_a_group_have():
    rows = "11212-21212-21213-21312"
    repaired = FOUR.repair([DIGITS.index(digit) for digit in rows if digit != "-"])
    assert repaired.text == "11111-21212-21212-21212"
    assert FOUR.repair([18, 5, 4, 5, 5] * 4).text == "-".join(["11111"] * 4)


def test_repair_replaces_classes_that_cannot_be():
    space = spaces.load("star", spaces.tokens(32, 6), layers=1)
    assert space.repair([3, 1, 1, 1, 1]).text == "51111"


def test_what_cannot_be_repaired_is_refused():
    assert refusal(FOUR.repair, [1, 2, 3]) == "there are 3 numbers, but a backbone has five for each LIV"
    assert refusal(FOUR.repair, [1.5] * 20) == "1.5 is not a whole number, as all of a genome are"
    assert (
        refusal(FOUR.repair, [1] * 10)
        == "the backbone has 2 LIVs, but must have 4, as option 'layers' of the space says"
    )


@pytest.mark.parametrize("space", [SPACE, DEEP], ids=["backbone", "featurizers"])
def test_every_mutation_is_made_and_valid(space):
    rng = np.random.default_rng(1)
    made = Counter()
    for genome in draws(space, 200):
        for name, mutation in space.mutations.items():
            changed = mutation(genome, rng)
            if changed is not None:
                space.check(changed)
                made[name] += changed.digest != genome.digest
    assert set(made) == set(space.mutations)
    assert min(made.values()) > 20


def test_crossover_takes_numbers_between_two_points():
    rng = np.random.default_rng(2)
    one, other = FOUR.parse("11111-11111-11111-11111"), FOUR.parse("92121-92121-92121-92121")
    for _ in range(50):
        child = FOUR.crossover(one, other, rng)
        flags = [mine != theirs for mine, theirs in zip(FOUR.numbers(child), FOUR.numbers(one), strict=True)]
        runs = [key for key, _ in itertools.groupby(flags[::5])]
        assert runs.count(True) == 1


def test_crossover_brings_definitions_along():
    space = spaces.load("star", layers=4, levels="operators")
    one, other = (
        space.parse("11111-11111-11111-11111 | 1=22123"),
        space.parse("11111-51111-51111-51111 | 1=12112 5=13111"),
    )
    children = {space.crossover(one, other, np.random.default_rng(seed)).text for seed in range(30)}
    assert any("5=13111" in text for text in children)
    assert all("1=22123" in text for text in children if "11111" in text)


def test_draws_use_everything():
    layers = [layer for genome in draws(SPACE, 500) for layer in genome.tree.layers]
    assert {layer.taken for layer in layers} >= {"", "B", "V", "BV", "ABV", "BKV"}
    genomes = draws(SPACE, 500)
    assert {row[0] for genome in genomes for row in genome.tree.rows} == set(POOL)
    lengths = Counter(len(genome.tree.rows) for genome in draws(DEEP, 1100))
    assert set(lengths) == set(range(2, 13))
    assert min(lengths.values()) > 60


def test_a_draw_of_a_size():
    rng = np.random.default_rng(0)
    assert max(len(DEEP.sample(rng, size=4).tree.rows) for _ in range(100)) == 4
    assert refusal(SPACE.sample, rng, size=4) == "space 'star': all genomes have at least 8 LIVs, more than 4"


def test_mutations_have_an_effect():
    space = spaces.load("star")
    rng = np.random.default_rng(8)
    for _ in range(200):
        genome = space.sample(rng)
        for mutation in space.mutations.values():
            assert mutation(genome, rng).digest != genome.digest
