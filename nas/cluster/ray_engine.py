"""The engine on Ray: one warm actor a worker holds the evaluator, and proposals go to it one by one.

An actor has two threads: one makes the evaluator and runs trials, the other, of the concurrency group
"control", answers the driver, which asks every `PERIOD` seconds for the reports of a running trial and tells it
to stop. What ends a trial from outside (its worker died, or it hangs) is decided here, in the driver, which
replaces the actor.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
import ray.cloudpickle
from ray.actor import ActorHandle
from ray.exceptions import RayError

from nas.cluster.worker import TrialRunner, one_line, reason, too_slow
from nas.types import Evaluator, InvalidInput, Measurement, OnReport, Proposal, Split, Status, Trial

PERIOD = 0.5
"""Seconds between two looks at a running trial."""

GRACE = 10.0
"""A trial is killed when it ran for half as long again as it may, and these seconds."""

STARTS = 3
"""How often in a row a worker may fail to start before it is given up."""

STORE_BYTES = 256 << 20
"""Of a local Ray: only the evaluator lies in it, and the memory is taken when it is used."""

PATIENCE = 30.0
"""Seconds without any worker after which a warning is logged, once."""

logger = logging.getLogger(__name__)


class RayEngine:
    """Runs proposals on the workers of a Ray cluster, or of a Ray that it starts on this machine.

    A report reaches `on_report` within about `PERIOD` seconds, in order and before its trial is returned;
    after an answer of False the next report in the worker ends the trial, or the trial is over already and
    counts as it ended. A trial whose worker dies is run once more, where reports up to the step that was
    reached before are not told again; a trial that does not end by itself is killed, see `GRACE`.

    On a cluster whose nodes may come later, more workers may be asked for than there is room for: they start
    when there is. `workers` counts those that the present nodes have room for.

    Args:
        evaluator: pickled once, and kept by every worker.
        workers: how many; 0 for as many as the present nodes have room for.
        cpus, gpus: what a worker holds, in Ray's units. It computes on int(cpus) threads, at least 1.
        seconds: wall time that a trial may take.
        address: of a cluster to join, as `ray.init` takes it, else that in the environment as RAY_ADDRESS.
            Without one, the Ray that this process has already, else one started here, and ended by `close`.
        user_modules: files (.py) and folders of packages to be importable by name on all workers. To those of a cluster
            only these are sent, not what lies beside them; on this machine they are imported from where they are, so
            that they find their files.
        folder: where every trial has a folder of its own, named by its id; on a cluster, a shared one.

    Raises:
        InvalidInput: no room for the workers, no cluster at the address, an evaluator that cannot be pickled,
            or user modules where this process runs Ray already.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        *,
        workers: int,
        cpus: float,
        gpus: float,
        seconds: float,
        on_report: OnReport,
        address: str | None,
        user_modules: Sequence[str] = (),
        folder: Path | None = None,
    ) -> None:
        self._cpus, self._gpus, self._seconds = cpus, gpus, seconds
        self._on_report, self._folder = on_report, folder
        self._queue: deque[_Task] = deque()
        self._pool: list[_Worker] = []
        self._warn_at = time.monotonic() + PATIENCE
        address = address or os.environ.get("RAY_ADDRESS")
        try:
            pickled = ray.cloudpickle.dumps(evaluator)
        except Exception as error:
            raise InvalidInput(f"the evaluator cannot be sent to workers: {reason(error)}") from error
        self._owns_ray = _init(address, user_modules)
        try:
            count = _count(workers, cpus, gpus, may_grow=address is not None)
            self._pickled = ray.put(pickled)
            here = address is None and self._owns_ray
            self._folders = [str(Path(module).resolve().parent) for module in user_modules] if here else []
            self._pool = [self._start() for _ in range(count)]
        except BaseException:
            self.close()
            raise
        self.workers = self._count_workers()

    def submit(self, proposal: Proposal, splits: tuple[Split, ...] = ("valid",)) -> None:
        """Starts a proposal, or queues it for the next free worker, to be measured on these splits."""
        self._queue.append(_Task(proposal, splits))
        self._assign()

    def poll(self, timeout: float) -> Sequence[Trial]:
        """The trials that ended since the last call; waits at most `timeout` seconds for the first.

        Raises:
            RuntimeError: no worker can start; the message says why the last one did not.
        """
        until = time.monotonic() + timeout
        ended: list[Trial] = []
        while True:
            if not ended:  # else only gather what else has ended, each worker at most once
                self._assign()
                ended += self._kill_hung()
                self._ask_for_reports()
                self._warn_of_waiting()
            left = 0.0 if ended else max(0.0, min(PERIOD, until - time.monotonic()))
            refs = {ref: worker for worker in self._pool for ref in (worker.ref, worker.reports) if ref}
            ready = ray.wait(list(refs), timeout=left)[0] if refs else []
            if ready:
                ended += self._take(refs[ready[0]], ready[0])
            elif ended or not refs or time.monotonic() >= until:
                break
        self._assign()
        return ended

    def close(self) -> None:
        """Ends every running trial and gives the workers back, with Ray itself where this engine started it."""
        for worker in self._pool:
            ray.kill(worker.actor)
        self._pool.clear()
        self._queue.clear()
        if self._owns_ray:
            ray.shutdown()
            self._owns_ray = False

    def __enter__(self) -> RayEngine:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _start(self, failures: int = 0) -> _Worker:
        """A worker that was told to start; `failures` is how often in a row it, or those before it, did not."""
        sized = _Actor.options(num_cpus=self._cpus, num_gpus=self._gpus)
        threads, device = max(1, int(self._cpus)), "cuda" if self._gpus else "cpu"
        actor = sized.remote(self._seconds, device, self._folder, threads)
        return _Worker(actor, actor.load.remote(self._pickled, self._folders), failures)

    def _replace(self, worker: _Worker, why: str) -> None:
        """Ends a worker and starts another in its place, unless it failed to start too often."""
        ray.kill(worker.actor)
        self._pool.remove(worker)
        failures = worker.failures + 1 if worker.task is None else 0
        if failures < STARTS:
            self._pool.append(self._start(failures))
        elif self._pool:
            logger.warning("a worker is given up after %d failed starts: %s", failures, why)
        else:
            raise RuntimeError(f"no worker can start, the last one failed with: {why}")
        self.workers = self._count_workers()

    def _count_workers(self) -> int:
        return min(len(self._pool), max(1, _room(self._cpus, self._gpus)))

    def _assign(self) -> None:
        """Gives queued proposals to free workers."""
        for worker in self._pool:
            if not self._queue:
                return
            if worker.ref is None:
                worker.task = task = self._queue.popleft()
                worker.ref = worker.actor.run.remote(task.proposal, task.splits)
                worker.started = worker.asked = time.monotonic()
                worker.taken = 0

    def _ask_for_reports(self) -> None:
        now = time.monotonic()
        for worker in self._pool:
            if worker.task and worker.reports is None and now >= worker.asked + PERIOD:
                worker.reports = worker.actor.reports.options(concurrency_group="control").remote(
                    worker.task.proposal.id, worker.taken
                )
                worker.asked = now

    def _kill_hung(self) -> list[Trial]:
        latest = time.monotonic() - self._seconds * 1.5 - GRACE
        late = [worker for worker in self._pool if worker.task and worker.started < latest]
        # Not one that ended while the driver was busy elsewhere.
        hung = [worker for worker in late if not ray.wait([worker.ref], timeout=0)[0]]
        why = f"{too_slow(self._seconds)}, and had to be killed"
        for worker in hung:
            self._replace(worker, why)
        return [worker.end("failed", why) for worker in hung]

    def _warn_of_waiting(self) -> None:
        """Says once that nothing is going on, for example because others hold all of a cluster."""
        if time.monotonic() > self._warn_at and not any(worker.name for worker in self._pool):
            logger.warning("no worker could start yet: all that Ray has may be in use, or on its way")
            self._warn_at = math.inf

    def _take(self, worker: _Worker, ref: ray.ObjectRef) -> list[Trial]:
        """Takes what a worker answered; the trial, if one ended by it."""
        try:
            answer = ray.get(ref)
        except RayError as error:
            return self._lost(worker, _why(error))
        if ref == worker.reports:
            worker.reports = None
            self._tell(worker, answer)
        elif worker.task is None:
            worker.name, failure = answer
            if failure is not None:
                return self._lost(worker, f"{failure} on {worker.name}")
            worker.ref, worker.failures = None, 0
            self.workers = self._count_workers()
        else:
            self._tell(worker, answer.curve[worker.taken :])
            # With the proposal that was submitted: its genome may know its derivation, which the copy does not.
            trial = replace(answer, proposal=worker.task.proposal, deaths=worker.task.deaths)
            worker.ref = worker.reports = worker.task = None
            return [trial]
        return []

    def _tell(self, worker: _Worker, measurements: Iterable[Measurement]) -> None:
        """Tells the campaign what a running trial reported, and the trial if it should stop."""
        task = worker.task
        assert task is not None
        for measurement in measurements:
            worker.taken += 1
            if measurement.step > task.reached:
                task.curve.append(measurement)
                if not self._on_report(task.proposal.id, measurement):
                    task.stopping = True
                    worker.actor.stop.options(concurrency_group="control").remote(task.proposal.id)

    def _lost(self, worker: _Worker, why: str) -> list[Trial]:
        """Replaces a worker that died or did not start, and puts its proposal back."""
        self._replace(worker, why)
        task = worker.task
        if task is None:
            return []
        task.deaths += 1
        if task.stopping:
            return [worker.end("stopped", None)]
        if task.deaths == 2:
            return [worker.end("failed", one_line(f"worker died twice: {why}"))]
        told = (
            f"trial {task.proposal.id}" if task.proposal.id >= 0 else f"the best on seed {task.proposal.seed}"
        )
        logger.warning("worker %s died, and %s is run again: %s", worker.name, told, why)
        task.reached = task.curve[-1].step if task.curve else -math.inf
        self._queue.appendleft(task)
        return []


