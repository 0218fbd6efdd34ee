"""Milliseconds that a trial costs beside its evaluator: a campaign, its engine, and a bare pool of Ray actors.

    python tests/speed/ray_overhead.py

500 trials of an evaluator that does nothing, on 2 workers, the pool and the engine in one Ray. The campaign proposes by evolution over
the hybrid space and logs every trial to the disk (fsync). It should stay at or below 5 ms a trial.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator

import numpy as np
import ray

import nas.search
import spaces
from nas.campaign import execute
from nas.cluster.ray_engine import RayEngine
from nas.config import parse
from nas.setup import Setup
from nas.store.records import Record
from nas.types import Context, Ended, Fidelity, Objective, Proposal, Proposed

TRIALS, WORKERS = 500, 2


class Empty:
    def evaluate(self, proposal: Proposal, context: Context) -> dict[str, float]:
        return {"loss": 0.0}


class Actor:
    def run(self, proposal: Proposal) -> dict[str, float]:
        return {"loss": 0.0}


def proposals(number: int) -> Iterator[Proposal]:
    space, rng = spaces.load("hybrid"), np.random.default_rng(0)
    genomes = [space.sample(rng) for _ in range(number)]
    for genome in genomes:
        genome.text, genome.digest  # noqa: B018 - both are computed once, and not what is measured here
    return (Proposal(i, genome, Fidelity(1), seed=i) for i, genome in enumerate(genomes))


def engine_loop(engine: RayEngine, number: int) -> float:
    """Seconds for so many trials, always as many submitted as there are workers."""
    todo, ended = proposals(number), 0
    began = time.perf_counter()
    for _ in range(WORKERS):
        engine.submit(next(todo))
    while ended < number:
        for _ in engine.poll(timeout=1):
            ended += 1
            if proposal := next(todo, None):
                engine.submit(proposal)
    return time.perf_counter() - began


def bare_loop(actors: list[ray.actor.ActorHandle], number: int) -> float:
    todo = proposals(number)
    began = time.perf_counter()
    running = {actor.run.remote(next(todo)): actor for actor in actors}
    while running:
        [done], _ = ray.wait(list(running))
        actor = running.pop(done)
        ray.get(done)
        if proposal := next(todo, None):
            running[actor.run.remote(proposal)] = actor
    return time.perf_counter() - began


def campaign_loop(folder: str, number: int) -> float:
    """Seconds of a whole campaign, from its first proposal to its last logged trial."""
    objective = Objective("loss")
    space = spaces.load("hybrid")
    config = parse(
        {
            "name": "empty",
            "space": {"name": "hybrid"},
            "task": {"name": "bytes"},
            "strategy": {"name": "evolution"},
            "budget": {"trials": number, "steps": 1, "confirm": 0},
            "objectives": [{"metric": "loss"}],
            "workers": {"count": WORKERS, "cpus": 0.5},
        }
    )
    strategy = nas.search.load("evolution", space=space, objectives=[objective])
    times: list[float] = []

    def observe(record: Record, replayed: bool) -> None:
        if isinstance(record, Proposed | Ended):
            times.append(time.perf_counter())

    execute(Setup(config, space, Empty(), strategy), folder, observe=observe)
    return times[-1] - times[0]


def main() -> None:
    began = time.perf_counter()
    with RayEngine(
        Empty(),
        workers=WORKERS,
        cpus=0.5,
        gpus=0,
        seconds=60,
        on_report=lambda trial_id, measurement: True,
        address=None,
    ) as engine:
        started = time.perf_counter() - began
        engine_loop(engine, 20)
        warm = time.perf_counter() - began
        actors = [ray.remote(Actor).options(num_cpus=0.5).remote() for _ in range(WORKERS)]
        bare_loop(actors, 20)
        ours = min(engine_loop(engine, TRIALS) for _ in range(3)) / TRIALS * 1000
        bare = min(bare_loop(actors, TRIALS) for _ in range(3)) / TRIALS * 1000
    whole = min(campaign_loop(tempfile.mkdtemp(), TRIALS) for _ in range(3)) / TRIALS * 1000
    print(
        f"start-up: Ray {started:.1f} s, and {warm - started:.1f} s until {WORKERS} workers had run 20 trials"
    )
    for name, each in (("campaign", whole), ("its engine", ours), ("bare actor pool", bare)):
        print(f"{name:16} {each:.2f} ms a trial, {each / bare:.2f} of the bare pool")


if __name__ == "__main__":
    main()
