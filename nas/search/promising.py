"""The genome that promises most, sought by evolution over the space: what it promises costs next to nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from spaces import Genome, NoNeighbour, Space

EVERYTHING = 2_048
"""Spaces of at most so many genomes are looked at whole."""

NEAREST, NEIGHBOURS, CROSSINGS = 3, 40, 32
"""Near: so many of the best have so many mutations each, and crossings."""

DRAWS, PARENTS, CHILDREN, PAIRS = 64, 10, 6, 16
"""Else: random genomes; parents, the best measured, with so many mutations each; crossings of these."""

ROUNDS, CLIMBERS, STEPS = 2, 8, 10
"""Rounds in which so many of the most promising have so many mutations each."""


def most_promising(
    space: Space,
    best: Sequence[Genome],
    near: bool,
    promise: Callable[[Sequence[Genome]], np.ndarray],
    taken: set[str],
    rng: np.random.Generator,
) -> Genome | None:
    """The genome that promises most among those that are looked at; None where all networks are taken.

    Args:
        best: genomes that were measured, the best first.
        near: whether only neighbours of the very best are looked at.
        promise: of genomes, more is better, [n].
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
    elif near:
        parents = best[:NEAREST]
        look_at([*_mutations(space, parents, NEIGHBOURS, rng), *_crossings(space, parents, CROSSINGS, rng)])
    else:
        parents = best[:PARENTS]
        look_at(
            [
                *(space.sample(rng) for _ in range(DRAWS)),
                *_mutations(space, parents, CHILDREN, rng),
                *_crossings(space, parents, PAIRS, rng),
            ]
        )
        for _ in range(ROUNDS):
            leading = sorted(pool.values(), key=lambda item: -item[0])[:CLIMBERS]
            if not look_at(_mutations(space, [genome for _, genome in leading], STEPS, rng)):
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
