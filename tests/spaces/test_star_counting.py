import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spaces
from spaces import InvalidGenome, InvalidSpace
from spaces.catalog.star import POOL, backbone
from spaces.catalog.star.backbone import FIELDS, GROUPS
from spaces.catalog.star.counting import Ranks, count


def counted(depth, meanings, groups, strategies):
    """The same by trying every backbone."""
    one = list(
        itertools.product(
            range(1, len(meanings) + 1),
            range(1, groups + 1),
            range(1, strategies[0] + 2),
            range(1, groups + 1),
            range(1, strategies[1] + 2),
        )
    )
    total = 0
    for rows in itertools.product(one, repeat=depth):
        try:
            backbone.check(rows)
        except InvalidGenome:
            continue
        total += np.prod([meanings[number - 1] for number in {row[0] for row in rows}], dtype=int)
    return total


@pytest.mark.parametrize(
    "depth, meanings, groups, strategies",
    [
        (1, [1, 1, 1], 2, (2, 3)),
        (2, [1, 1], 2, (2, 3)),
        (2, [3, 1, 0], 2, (1, 2)),
        (3, [2, 1], 1, (1, 2)),
        (3, [1, 1], 2, (1, 1)),
        (4, [2], 1, (2, 1)),
    ],
)
def test_the_count_is_that_of_trying_all(depth, meanings, groups, strategies):
    assert count([depth], meanings, groups, strategies) == counted(depth, meanings, groups, strategies)


def test_sizes():
    assert spaces.load("star", layers=1).size == len(POOL) * np.prod([*FIELDS.values()][1:])
    assert GROUPS == 4
    assert spaces.load("star").size == 18305033823984703289948352
    one, two = (spaces.load("star", layers=layers).size for layers in (1, 2))
    assert spaces.load("star", layers=2, min_layers=1).size == one + two
    narrow = spaces.load("star", spaces.tokens(32, 6), layers=1)
    assert narrow.size == (len(POOL) - len(narrow.unavailable)) * 192


def test_ranks_number_all_backbones_in_the_order_of_their_digits():
    meanings = {1: 2, 2: 1, 3: 0}
    ranks = Ranks([1, 2], meanings, 1, (1, 2))
    assert ranks.total == sum(counted(depth, [2, 1, 0], 1, (1, 2)) for depth in (1, 2))
    every = [ranks.unrank(rank) for rank in range(ranks.total)]
    assert every == sorted(every, key=lambda one: (len(one[0]), one[0], list(one[1].values())[::-1]))
    assert len({(rows, *sorted(numbers.items())) for rows, numbers in every}) == ranks.total
    for rank, (rows, numbers) in enumerate(every):
        backbone.check(rows)
        assert ranks.rank(rows, numbers) == rank


@pytest.mark.parametrize(
    "options", [{"layers": 6}, {"layers": 3, "min_layers": 1, "levels": "featurizers"}], ids=["pool", "own"]
)
def test_ranks_and_genomes_match_one_to_one(options):
    space = spaces.load("star", spaces.tokens(32, 6), **options)
    assert space._ranks.total == space.size

    @settings(max_examples=15, deadline=None)
    @given(st.integers(0, space.size - 1))
    def match(rank):
        genome = space.unrank(rank)
        space.check(genome)
        assert space.rank(genome) == space.rank(space.parse(genome.text)) == rank

    match()
    rng = np.random.default_rng(0)
    for genome in [space.sample(rng) for _ in range(15)]:
        assert space.unrank(space.rank(genome)) == genome
    for rank in (-1, space.size):
        with pytest.raises(InvalidGenome, match=f"rank {rank} is not from 0 to {space.size - 1}"):
            space.unrank(rank)


def test_uniform_draws_are_different_and_even_and_meet_the_limits():
    space = spaces.load("star", layers=2)
    rng = np.random.default_rng(1)
    ranks = [space.rank(genome) for genome in space.sample_uniform(rng, 300)]
    assert len(set(ranks)) == 300
    quarters = np.bincount([4 * rank // space.size for rank in ranks], minlength=4)
    assert np.abs(quarters - 75).max() < 25  # 3.3 standard deviations
    one = spaces.load("star", layers=1)
    with pytest.raises(InvalidSpace, match=f"has {one.size} genomes, so {one.size + 1} different"):
        one.sample_uniform(rng, one.size + 1)
    limited = spaces.load("star", layers=2, parameters=200_000)
    for genome in limited.sample_uniform(rng, 30):
        limited.check(genome)
    assert limited.rejected["sample_uniform"] > 0


def test_a_genome_that_fits_only_by_sharing_is_drawn():
    free = spaces.load("star", layers=2)
    limit = free.cost(free.parse("11211-11211")).parameters
    assert free.cost(free.parse("11111-11111")).parameters > limit
    space = spaces.load("star", layers=2, parameters=limit)
    rng = np.random.default_rng(0)
    drawn = [space.sample(rng) for _ in range(1000)]
    for genome in drawn[:200]:
        space.check(genome)
    unshared = ["-".join(f"{liv[0]}1111" for liv in genome.text.split("-")) for genome in drawn]
    assert any(free.cost(free.parse(text)).parameters > limit for text in unshared)
