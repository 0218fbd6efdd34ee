"""Genomes of the hybrid space drawn, mutated, crossed, digested, parsed, turned into graphs, ranked and coded, a second
on one core; those of STAR, too, but for ranks and codes, which it has none of.

    python tests/speed/genomes.py

Genomes of 25 to 35 nodes, each operation timed alone with the garbage collector on; digests and graphs of
trees that were never asked for theirs. The peer is PyGlove 0.4 or later where it is installed: symbolic trees of the same
shape, built and hashed.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import spaces

NUMBER = 2000


def rate(function: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> tuple[float, float]:
    """Calls a second, and the 99th percentile of a call in milliseconds."""
    times = []
    for each in arguments:
        began = time.perf_counter()
        function(*each)
        times.append(time.perf_counter() - began)
    return len(times) / sum(times), 1e3 * float(np.percentile(times, 99))


def main() -> None:
    space = spaces.load("hybrid")
    rng = np.random.default_rng(0)
    drawn: list[Any] = []
    seconds: list[float] = []
    while len(drawn) < NUMBER:
        began = time.perf_counter()
        genome = space.sample(rng)
        took = time.perf_counter() - began
        if 25 <= genome.text.count("(") <= 35:
            drawn.append(genome)
            seconds.append(took)
    rows = {"sample": (NUMBER / sum(seconds), 1e3 * float(np.percentile(seconds, 99)))}
    for genome in drawn:
        genome.digest  # noqa: B018 - known in a search, where every parent was proposed before
    rows["mutate"] = rate(space.mutate, ((genome, rng) for genome in drawn))
    rows["crossover"] = rate(space.crossover, ((a, b, rng) for a, b in itertools.pairwise(drawn)))
    rows["digest"] = rate(lambda genome: genome.digest, [(space.parse(genome.text),) for genome in drawn])
    rows["graph"] = rate(space.graph, [(space.parse(genome.text),) for genome in drawn])
    rows["parse"] = rate(space.parse, [(genome.text,) for genome in drawn])
    rows["cost"] = rate(space.cost, [(genome,) for genome in drawn])
    ranks = [(space.rank(genome),) for genome in drawn]
    rows["rank"] = rate(space.rank, [(genome,) for genome in drawn])
    rows["unrank"] = rate(space.unrank, ranks)
    points = [(space.encode(genome),) for genome in drawn]
    rows["encode"] = rate(space.encode, [(genome,) for genome in drawn])
    rows["decode"] = rate(space.decode, points)
    print(f"{NUMBER} genomes of 25 to 35 nodes, mean {np.mean([g.text.count('(') for g in drawn]):.1f}")
    for name, (calls, slow) in rows.items():
        print(f"{name:10} {calls:9,.0f} a second   p99 {slow:.2f} ms")
    redrawn = sum(space.redrawn.values())
    print(f"mutations drawn again because they changed nothing: {redrawn} of {NUMBER}")
    peer(drawn[:200], rows["parse"][0])
    star()


def star() -> None:
    """Backbones of eight LIVs."""
    space = spaces.load("star")
    rng = np.random.default_rng(0)
    drawn = [space.sample(rng) for _ in range(NUMBER)]
    rows = {"sample": rate(space.sample, ((rng,) for _ in range(NUMBER)))}
    rows["digest"] = rate(lambda genome: genome.digest, [(space.parse(genome.text),) for genome in drawn])
    for genome in drawn:
        genome.digest  # noqa: B018 - known in a search, where every parent was proposed before
    rows["mutate"] = rate(space.mutate, ((genome, rng) for genome in drawn))
    rows["crossover"] = rate(space.crossover, ((a, b, rng) for a, b in itertools.pairwise(drawn)))
    rows["graph"] = rate(space.graph, [(genome,) for genome in drawn])
    rows["parse"] = rate(space.parse, [(genome.text,) for genome in drawn])
    rows["cost"] = rate(space.cost, [(genome,) for genome in drawn])
    print(f"{NUMBER} backbones of STAR")
    for name, (calls, slow) in rows.items():
        print(f"{name:10} {calls:9,.0f} a second   p99 {slow:.2f} ms")
    print(f"mutations drawn again because they changed nothing: {sum(space.redrawn.values())} of {NUMBER}")


def peer(genomes: list[Any], parsed: float) -> None:
    try:
        import pyglove
    except ImportError:
        print("pyglove is not installed: no peer")
        return

    @pyglove.members(
        [
            ("values", pyglove.typing.List(pyglove.typing.Any())),
            ("children", pyglove.typing.List(pyglove.typing.Any())),
        ]
    )
    class Node(pyglove.Object):
        pass

    def build(node: Any) -> Node:
        children = [build(child) for group in node.children for child in group]
        return Node(values=list(node.values), children=children)

    built, _ = rate(lambda genome: build(genome.tree), [(genome,) for genome in genomes])
    print(
        f"pyglove    {built:9,.0f} trees of the same shape built a second, {built / parsed:.3f} of parsing ours"
    )


if __name__ == "__main__":
    main()
