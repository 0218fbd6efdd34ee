"""Milliseconds that a trial costs in suggest and report, after so many trials, beside peers; and how long a replay takes.

    OMP_NUM_THREADS=1 python tests/speed/strategies.py

One trial is asked for and told after the other, on the grid of FCNet under a made-up loss, ours on the hybrid
space too, and peers on the table "fcnet/parkinsons". Times are of the process, so that neighbours on the machine do not count; the first proposal after
a replay, which fits models, is told apart. Peers only go so far as their time allows.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import benchmarks
import nas.search
import spaces
from nas.peers import PEERS
from nas.types import Ended, Event, Fidelity, InvalidInput, Objective, Proposal, Proposed, Trial
from spaces import Genome, Space
from spaces.lookup import resolve

STRATEGIES: dict[str, dict[str, Any]] = {
    "random": {},
    "evolution": {},
    "nsga2": {},
    "tree": {},
    "bayesian": {},
}
ASKED = ("optuna-tpe", "optuna-tpe-multivariate", "optuna-gp", "pyglove-evolution")


def losses(space: Space) -> Callable[[Genome], float]:
    """A loss that follows from the network alone: smooth in its features, with some noise."""
    from predictors.features import Features

    features = Features(space)
    weights = np.random.default_rng(0).standard_normal(len(features.names))

    def loss(genome: Genome) -> float:
        row = features([genome])[0]
        noise = int(genome.digest[:8], 16) / 2**32
        return float(np.tanh(weights * np.sin(row)).sum() + 0.3 * noise)

    return loss


def history(space: Space, loss: Callable[[Genome], float], number: int) -> Iterator[Event]:
    """So many different random networks, each proposed and ended."""
    rng = np.random.default_rng(1)
    seen: set[str] = set()
    while len(seen) < number:
        genome = space.sample(rng)
        if genome.digest not in seen:
            proposal = Proposal(len(seen), genome, Fidelity(1), 0, (), "random")
            seen.add(genome.digest)
            yield Proposed(proposal)
            yield Ended(Trial.done(proposal, {"loss": loss(genome)}))


def measure(
    strategy: Any, loss: Callable[[Genome], float], number: int, metric: str = "loss"
) -> tuple[float, float]:
    """Milliseconds of the first proposal, and the mean of those after it."""
    times = []
    for _ in range(number + 1):
        began = time.process_time()
        (proposal,) = strategy.ask(1)
        strategy.tell(Proposed(proposal))
        asked = time.process_time() - began
        trial = Trial.done(proposal, {metric: loss(proposal.genome)})
        began = time.process_time()
        strategy.tell(Ended(trial))
        times.append(1e3 * (asked + time.process_time() - began))
    return times[0], float(np.mean(times[1:] or times))


def ours(space: Space, sizes: list[int], repeats: int) -> None:
    loss = losses(space)
    events = list(history(space, loss, max(sizes)))
    for name, options in STRATEGIES.items():
        for size in sizes:
            objectives = [Objective("loss", "min")]
            strategy = nas.search.load(name, space=space, objectives=objectives, seed=0, **options)
            began = time.process_time()
            for event in events[: 2 * size]:
                strategy.tell(event)
            replayed = time.process_time() - began
            first, mean = measure(strategy, loss, repeats)
            print(
                f"{space.name:8} {name:24} after {size:6,}: {mean:8.2f} ms a trial, the first {first:8.1f} ms, "
                f"told again in {replayed:6.3f} s",
                flush=True,
            )


def peers(sizes: list[int], repeats: int, patience: float) -> None:
    """They keep states of their own, so they are run up to the size, as long as that takes at most so many seconds."""
    table = benchmarks.load("fcnet/parkinsons")
    for name in ASKED:
        try:
            peer = resolve(name, PEERS, "peer", InvalidInput)(table, 0)
        except InvalidInput as error:
            print(f"{table.space.name:8} {name:24} not measured: {error}")
            continue
        made, began = 0, time.monotonic()
        for size in sizes:
            while made < size and time.monotonic() - began < patience:
                measure(peer, table.query, 0, table.objective.name)
                made += 1
            if made < size:
                print(f"{table.space.name:8} {name:24} after {size:6,}: not reached in {patience:g} s")
                break
            _, mean = measure(peer, table.query, repeats, table.objective.name)
            made += repeats + 1
            print(f"{table.space.name:8} {name:24} after {size:6,}: {mean:8.2f} ms a trial", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="100,1000,10000")
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--patience", type=float, default=120.0, help="seconds for each peer")
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    ours(spaces.load("mlp"), sizes, options.repeats)
    ours(spaces.load("hybrid"), [size for size in sizes if size <= 1_000], options.repeats)
    peers(sizes, options.repeats, options.patience)


if __name__ == "__main__":
    main()
