"""How often each form stands in trees of given sizes, by the law and in trees that were drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from spaces.flow.sizes import CHAIN, LEAF, ROUTE, TIED, TWO, Sizes
from spaces.flow.tree import Node

NAMES = {LEAF: "computation", CHAIN: "sequential", ROUTE: "routing", TIED: "tied", TWO: "two"}


def forms(node: Node, counts: Counter[str]) -> None:
    form = node.form
    if form == "branching":
        form = "two" if len(node.children) == 2 else "tied"
    counts[form] += 1
    for child in node.children:
        forms(child, counts)


def expected(sizes: Sizes, n: int, memo: dict[int, Counter[str]]) -> Counter[str]:
    """How many of each form a tree of n nodes has on average."""
    if n not in memo:
        law = np.diff(sizes.law(n), prepend=0.0)
        total: Counter[str] = Counter()
        for place, weight in enumerate((law / law.sum()).tolist()):
            if weight:
                form, a, b = sizes.option(n, place)
                total[NAMES[form]] += weight
                for child in (a, b):
                    if child:
                        for name, number in expected(sizes, child, memo).items():
                            total[name] += weight * number
        memo[n] = total
    return memo[n]


def shares(sizes: Sizes, roots: Iterable[Node]) -> dict[str, tuple[float, float]]:
    """The share of each form in trees, and by the law given their sizes."""
    memo: dict[int, Counter[str]] = {}
    found: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    for root in roots:
        forms(root, found)
        wanted.update(expected(sizes, root.size, memo))
    return {name: (found[name] / found.total(), wanted[name] / wanted.total()) for name in wanted}
