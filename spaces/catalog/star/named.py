"""Known models of the STAR space, at any depth: a pattern of classes, and what its members share."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from itertools import cycle, islice

from spaces.catalog.star.backbone import GROUPS, Row
from spaces.catalog.star.pool import NUMBERS

Versions = Callable[[int, Collection[int]], tuple[Row, ...]]
"""The LIVs of a model of a depth, without the classes that cannot be."""

GROUPED = ("SA-3", "SA-4", "SA-1")
"""Attention with the fewest key-value heads that can be."""


def _pattern(
    pattern: tuple[str | tuple[str, ...], ...],
    weights: int,
    features: int,
    depth: int,
    without: Collection[int],
) -> tuple[Row, ...]:
    """The pattern again and again; a tuple of names stands for the first that can be.

    Where they are not 1, `weights` and `features` are the strategies by which all LIVs of a class share featurizers,
    and by which attention shares features: neighbours do, in as many groups as there are for pairs.
    """
    names = [(name,) if isinstance(name, str) else name for name in pattern]
    numbers = [
        next((NUMBERS[n] for n in given if NUMBERS[n] not in without), NUMBERS[given[-1]]) for given in names
    ]
    kinds = list(islice(cycle(numbers), depth))
    order = list(dict.fromkeys(kinds))
    attention = [place for place, kind in enumerate(kinds) if kind == numbers[0]]
    groups = max(1, min(GROUPS, len(attention) // 2))
    rows = []
    for place, kind in enumerate(kinds):
        group, strategy = (1 + order.index(kind), weights) if weights != 1 else (1, 1)
        feature_group, feature_strategy = 1, 1
        if features != 1 and place in attention:
            feature_group = 1 + attention.index(place) * groups // len(attention)
            feature_strategy = features
        rows.append((kind, group, strategy, feature_group, feature_strategy))
    return tuple(rows)


PATTERNS: dict[str, Versions] = {
    "transformer++": partial(_pattern, ("SA-1", "GMemless"), 1, 1),
    "striped-mamba": partial(_pattern, ("SA-1", "GMemless", "Rec-1", "GMemless"), 1, 1),
    "gated-convolution hybrid": partial(
        _pattern,
        ("GConv-1", "GMemless", "GConv-1", "GMemless", "GConv-1", "GMemless", GROUPED, "GMemless"),
        1,
        1,
    ),
    "kv-sharing transformer": partial(_pattern, ("SA-1", "GMemless"), 1, 2),
    "kv-sharing hybrid": partial(_pattern, (GROUPED, "GMemless", "GConv-1", "GMemless"), 1, 2),
    "featurizer-sharing transformer": partial(_pattern, ("SA-1", "GMemless"), 2, 1),
}
"""Transformer++ (attention and SwiGLU in turn), the paper's baseline of attention and Mamba striped, here with its
recurrence, a hybrid after LFM2 (arXiv 2511.23404) of short convolutions and grouped-query attention, attention that
shares keys and values across layers (arXiv 2405.12981), and layers that share featurizers."""
