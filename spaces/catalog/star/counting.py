"""How many backbones there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import comb


def count(depths: Iterable[int], meanings: Sequence[int], groups: int, strategies: Sequence[int]) -> int:
    """The number of texts of valid backbones.

    Every group is of one class and strategy, or has no members. So a backbone is counted by summing over what each
    group is of: given that, the LIVs are independent of each other, and a class offers (groups + those bound to it)
    choices for each kind of sharing. What binds groups that then have no member is left out again by inclusion and
    exclusion: over a group, sum of N(bound to t) - (number of t - 1) N(bound to nothing); over a class of m meanings,
    m N(it may occur) - (m - 1) N(it does not occur).

    Args:
        depths: how many LIVs a backbone may have.
        meanings: for each class, how many definitions it may have, that of the pool included.
        groups: of each kind of sharing.
        strategies: for each of the two kinds of sharing, how many there are beside none.
    """
    # By how many groups of each kind are bound, and how many choices a LIV has: the signed number of ways.
    ways: dict[tuple[int, int, int], int] = {(0, 0, 0): 1}
    for number in meanings:
        following: dict[tuple[int, int, int], int] = {}
        for (first, second, choices), sign in ways.items():
            for f in range(groups - first + 1):
                for s in range(groups - second + 1):
                    bound = comb(groups - first, f) * strategies[0] ** f
                    bound *= sign * comb(groups - second, s) * strategies[1] ** s
                    offered = choices + (groups + f) * (groups + s)
                    for total, factor in ((offered, number), (choices, 1 - number)):
                        if factor:
                            key = (first + f, second + s, total)
                            following[key] = following.get(key, 0) + bound * factor
        ways = following
    unbound = [1 - len(meanings) * number for number in strategies]
    numbers = list(depths)
    return sum(
        sign
        * unbound[0] ** (groups - first)
        * unbound[1] ** (groups - second)
        * sum(choices**depth for depth in numbers)
        for (first, second, choices), sign in ways.items()
    )
