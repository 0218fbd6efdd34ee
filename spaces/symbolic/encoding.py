"""From a value to the DNA of a program that gives it.

PyGlove's own `encode` takes for each value the first candidate that equals it, so that it refuses what it has decoded
where candidates are equal but have to be distinct or sorted. Here the candidates of a `manyof` are matched together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyglove as pg
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

Fits = list[dict[int, pg.DNA]]
"""For each of some values, the candidates that give it, with the DNA of what is in them."""


def encode(template: pg.hyper.ObjectTemplate, value: Any) -> pg.DNA | None:
    """A DNA that the template decodes to the value; None where there is none."""
    dnas = []
    for path, primitive in template.hyper_primitives:
        try:
            part = path.query(value)
        except (KeyError, IndexError):
            return None
        dna = _number(primitive, part) if isinstance(primitive, pg.hyper.Float) else _choices(primitive, part)
        if dna is None:
            return None
        dnas.append(dna)
    dna = pg.DNA(None, dnas)
    return dna if pg.eq(template.decode(dna), value) else None


def _number(primitive: pg.hyper.Float, value: Any) -> pg.DNA | None:
    inside = isinstance(value, float) and primitive.min_value <= value <= primitive.max_value
    return pg.DNA(value) if inside else None


def _choices(primitive: pg.hyper.Choices, value: Any) -> pg.DNA | None:
    values = [value] if isinstance(primitive, pg.hyper.OneOf) else value
    if not isinstance(values, list) or len(values) != primitive.num_choices:
        return None
    fits: Fits = [
        {
            place: dna
            for place, template in enumerate(primitive.candidate_templates)
            if (dna := encode(template, part)) is not None
        }
        for part in values
    ]
    if primitive.choices_sorted:
        places = _ascending(fits, 1 if primitive.choices_distinct else 0)
    elif primitive.choices_distinct:
        places = _distinct(fits, len(primitive.candidates))
    else:
        places = [min(fit, default=-1) for fit in fits]
    if -1 in places:
        return None
    return pg.DNA(None, [pg.DNA(place, [fit[place]]) for place, fit in zip(places, fits, strict=True)])


def _ascending(fits: Fits, step: int) -> list[int]:
    """The least places in ascending order, each at least `step` after the one before; -1 where there is none."""
    places: list[int] = []
    for fit in fits:
        least = places[-1] + step if places else 0
        places.append(min((place for place in fit if place >= least), default=-1))
        if places[-1] == -1:
            break
    return places


def _distinct(fits: Fits, candidates: int) -> list[int]:
    """A different place for each value; -1 where there is none."""
    pairs = np.array([(k, place) for k, fit in enumerate(fits) for place in fit]).reshape(-1, 2)
    graph = csr_matrix((np.ones(len(pairs)), pairs.T), shape=(len(fits), candidates))
    return maximum_bipartite_matching(graph, perm_type="column").tolist()