@dataclass(eq=False)
class _Task:
    """A proposal on its way: what it reported so far, and how often its worker died."""

    proposal: Proposal
    splits: tuple[Split, ...]
    curve: list[Measurement] = field(default_factory=list)
    reached: float = -math.inf
    deaths: int = 0
    stopping: bool = False


@dataclass(eq=False)
class _Worker:
    """What the driver knows of an actor: `ref` is its start, or the trial it runs; None while it is free."""

    actor: ActorHandle
    ref: ray.ObjectRef | None
    failures: int
    name: str | None = None
    task: _Task | None = None
    started: float = 0.0
    reports: ray.ObjectRef | None = None
    asked: float = 0.0
    taken: int = 0

    def end(self, status: Status, error: str | None) -> Trial:
        """The trial of a task that this worker will not bring to its end."""
        assert self.task is not None
        curve, duration = tuple(self.task.curve), time.monotonic() - self.started
        return Trial(
            self.task.proposal,
            status,
            curve[-1].metrics if curve and status == "stopped" else {},
            curve,
            started=time.time() - duration,
            duration=duration,
            worker=self.name,
            error=error,
            deaths=self.task.deaths,
        )


# Ray's own types do not know this option: a group of methods that has a thread of its own.
_Actor: Any = ray.remote(concurrency_groups={"control": 1})(TrialRunner)  # type: ignore[call-overload]


