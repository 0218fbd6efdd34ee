"""What a campaign would do and take, told before it is run."""

from __future__ import annotations

import math
import os
import statistics

import numpy as np

from nas.config import Config, to_dict
from nas.draws import check_draws
from nas.setup import prepare
from nas.types import JSON, Proposal

DRAWS, SECONDS = 4, 20.0
"""The most genomes that a plan is estimated from, and after how long no more are taken up."""


def plan(config: Config) -> JSON:
    """What a campaign would do: its configuration in full, the size of its space, the time and memory of a trial.

    Some genomes are drawn from the space, built, and trained for a few steps on this machine, on as many threads as a
    worker has, if it has so many cores; nothing is kept. Where that takes long, only the first of them are.

    Raises:
        InvalidInput: the campaign cannot be run as asked.
    """
    from nas.training.evaluator import TrainingEvaluator, estimate, worker_threads

    setup = prepare(config)
    check_draws(setup)
    config = setup.config
    rng = np.random.default_rng(config.seed)
    fidelity = config.budget.fidelity
    # Rungs that cost alike have trials in inverse proportion to their amounts, whose mean is then the harmonic one.
    amounts = (*(config.budget.rungs or ()), fidelity.amount)
    share = statistics.harmonic_mean(amounts) / fidelity.amount
    drawn = [Proposal(k, setup.space.sample(rng), fidelity, config.seed) for k in range(DRAWS)]
    cores, spec = os.cpu_count() or 1, config.workers
    if spec.engine == "serial":
        workers, threads = 1, worker_threads()
    else:
        workers = spec.count or max(1, int(cores / spec.cpus))
        threads = max(1, min(int(spec.cpus), cores))
    assert isinstance(setup.evaluator, TrainingEvaluator)
    rows = estimate(setup.evaluator, drawn, threads=threads, seconds=SECONDS)
    seconds = [row["seconds"] for row in rows]
    mean = sum(seconds) / len(seconds)
    rounds = share * math.ceil(config.budget.trials / workers) + math.ceil(config.budget.confirm / workers)
    return {
        "config": to_dict(config),
        "space": {
            "name": setup.space.name,
            "genomes": getattr(setup.space, "size", None),
            "unavailable": list(getattr(setup.space, "unavailable", ())),
        },
        "trial": {
            "drawn": len(rows),
            "threads": threads,
            "seconds": mean,
            "slowest": max(seconds),
            "bytes": max(row["peak_bytes"] for row in rows),
            "parameters": max(row["parameters"] for row in rows),
        },
        "workers": workers,
        "seconds": mean * rounds,
    }
