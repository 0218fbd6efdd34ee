"""What a campaign would do and take, told before it is run."""

from __future__ import annotations

import dataclasses
import math
import os
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from nas.config import Config, to_dict
from nas.draws import check_draws
from nas.setup import Setup, prepare
from nas.types import JSON, Fidelity, Proposal
from spaces.io import plain

if TYPE_CHECKING:
    from nas.training.evaluator import TrainingEvaluator

DRAWS, SECONDS = 4, 20.0
"""The most genomes that a plan is estimated from, and after how long no more are taken up."""


def plan(config: Config) -> JSON:
    """What a campaign would do: its configuration in full, the size of its space, the time and memory of a trial.

    Some genomes are drawn from the space, built, and trained for a few steps on this machine, on as many threads as a
    worker has, if it has so many cores; nothing is kept. Where that takes long, only the first of them are. A function
    of a user's own is called once, for the least amount.

    Raises:
        InvalidInput: the campaign cannot be run as asked.
        RuntimeError: the function fails.
    """
    from nas.training.evaluator import TrainingEvaluator
    from nas.training.reproducible import worker_threads

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
    if isinstance(setup.evaluator, TrainingEvaluator):
        trial = {"io": plain(setup.space.io), **_trained(setup.evaluator, drawn, threads)}
    else:
        trial = _called(setup, drawn[0], amounts[0])
    rounds = share * math.ceil(config.budget.trials / workers) + math.ceil(config.budget.confirm / workers)
    return {
        "config": to_dict(config),
        "space": {
            "name": setup.space.name,
            "genomes": getattr(setup.space, "size", None),
            "costed": setup.tells_costs,
            "unavailable": list(getattr(setup.space, "unavailable", ())),
        },
        "trial": trial,
        "workers": workers,
        "seconds": trial["seconds"] * rounds,
    }


def _trained(evaluator: TrainingEvaluator, drawn: list[Proposal], threads: int) -> JSON:
    """What a trial takes that trains, from as many draws as there is time for."""
    from nas.training.evaluator import estimate

    rows = estimate(evaluator, drawn, threads=threads, seconds=SECONDS)
    seconds = [row["seconds"] for row in rows]
    return {
        "drawn": len(rows),
        "threads": threads,
        "seconds": sum(seconds) / len(seconds),
        "slowest": max(seconds),
        "bytes": max(row["peak_bytes"] for row in rows),
        "parameters": max(row["parameters"] for row in rows),
    }


def _called(setup: Setup, proposal: Proposal, amount: int) -> JSON:
    """What a trial takes that calls a function, from one call for an amount, as if time grew with it.

    Raises:
        RuntimeError: the call fails.
    """
    import torch

    from nas.cluster.worker import run_trial
    from nas.training.reproducible import worker_threads

    config, full = setup.config, proposal.fidelity
    short = dataclasses.replace(proposal, fidelity=Fidelity(amount, full.unit))
    device = "cuda" if config.workers.gpus and torch.cuda.is_available() else "cpu"
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "0"
        trial = run_trial(
            setup.evaluator, short, config.budget.seconds, lambda id, measurement: True, "", device, folder
        )
    if trial.status != "done":
        raise RuntimeError(f"a call of {config.task.name} with {proposal.genome} failed: {trial.error}")
    seconds = trial.duration * full.amount / amount
    return {
        "drawn": 1,
        "threads": worker_threads(),
        "seconds": seconds,
        "slowest": seconds,
        "genome": proposal.genome.text,
        "metrics": dict(trial.metrics),
    }
