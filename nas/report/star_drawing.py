"""Backbones of STAR as boxes: LIVs by the names of their classes, in order, equal ones folded."""

from __future__ import annotations

from nas.report.boxes import Box, column, folds, frame, operator, residual
from spaces.catalog.star.backbone import Backbone
from spaces.catalog.star.pool import DIGITS, POOL


def star(backbone: Backbone) -> Box:
    """The residual layers one below the other, each with what it takes from the layers before, which have numbers."""
    layers = [
        (_name(backbone, place), tuple(_shared(backbone, place))) for place in range(len(backbone.rows))
    ]
    boxes, place = [], 0
    for period, times in folds(layers):
        here = [
            residual([operator(name, [*([f"LIV {place + i + 1}"] if times == 1 else []), *lines])])
            for i, (name, lines) in enumerate(layers[place : place + period])
        ]
        last = place + period * times
        boxes += [frame(f"×{times}, LIVs {place + 1} to {last}", column(here))] if times > 1 else here
        place = last
    return column(boxes)


def _name(backbone: Backbone, place: int) -> str:
    """The name of a class in the pool, or how the genome defines it."""
    number = backbone.rows[place][0]
    own = backbone.defined.get(number)
    return POOL[number].name if own is None else f"{DIGITS[number]}={own.text}"


def _shared(backbone: Backbone, place: int) -> list[str]:
    """What a LIV takes from which others: features by their letters, and weights by those of what they give."""
    layer = backbone.layers[place]
    lines = [f"features {layer.taken} of LIV {layer.leader + 1}"] if layer.taken else []
    weights: dict[int, str] = {}
    for letter, owner in zip(layer.weights, layer.owners, strict=True):
        if owner != place:
            weights[owner] = weights.get(owner, "") + letter
    return lines + [f"weights {letters} of LIV {owner + 1}" for owner, letters in weights.items()]
