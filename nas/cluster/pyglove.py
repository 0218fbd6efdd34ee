"""PyGlove's sampling loops over Ray: one search, any number of workers on any number of machines.

import nas.cluster.pyglove  # makes the backend known

@ray.remote
def work():
    for example, feedback in pg.sample(space, algorithm, 100, name="search", backend="ray", storage="search.db"):
        feedback(train(example))

ray.get([work.remote() for _ in range(8)])
pg.poll_result("search", backend="ray").best_trial
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import pyglove as pg
import ray

from nas.cluster.study import Study
from nas.types import InvalidInput

NAMESPACE = "pyglove"
"""Of the actors, one for each study."""


@pg.tuning.add_backend("ray")
class RayBackend(pg.tuning.Backend):
    """The backend "ray" of `pg.sample`: each study is an actor, which all loops of one name share.

    A study outlives the loops, so that `pg.poll_result` tells of it, until `forget` or the end of the cluster. A loop
    without a name has a study of its own. Loops with the same `group` work on the same trials; default: each Ray task
    or actor is a group, also when Ray runs it again, so that it goes on with the trial that it died in.

    Args:
        storage: the path of an SQLite file that the study goes on from after a crash; on a cluster, where the machines
            that the study may run on can write to the same path.

    Raises:
        InvalidInput: Ray is not running, the algorithm follows one metric and is given several, or it was used before,
            and its state would be lost.
    """

    def __init__(
        self,
        name: str | None,
        group: str | int | None,
        dna_spec: pg.DNASpec,
        algorithm: pg.DNAGenerator,
        metrics_to_optimize: Sequence[str],
        early_stopping_policy: Any = None,
        num_examples: int | None = None,
        storage: str | None = None,
    ) -> None:
        _check_running()
        if algorithm.dna_spec is not None:
            raise InvalidInput(
                f"{type(algorithm).__name__} was used before, and its state does not travel to another process: "
                "make a new one for each loop"
            )
        if len(metrics_to_optimize) > 1 and not algorithm.multi_objective:
            raise InvalidInput(
                f"metrics_to_optimize has {', '.join(metrics_to_optimize)}, but {type(algorithm).__name__} follows one "
                "metric"
            )
        self._metrics, self._spec = tuple(metrics_to_optimize), dna_spec
        here = ray.get_runtime_context()
        self._worker = str(group or here.get_actor_id() or here.get_task_id() or here.get_job_id())
        options: dict[str, Any] = {
            "num_cpus": 0,
            "max_restarts": -1 if storage else 0,
            "max_task_retries": -1 if storage else 0,
        }
        if name is not None:
            options.update(name=name, namespace=NAMESPACE, lifetime="detached", get_if_exists=True)
        self._study: Any = (
            ray.remote(Study)
            .options(**options)
            .remote(dna_spec, algorithm, self._metrics, early_stopping_policy, num_examples, storage)
        )

    def next(self) -> RayFeedback:
        """The trial that this worker is to evaluate next.

        Raises:
            StopIteration: there are no more.
        """
        found: str | None = ray.get(self._study.next.remote(self._worker))
        if found is None:
            raise StopIteration
        return RayFeedback(self._study, self._metrics, found, self._spec)

    @classmethod
    def poll_result(cls, name: str) -> RayResult:
        """What was found so far.

        Raises:
            InvalidInput: there is no such study on this cluster.
        """
        return RayResult(name, ray.get(_study(name).result.remote()))


def forget(name: str) -> None:
    """Ends the actor of a study; its file, where it has one, stays.

    Raises:
        InvalidInput: there is no such study on this cluster.
    """
    ray.kill(_study(name))


def _study(name: str) -> Any:
    _check_running()
    try:
        return ray.get_actor(name, namespace=NAMESPACE)
    except ValueError:
        known = [
            each["name"]
            for each in ray.util.list_named_actors(all_namespaces=True)
            if each["namespace"] == NAMESPACE
        ]
        raise InvalidInput(
            f"no study {name!r} on this cluster; there are: {', '.join(known) or 'none'}"
        ) from None


def _check_running() -> None:
    if not ray.is_initialized():
        raise InvalidInput('backend "ray" needs a running Ray: call ray.init first')


class RayFeedback(pg.tuning.Feedback):
    """What a loop says of its trial, passed on to the study."""

    def __init__(self, study: Any, metrics: tuple[str, ...], trial: str, spec: pg.DNASpec) -> None:
        super().__init__(metrics)
        self._study, self._spec = study, spec
        self._first = self._read(trial)

    def _read(self, text: str) -> pg.tuning.Trial:
        trial = pg.from_json_str(text)
        trial.dna.use_spec(self._spec)
        return trial

    def _tell(self, method: str, *arguments: Any) -> Any:
        return ray.get(getattr(self._study, method).remote(*arguments))

    @property
    def id(self) -> int:
        """The number of the trial, from 1."""
        return int(self._first.id)

    @property
    def dna(self) -> pg.DNA:
        """What is evaluated."""
        return self._first.dna

    @property
    def status(self) -> str:
        """Of the trial, "PENDING" or "COMPLETED", whichever worker ended it."""
        return str(self.get_trial().status)

    @property
    def checkpoint_to_warm_start_from(self) -> str | None:
        """The last checkpoint that was reported of this trial, as by a worker that died in it."""
        paths = [each.checkpoint_path for each in self.get_trial().measurements if each.checkpoint_path]
        return paths[-1] if paths else None

    def get_trial(self) -> pg.tuning.Trial:
        """The trial as it is now."""
        return self._read(self._tell("trial", self.id))

    def _add_measurement(
        self,
        reward: float | None,
        metrics: dict[str, float],
        step: int,
        checkpoint_path: str | None,
        elapse_secs: float,
    ) -> None:
        measurement = {"reward": reward, "metrics": metrics, "step": int(step), "elapse_secs": elapse_secs}
        self._tell("measure", self.id, measurement | {"checkpoint_path": checkpoint_path})

    def done(
        self, metadata: dict[str, Any] | None = None, related_links: dict[str, str] | None = None
    ) -> None:
        """Ends the trial with what was measured last."""
        self._tell("done", self.id, metadata or {}, related_links or {})

    def skip(self, reason: str | None = None) -> None:
        """Ends the trial; the algorithm is told nothing."""
        self._tell("skip", self.id)

    def should_stop_early(self) -> bool:
        """Whether the policy finds that the trial is not worth going on with."""
        return bool(self._tell("stops", self.id))

    def end_loop(self) -> None:
        """Ends all loops of the study after their trials."""
        self._tell("end")

    def set_metadata(self, key: str, value: Any, per_trial: bool = True) -> None:
        """Keeps a value that PyGlove can write as JSON."""
        self._tell("set_metadata", self.id if per_trial else None, key, pg.to_json_str(value))

    def get_metadata(self, key: str, per_trial: bool = True) -> Any:
        """A value that was kept, None where there is none."""
        if per_trial:
            return self.get_trial().metadata.get(key)
        kept = self._tell("metadata").get(key)
        return None if kept is None else pg.from_json_str(kept)

    def add_link(self, name: str, url: str) -> None:
        """Keeps a link to something about the trial."""
        self._tell("link", self.id, name, url)


class RayResult(pg.tuning.Result):
    """A study as it was when it was polled."""

    def __init__(self, name: str, found: dict[str, Any]) -> None:
        super().__init__()
        self.name = name
        self._trials = [pg.from_json_str(text) for text in found["trials"]]
        self._metadata = {key: pg.from_json_str(text) for key, text in found["metadata"].items()}
        self._active, self._updated = found["active"], found["updated"]

    @property
    def metadata(self) -> dict[str, Any]:
        """What was kept of the study."""
        return self._metadata

    @property
    def is_active(self) -> bool:
        """Whether workers get more trials."""
        return bool(self._active)

    @property
    def last_updated(self) -> datetime.datetime | None:
        """When a worker last reported."""
        return self._updated

    @property
    def trials(self) -> list[pg.tuning.Trial]:
        """All trials, by number."""
        return self._trials

    @property
    def best_trial(self) -> pg.tuning.Trial | None:
        """The finished trial of the greatest reward; None: there is none yet, or there are several metrics."""
        done = [
            trial
            for trial in self._trials
            if trial.status == "COMPLETED"
            and not trial.infeasible
            and trial.final_measurement.reward is not None
        ]
        return max(done, key=lambda trial: trial.final_measurement.reward, default=None)

    def format(self, *args: Any, **kwargs: Any) -> str:
        """A line that says how many trials there are, and the best reward."""
        ended = sum(trial.status == "COMPLETED" for trial in self._trials)
        best = self.best_trial
        reward = "none yet" if best is None else best.final_measurement.reward
        return f"Study {self.name!r}: {ended} of {len(self._trials)} trials ended, best reward {reward}"
