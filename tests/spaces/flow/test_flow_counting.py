"""Counts of trees through which shapes flow, against trying all texts."""

import itertools
import math

import numpy as np
import pytest

import spaces
from spaces import InvalidGenome, InvalidSpace

SPACE = spaces.load("einspace", spaces.image(3, 4, 4, 3))


def texts(n):
    """All texts of n nodes, whether they fit or not."""
    names = {kind: list(terminals) for kind, terminals in SPACE.grammar.terminals.items()}
    ways = {name: terminal.ways for name, terminal in SPACE.grammar.terminals["fork"].items()}
    if n == 2:
        yield from (f"computation(op={name})" for name in names["computation"])
        return
    for a in range(2, n - 2):
        for one, two in itertools.product(texts(a), texts(n - 1 - a)):
            yield f"sequential(first={one}, second={two})"
    for inner in texts(n - 3) if n > 4 else ():
        for pre, post in itertools.product(names["pre"], names["post"]):
            yield f"routing(pre={pre}, inner={inner}, post={post})"
        for fork, join in itertools.product(names["fork"], names["join"]):
            if ways[fork] > 2:
                yield f"branching(fork={fork}, branches=[{inner}], join={join})"
    for a in range(2, n - 4):
        for one, two in itertools.product(texts(a), texts(n - 3 - a)):
            for fork, join in itertools.product(names["fork"], names["join"]):
                if ways[fork] == 2:
                    yield f"branching(fork={fork}, branches=[{one}, {two}], join={join})"


def valid(text):
    try:
        SPACE.parse(text)
    except InvalidGenome:
        return False
    return True


def test_the_count_is_that_of_trying_all():
    assert SPACE.count(5) == sum(map(valid, texts(5)))
    assert SPACE.count(7) == sum(map(valid, texts(7)))
    assert [SPACE.count(n) for n in (2, 4, 6, 9, 513)] == [0] * 5


@pytest.mark.parametrize("nodes", [5, 7, 8, 10])
def test_estimates_are_within_their_errors(nodes):
    log10, error = SPACE.estimate(nodes, np.random.default_rng(1))
    assert error < 0.1
    assert 10 ** (log10 - math.log10(SPACE.count(nodes))) == pytest.approx(1, abs=4 * error)


def test_what_cannot_be_counted(monkeypatch):
    monkeypatch.setattr("spaces.flow.counting.MOST", 100)
    with pytest.raises(InvalidSpace, match="more than 100 shapes are reached, too many to count exactly"):
        spaces.load("einspace").count(10)
    with pytest.raises(InvalidSpace, match="no genome has 9 nodes; allowed: 5, 7, 8 and 10 to 512"):
        SPACE.estimate(9, np.random.default_rng(0))
