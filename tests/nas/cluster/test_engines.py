"""What every engine does, and what the one on Ray does with workers that die, hang or never start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import scripted
from scripted import Broken, Reports, Scripted, proposal

from nas.cluster import ray_engine
from nas.cluster.ray_engine import RayEngine
from nas.cluster.serial import SerialEngine
from nas.cluster.worker import worker_name
from nas.types import Engine, InvalidInput, Measurement, Trial

SECONDS = 0.3


@pytest.fixture(scope="module")
def shared_ray() -> Iterator[None]:
    """One local Ray for the whole module: engines leave it running, because they did not start it."""
    ray.cloudpickle.register_pickle_by_value(scripted)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def on_ray(evaluator: Any = None, reports: Reports | None = None, **changes: Any) -> RayEngine:
    options = {"workers": 1, "cpus": 1, "gpus": 0, "seconds": SECONDS, "address": None, **changes}
    return RayEngine(evaluator or Scripted(), on_report=reports or Reports(), **options)


@pytest.fixture(scope="class", params=["serial", "ray"])
def warm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An engine of one worker that all tests of the list below share, and what it reports to."""
    reports, folder = Reports(), tmp_path_factory.mktemp("trials")
    if request.param == "serial":
        yield SerialEngine(Scripted(), SECONDS, reports, folder=folder), reports, folder
    else:
        request.getfixturevalue("shared_ray")
        with on_ray(reports=reports, folder=folder) as engine:
            yield engine, reports, folder


@pytest.fixture
def engine(warm: Any) -> Engine:
    return warm[0]


@pytest.fixture
def reports(warm: Any) -> Reports:
    warm[1].__init__()
    return warm[1]


def run(engine: Engine, *proposals: Any, timeout: float = 30) -> list[Trial]:
    """The trials of all proposals, by id."""
    for each in proposals:
        engine.submit(each)
    ended: list[Trial] = []
    until = time.monotonic() + timeout
    while len(ended) < len(proposals) and time.monotonic() < until:
        ended += engine.poll(timeout=1)
    assert len(ended) == len(proposals)
    return sorted(ended, key=lambda trial: trial.id)


def run_one(engine: Engine, origin: str) -> Trial:
    return run(engine, proposal(7, origin))[0]


