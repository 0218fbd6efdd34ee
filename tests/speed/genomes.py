"""Genomes drawn, mutated, digested and turned into graphs in four spaces, a second on one core, beside PyGlove.

    python tests/speed/genomes.py

Times are those of the processor, so that other programs do not count, each call alone and with the garbage collector
on; digests and graphs are of trees that were never asked for theirs. Sizes are nodes of the derivation: 25 to 35 in
the hybrid space, 10 to 60 in einspace. The peer, where it is installed, draws, mutates and hashes NAS-Bench-201's cell
and builds trees of the shape of hybrid genomes, which is to be compared with parsing them.
"""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import spaces

NUMBER = 5000
FEW = 50
"""Genomes of the peer, which is slower."""
SIZES = {"hybrid": (25, 35), "einspace": (10, 60)}
"""Nodes of the genomes that count; of the other spaces, all do."""
COLUMNS = ("draws", "p50 ms", "p99 ms", "worst ms", "mutations", "digests", "graphs")


def seconds(function: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> np.ndarray:
    """How long each call took."""
    times = []
    for each in arguments:
        began = time.process_time()
        function(*each)
        times.append(time.process_time() - began)
    return np.array(times)


def rate(function: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> float:
    """Calls a second."""
    return 1 / float(seconds(function, arguments).mean())


def nodes(space: Any, genome: Any) -> int:
    return space.tree(genome).size if space.name == "einspace" else genome.text.count("(")


def draws(space: Any, rng: np.random.Generator) -> tuple[list[Any], np.ndarray]:
    """Genomes of the sizes that count, and how long each took."""
    least, most = SIZES.get(space.name, (0, None))
    drawn: list[Any] = []
    times = []
    while len(drawn) < NUMBER:
        began = time.process_time()
        genome = space.sample(rng, size=60) if space.name == "einspace" else space.sample(rng)
        took = time.process_time() - began
        if most is None or least <= nodes(space, genome) <= most:
            drawn.append(genome)
            times.append(took)
    return drawn, np.array(times)


def row(space: Any, rng: np.random.Generator) -> tuple[list[Any], list[float]]:
    """The genomes drawn and the numbers of `COLUMNS`; what was there before is none of the garbage collector's work."""
    gc.collect()
    gc.freeze()
    drawn, times = draws(space, rng)
    for genome in drawn:
        genome.digest  # noqa: B018 - known in a search, where every parent was proposed before
    return drawn, [
        1 / times.mean(),
        *(1e3 * np.percentile(times, (50, 99, 100))),
        rate(space.mutate, ((genome, rng) for genome in drawn)),
        rate(lambda genome: genome.digest, [(space.parse(genome.text),) for genome in drawn]),
        rate(space.graph, [(space.parse(genome.text),) for genome in drawn]),
    ]


def written(numbers: list[float]) -> str:
    return "".join([f"{number:>11,.{2 if number < 100 else 0}f}" for number in numbers])


def main() -> None:
    rng = np.random.default_rng(0)
    print(f"{NUMBER:,} genomes\n{'':14}" + "".join([f"{name:>11}" for name in COLUMNS]))
    drawn = {}
    for name in ("hybrid", "einspace", "star", "nasbench201"):
        space = spaces.load(name)
        drawn[name], numbers = row(space, rng)
        print(f"{name:14}{written(numbers)}")
        if name == "nasbench201":
            peer_of_cells(numbers)
    within_limits(rng)
    rest_of_hybrid(drawn["hybrid"], rng)
    for name in ("einspace", "star"):
        points(name, drawn[name][: 10 * FEW])
    growth(rng)


def within_limits(rng: np.random.Generator) -> None:
    """Draws where limits leave less than half of what a draw takes without them."""
    for name, limits in (
        ("hybrid", {"parameters": 1_000_000}),
        ("star", {"state_bytes": 300_000}),
        ("star", {"state_bytes": 300_000, "parameters": 500_000}),
    ):
        space = spaces.load(name, **limits)
        drawn = rate(space.sample, [(rng,)] * NUMBER)
        told = ", ".join([f"{key} <= {value:,}" for key, value in limits.items()])
        print(f"{name:14}{drawn:>11,.0f} draws, {told}")


def rest_of_hybrid(drawn: list[Any], rng: np.random.Generator) -> None:
    """What only spaces of plain grammars have."""
    space = spaces.load("hybrid")
    points = [(space.encode(genome),) for genome in drawn]
    ranks = [(space.rank(genome),) for genome in drawn]
    alone = [(genome,) for genome in drawn]
    rates = {
        "crossover": rate(space.crossover, ((a, b, rng) for a, b in itertools.pairwise(drawn))),
        "parse": rate(space.parse, [(genome.text,) for genome in drawn]),
        "cost": rate(space.cost, alone),
        "rank": rate(space.rank, alone),
        "unrank": rate(space.unrank, ranks),
        "encode": rate(space.encode, alone),
        "decode": rate(space.decode, points),
    }
    print("hybrid: " + ", ".join([f"{name} {number:,.0f}" for name, number in rates.items()]))
    peer_of_trees(drawn[:FEW], rates["parse"])


def points(name: str, genomes: list[Any]) -> None:
    """Genomes to points of the cube and back."""
    space = spaces.load(name)
    cube = [(space.encode(genome),) for genome in genomes]
    encoded = rate(space.encode, [(genome,) for genome in genomes])
    print(f"{name}: encode {encoded:,.0f}, decode {rate(space.decode, cube):,.0f}")


def growth(rng: np.random.Generator) -> None:
    """Mutations of einspace's known networks, and of draws by their size."""
    space = spaces.load("einspace")
    for name in space.named:
        genome = space.architecture(name)
        genome.digest  # noqa: B018
        print(
            f"einspace {name:9} {nodes(space, genome):4} nodes: {rate(space.mutate, [(genome, rng)] * 500):6,.0f} mutations"
        )
    space = spaces.load("einspace", parameters=None, activations=None, operators=None)
    for size in (25, 50, 100, 200, 400):
        genomes = [space.sample_exactly(rng, size) for _ in range(200)]
        for genome in genomes:
            genome.digest  # noqa: B018
        took = 1e6 * float(seconds(space.mutate, [(genome, rng) for genome in genomes * 3]).mean())
        print(f"einspace {size} nodes: {took:,.0f} us a mutation, {took / size:.1f} a node")


def pyglove() -> Any:
    try:
        import pyglove
    except ImportError:
        print("pyglove is not installed: no peer")
        return None
    return pyglove


def peer_of_cells(ours: list[float]) -> None:
    """The cell of NAS-Bench-201 as six choices among five."""
    pg = pyglove()
    if pg is None:
        return
    cell = pg.Dict({f"edge{place}": pg.oneof(list(range(5))) for place in range(6)})
    template = pg.template(cell)
    spec, mutate = pg.dna_spec(cell), pg.evolution.mutators.Uniform(seed=0)
    drawn = rate(pg.random_dna, [(spec,)] * FEW)
    genomes = [pg.random_dna(spec) for _ in range(FEW)]
    decoded = rate(template.decode, [(dna,) for dna in genomes])
    mutated = rate(mutate.mutate, [(dna,) for dna in genomes])
    hashed = rate(pg.hash, [(template.decode(dna),) for dna in genomes])
    print(
        f"pyglove       cells drawn {drawn:,.0f} (ours {ours[0] / drawn:.0f} times that), decoded {decoded:,.0f}, "
        f"mutated {mutated:,.0f} ({ours[4] / mutated:.0f}), hashed {hashed:,.0f} ({ours[5] / hashed:.0f})"
    )


def peer_of_trees(genomes: list[Any], parsed: float) -> None:
    pg = pyglove()
    if pg is None:
        return

    @pg.members(
        [
            ("values", pg.typing.List(pg.typing.Any())),
            ("children", pg.typing.List(pg.typing.Any())),
        ]
    )
    class Node(pg.Object):
        pass

    def build(node: Any) -> Node:
        children = [build(child) for group in node.children for child in group]
        return Node(values=list(node.values), children=children)

    built = rate(lambda genome: build(genome.tree), [(genome,) for genome in genomes])
    print(f"pyglove: {built:,.0f} trees of hybrid's shapes built; ours {parsed / built:.0f} times that")


if __name__ == "__main__":
    main()
