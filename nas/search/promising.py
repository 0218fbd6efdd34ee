"""The genome that promises most, sought by evolution over the space: what it promises costs next to nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from spaces import Genome, NoNeighbour, Space

EVERYTHING = 2_048
"""Spaces of at most so many genomes are looked at whole."""

BEST = 100
"""The most genomes that were measured that are handed over, of which others come."""

Promise = Callable[[Sequence[Genome]], np.ndarray]
"""What genomes promise, more is better, [n]."""


class Effort(NamedTuple):
    """How many genomes are looked at.

    Attributes:
        draws: random ones.
        parents: of the best measured, with so many `children` by mutation each, and `crossings` of two of them.
        rounds: in which so many of the most promising, `climbers`, have so many mutations each, `steps`.
    """

    draws: int
    parents: int
    children: int
    crossings: int
    rounds: int = 0
    climbers: int = 0
    steps: int = 0


NEAR = Effort(draws=0, parents=3, children=40, crossings=32)
FAR = Effort(draws=64, parents=10, children=6, crossings=16, rounds=2, climbers=8, steps=10)
WIDE = Effort(draws=128, parents=10, children=12, crossings=32, rounds=4, climbers=8, steps=10)


def most_promising(
    space: Space,
    best: Sequence[Genome],
    effort: Effort,
    promise: Promise,
    taken: set[str],
    rng: np.random.Generator,
) -> Genome | None:
    """The genome that promises most among those that are looked at; None where all networks are taken.

    Args:
        best: genomes that were measured, the best first.
        effort: how many are looked at where the space is larger.
        taken: digests of networks that are not wanted.
    """
    pool: dict[str, tuple[float, Genome]] = {}

    def look_at(genomes: Iterable[Genome]) -> bool:
        new = {g.digest: g for g in genomes if g.digest not in taken and g.digest not in pool}
        values = promise(list(new.values())) if new else np.empty(0)
        pool.update(
            (digest, (float(value), genome))
            for (digest, genome), value in zip(new.items(), values, strict=True)
        )
        return bool(new)

    unrank, size = getattr(space, "unrank", None), getattr(space, "size", None)
    if unrank is not None and size is not None and size <= EVERYTHING:
        look_at(unrank(rank) for rank in range(size))
    else:
        parents = best[: effort.parents]
        look_at(
            [
                *(space.sample(rng) for _ in range(effort.draws)),
                *_mutations(space, parents, effort.children, rng),
                *_crossings(space, parents, effort.crossings, rng),
            ]
        )
        for _ in range(effort.rounds):
            leading = sorted(pool.values(), key=lambda item: -item[0])[: effort.climbers]
            if not look_at(_mutations(space, [genome for _, genome in leading], effort.steps, rng)):
                break
    return max(pool.values(), key=lambda item: item[0])[1] if pool else None


def _mutations(
    space: Space, parents: Sequence[Genome], number: int, rng: np.random.Generator
) -> Iterable[Genome]:
    for parent in parents:
        for _ in range(number):
            try:
                yield space.mutate(parent, rng)
            except NoNeighbour:
                break


def _crossings(
    space: Space, parents: Sequence[Genome], number: int, rng: np.random.Generator
) -> Iterable[Genome]:
    for _ in range(number if len(parents) > 1 else 0):
        a, b = rng.choice(len(parents), 2, replace=False)
        child = space.crossover(parents[a], parents[b], rng)
        if child is not None:
            yield child
