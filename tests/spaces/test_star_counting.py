import itertools

import numpy as np
import pytest

import spaces
from spaces import InvalidGenome
from spaces.catalog.star import POOL, backbone
from spaces.catalog.star.backbone import FIELDS, GROUPS
from spaces.catalog.star.counting import count


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