def _init(address: str | None, user_modules: Sequence[str]) -> bool:
    """Connects this process to Ray; whether it was not connected before."""
    if ray.is_initialized():
        if user_modules:
            raise InvalidInput(
                f"{', '.join(user_modules)} cannot be sent to workers, because this process runs Ray already: "
                "give them to its ray.init, as runtime_env={'py_modules': [...]}"
            )
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"address": address}
    if address is None:
        options = {"address": "local", "include_dashboard": False, "object_store_memory": STORE_BYTES}
    if user_modules and address is not None:
        options["runtime_env"] = {"py_modules": [str(Path(module).resolve()) for module in user_modules]}
    try:
        if address is not None:
            _reach(address)
        handler = signal.getsignal(signal.SIGTERM)
        ray.init(logging_level=logging.ERROR, log_to_driver=False, **options)
        if callable(handler) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # which Ray replaces by one that prints a stack
    except (
        OSError,
        ValueError,
    ) as error:  # Ray's are ConnectionErrors, and ValueErrors of a malformed address
        if address is None:
            raise
        raise InvalidInput(f"no Ray cluster answers at {address}: {one_line(str(error))}") from error
    return True


def _reach(address: str) -> None:
    """Raises OSError where nothing listens at a host:port, on which Ray itself would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _count(workers: int, cpus: float, gpus: float, may_grow: bool) -> int:
    """How many workers to start where `workers` are asked for, 0 for as many as there is room for."""
    room = _room(cpus, gpus)
    size = f"workers.cpus = {cpus:g} and workers.gpus = {gpus:g}"
    if workers == 0 and room == 0:
        raise InvalidInput(f"no machine here has room for a worker with {size}")
    if workers > room and not may_grow:
        raise InvalidInput(
            f"workers.count = {workers}, but this machine has room for {room} with {size}: "
            "ask for fewer or smaller ones, or 0 for as many as fit"
        )
    if workers > room:
        logger.warning("the cluster has room for %d of %d workers; more start when nodes come", room, workers)
    return workers or room


def _room(cpus: float, gpus: float) -> int:
    """How many workers all present nodes could hold if nothing else ran on them."""
    wanted = [(name, amount) for name, amount in (("CPU", cpus), ("GPU", gpus)) if amount]
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    # Ray counts in ten-thousandths; the small term is for 0.3 / 0.1 and the like.
    return sum(min(int(node.get(name, 0) / amount + 1e-6) for name, amount in wanted) for node in nodes)


def _why(error: RayError) -> str:
    """Ray's reason for a lost worker, without the ids and advice around it."""
    lines = [line for line in str(error).splitlines() if not line.startswith("\t")]
    return one_line(" ".join(lines).partition(" Some common causes")[0])