class TestEveryEngine:
    def test_done(self, engine: Engine) -> None:
        asked, before = proposal(7, "done"), time.time()
        [trial] = run(engine, asked)
        assert trial.proposal is asked
        assert (trial.status, trial.error, trial.curve, trial.cost) == ("done", None, (), {})
        assert trial.metrics["loss"] == 0.5
        assert {type(value) for value in trial.metrics.values()} == {float}
        assert before <= trial.started <= time.time()
        assert 0 < trial.duration < 5
        assert trial.worker is not None
        assert trial.worker.endswith(f":{trial.metrics['pid']:.0f}")

    def test_the_evaluator_stays_warm(self, engine: Engine) -> None:
        first, second = run(engine, proposal(0, "done"), proposal(1, "done"))
        assert second.metrics["calls"] == first.metrics["calls"] + 1
        assert second.worker == first.worker

    def test_every_proposal_is_run(self, engine: Engine) -> None:
        trials = run(engine, *(proposal(i, "done") for i in range(20)))
        assert [trial.metrics["seed"] for trial in trials] == list(range(20))

    @pytest.mark.parametrize(
        "origin, error",
        [
            ("nan", "metrics that are not finite: loss = nan"),
            ("diverges", "diverged: loss is nan at step 3"),
            ("checks_deadline", "too slow: more than 0.3 s"),
        ],
    )
    def test_failed(self, engine: Engine, origin: str, error: str) -> None:
        trial = run_one(engine, origin)
        assert (trial.status, trial.error, trial.metrics) == ("failed", error, {})

    @pytest.mark.parametrize(
        "origin, start, end",
        [
            ("exits", "SystemExit: a library calls exit (scripted.py:", " in exits)"),
            ("raises", "KeyError: 'no such\\nblock' (scripted.py:", " in raises)"),
            ("raises_at_length", "ValueError: xxx", " in raises_at_length)"),
            ("out_of_memory", "MemoryError (scripted.py:", " in out_of_memory)"),
            ("no_numbers", "TypeError: metric 'loss' must be a number, but is 'low' (types.py:", ")"),
            ("misspelt", "AttributeError: 'Scripted' object has no attribute 'misspelt'", " in evaluate)"),
        ],
    )
    def test_whatever_is_raised_is_the_reason(
        self, engine: Engine, origin: str, start: str, end: str
    ) -> None:
        trial = run_one(engine, origin)
        assert trial.status == "failed"
        assert trial.error is not None
        assert trial.error.startswith(start)
        assert trial.error.endswith(end)
        assert len(trial.error) <= 500
        assert "\n" not in trial.error

    def test_reports_come_in_order_before_their_trial(self, engine: Engine, reports: Reports) -> None:
        trial = run_one(engine, "reports")
        expected = tuple(Measurement(step, {"loss": 1 / step}) for step in range(1, 6))
        assert trial.status == "done"
        assert trial.curve == expected
        assert reports.told == [(7, measurement) for measurement in expected]

    def test_false_stops_a_running_trial(self, engine: Engine, reports: Reports) -> None:
        reports.stop_at = 3
        trial = run_one(engine, "reports_slowly")
        assert (trial.status, trial.error) == ("stopped", None)
        assert 3 <= len(trial.curve) < 100
        assert trial.metrics == trial.curve[-1].metrics
        assert reports.steps == [measurement.step for measurement in trial.curve]
        assert run_one(engine, "done").status == "done"

    def test_splits(self, engine: Engine) -> None:
        assert run_one(engine, "on_splits").metrics == {"valid_loss": 1.0}
        engine.submit(proposal(-1, "on_splits"), splits=("valid", "test"))
        [trial] = engine.poll(timeout=5)
        assert trial.metrics == {"valid_loss": 1.0, "test_loss": 1.0}

    def test_a_trial_has_a_folder(self, warm: Any) -> None:
        engine, _, folder = warm
        assert run_one(engine, "writes").status == "done"
        assert (folder / "7" / "weights").exists()

    def test_nothing_to_do(self, engine: Engine) -> None:
        began = time.monotonic()
        assert list(engine.poll(timeout=5)) == []
        assert time.monotonic() - began < 1


def test_what_is_no_error_passes_through_the_serial_engine() -> None:
    engine = SerialEngine(Scripted(), SECONDS, Reports())
    engine.submit(proposal(0, "interrupts"))
    with pytest.raises(KeyboardInterrupt):
        engine.poll(timeout=1)


def test_importing_the_serial_engine_does_not_import_ray() -> None:
    code = "import nas.cluster.serial, sys; assert not {'ray', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.usefixtures("shared_ray")
