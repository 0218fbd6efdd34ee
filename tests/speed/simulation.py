"""What a campaign on many simulated workers takes: a million trials on ten thousand, wall time and memory.

The table is made up: 2,097,152 rows of a smooth loss with noise, as no published one has a million genomes to propose.
Each strategy runs in a process of its own, so that the memory is its own.
"""

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import Description, Metric, Table
from nas.cluster.simulated import Conditions
from nas.compare import Contestant, simulate
from nas.types import Objective
from spaces import ProductSpace, choice

FIELDS = 7
VALUES = 8


def grid(io):
    fields = {f"x{k}": choice(*range(VALUES), ordered=True) for k in range(FIELDS)}
    return ProductSpace("grid", fields, io)


def write(path):
    rng = np.random.default_rng(0)
    places_RF = np.stack(np.unravel_index(np.arange(VALUES**FIELDS), [VALUES] * FIELDS), axis=1)
    loss = ((places_RF - rng.uniform(0, VALUES, FIELDS)) ** 2).sum(axis=1) + rng.exponential(
        1, len(places_RF)
    )
    hours = rng.lognormal(0, 0.5, len(places_RF))
    metrics = (Metric("loss", "min", "", split="valid"), Metric("train_time", "min", "seconds"))
    description = Description(
        "made-up/grid", "", "simulation:grid", {"vector": {"features": 1}}, "loss", metrics
    )
    Table.write(path, description, {"loss": loss, "train_time": 3600 * hours})


def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(path, name, trials, workers, conditions, answer):
    table = Table(path)
    strategy = Contestant.parse(name).make(table, 0)
    table.losses()
    before, started = memory(), time.perf_counter()
    best, end, busy = np.inf, 0.0, 0.0
    objective = Objective("loss", "min")
    for trial in simulate(strategy, table, trials, workers, conditions):
        best = min(best, objective.loss(trial.metrics))
        end, busy = trial.started + trial.duration, busy + trial.duration
    took = time.perf_counter() - started
    answer.put((took, memory() - before, end, busy / (workers * end), float(table.regret_of(np.array(best)))))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=10_000)
    parser.add_argument("--strategies", default="random,evolution")
    parser.add_argument("--stragglers", type=float, default=0.0)
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grid.arrow"
        write(path)
        for name in options.strategies.split(","):
            answer = context.Queue()
            conditions = Conditions(stragglers=options.stragglers)
            given = (path, name, options.trials, options.workers, conditions, answer)
            process = context.Process(target=measure, args=given)
            process.start()
            took, grown, end, used, regret = answer.get()
            process.join()
            print(
                f"{name}: {options.trials:,} trials on {options.workers:,} workers in {took:.1f} s "
                f"({1e6 * took / options.trials:.0f} us each), {grown:,.0f} MiB more; "
                f"simulated {end / 86400:.2f} days, {used:.0%} busy, regret {regret:.4f}"
            )


if __name__ == "__main__":
    main()