class TestRay:
    def test_a_worker_computes_on_as_many_threads_as_it_has_cpus(self) -> None:
        with on_ray(cpus=2) as engine:
            assert run_one(engine, "threads").metrics == {"OMP": 2, "MKL": 2, "OPENBLAS": 2}
        with on_ray(workers=0, cpus=0.5) as engine:
            assert engine.workers == 4
            assert run_one(engine, "threads").metrics["OMP"] == 1
            assert run_one(engine, "shows").metrics == {"gpu": 0}

    def test_trials_run_at_once(self, tmp_path: Path) -> None:
        with on_ray(workers=0, folder=tmp_path, seconds=60) as engine:
            assert engine.workers == 2
            first, second = run(engine, proposal(0, "meets"), proposal(1, "meets"))
        assert first.status == second.status == "done"
        assert first.worker != second.worker

    def test_killed_from_outside_a_trial_is_run_again(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Killing(Reports):
            def __call__(self, trial_id: int, measurement: Measurement) -> bool:
                if measurement.step == 2:
                    os.kill(int(measurement.metrics["pid"]), signal.SIGKILL)
                return super().__call__(trial_id, measurement)

        reports = Killing()
        with on_ray(reports=reports, folder=tmp_path, seconds=60) as engine:
            trial = run_one(engine, "waits_to_be_killed")
        assert (trial.status, trial.deaths) == ("done", 1)
        (line,) = caplog.messages
        assert line.startswith(f"worker {worker_name().partition(':')[0]}:")
        assert f" died, and trial {trial.id} is run again: The actor died" in line
        assert reports.steps == [1, 2, 3]  # none twice
        assert [measurement.step for measurement in trial.curve] == [1, 2, 3]
        assert reports.told[0][1].metrics["pid"] != trial.curve[0].metrics["pid"]

    def test_a_stopped_trial_whose_worker_dies_is_not_run_again(self, tmp_path: Path) -> None:
        class Killing(Reports):
            def __call__(self, trial_id: int, measurement: Measurement) -> bool:
                os.kill(int(measurement.metrics["pid"]), signal.SIGKILL)
                return False

        with on_ray(reports=Killing(), folder=tmp_path, seconds=60) as engine:
            trial = run_one(engine, "waits_to_be_killed")
        assert (trial.status, trial.error, trial.deaths) == ("stopped", None, 1)
        assert trial.metrics == trial.curve[-1].metrics

    def test_a_trial_that_kills_its_workers_fails(self) -> None:
        with on_ray() as engine:
            bad, good = run(engine, proposal(0, "dies"), proposal(1, "done"))
        assert (bad.status, bad.deaths, good.deaths) == ("failed", 2, 0)
        assert bad.error is not None
        assert bad.error.startswith("worker died twice: The actor died")
        assert "worker process has died" in bad.error
        assert "\n" not in bad.error
        assert bad.worker is not None
        assert good.status == "done"

    def test_a_trial_that_hangs_is_killed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ray_engine, "GRACE", 1.0)
        with on_ray() as engine:
            hung, good = run(engine, proposal(0, "hangs"), proposal(1, "done"))
        assert (hung.status, hung.error) == ("failed", "too slow: more than 0.3 s, and had to be killed")
        assert hung.curve == (Measurement(1, {"loss": 2.0}),)
        assert 1.45 <= hung.duration < 10
        assert good.status == "done"

    def test_a_trial_that_ended_while_the_driver_was_busy_is_not_killed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ray_engine, "GRACE", 0.0)
        with on_ray() as engine:
            run_one(engine, "done")
            engine.submit(proposal(0, "done"))
            time.sleep(1)
            [trial] = engine.poll(timeout=1)
        assert trial.status == "done"

    def test_an_evaluator_that_no_worker_can_make(self) -> None:
        with on_ray(Broken()) as engine:
            expected = (
                r"no worker can start, .*: FileNotFoundError: the data is not on this machine \(scripted"
            )
            with pytest.raises(RuntimeError, match=expected):
                run_one(engine, "done")

    def test_an_evaluator_that_cannot_be_pickled(self) -> None:
        evaluator: Any = Scripted()
        evaluator.lock = threading.Lock()
        with pytest.raises(
            InvalidInput, match=r"evaluator cannot be sent to workers: TypeError: cannot pickle"
        ):
            on_ray(evaluator)

    def test_more_workers_than_there_is_room_for(self) -> None:
        expected = (
            r"workers.count = 64, but this machine has room for 2 with workers.cpus = 1 and workers.gpu"
        )
        with pytest.raises(InvalidInput, match=expected):
            on_ray(workers=64)
        with pytest.raises(
            InvalidInput, match=r"no machine here has room for a worker with workers.cpus = 3 "
        ):
            on_ray(workers=0, cpus=3)

    def test_user_modules_come_too_late_for_a_ray_that_runs(self) -> None:
        with pytest.raises(
            InvalidInput, match=r"mine.py cannot be sent to workers, because this process runs"
        ):
            on_ray(user_modules=["mine.py"])

    def test_closing_leaves_a_ray_that_it_did_not_start(self) -> None:
        with on_ray() as engine:
            engine.submit(proposal(0, "sleeps"))
        assert ray.is_initialized()
        with on_ray(workers=2) as engine:  # has room only if the other's worker is gone
            assert run_one(engine, "done").status == "done"
