"""Where the engine starts or joins Ray itself: a user's modules, Ctrl-C, and a cluster that changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import ray
import scripted
from ray.cluster_utils import Cluster
from scripted import Reports, Scripted, proposal

from nas.cluster.ray_engine import RayEngine
from nas.types import InvalidInput, Trial

MODULE = """
import helper_package.constants

class Mine:
    def evaluate(self, proposal, context):
        return {"loss": helper_package.constants.LOSS}
"""

DRIVER = """
import sys
sys.path.insert(0, sys.argv[1])
from scripted import Scripted, proposal
from nas.cluster.ray_engine import RayEngine
with RayEngine(Scripted(), workers=2, cpus=1, gpus=0, seconds=60, address=None,
               user_modules=[sys.argv[1] + "/scripted.py"],
               on_report=lambda trial_id, measurement: print("running", flush=True) or True) as engine:
    engine.submit(proposal(0, "reports_slowly"))
    engine.submit(proposal(1, "reports_slowly"))
    try:
        engine.poll(timeout=60)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


def test_a_users_modules_reach_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "users_module.py").write_text(MODULE)
    package = tmp_path / "helper_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "constants.py").write_text("LOSS = 0.25\n")
    monkeypatch.syspath_prepend(tmp_path)
    from users_module import Mine

    with RayEngine(
        Mine(),
        workers=1,
        cpus=1,
        gpus=0,
        seconds=10,
        on_report=Reports(),
        address=None,
        user_modules=[str(tmp_path / "users_module.py"), str(package)],
    ) as engine:
        engine.submit(proposal(0, "done"))
        [trial] = engine.poll(timeout=30) or engine.poll(timeout=30)
    assert trial.metrics == {"loss": 0.25}, trial.error
    assert not ray.is_initialized()


def test_interrupted_it_ends_quietly_and_leaves_nothing() -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a process group of its own, as from a shell, and a session to find it by
    )
    assert driver.stdout is not None
    assert driver.stdout.readline() == "running\n"
    assert "ray::TrialRunner" in processes(driver.pid)
    os.killpg(driver.pid, signal.SIGINT)
    output, errors = driver.communicate(timeout=20)
    assert (driver.returncode, errors) == (0, "")
    assert set(output.split()) <= {"running", "interrupted"}
    until = time.monotonic() + 5
    while processes(driver.pid) and time.monotonic() < until:
        time.sleep(0.1)
    assert processes(driver.pid) == ""


def processes(session: int) -> str:
    """The command lines of all processes of a session."""
    return subprocess.run(
        ["ps", "-s", str(session), "-o", "args="], capture_output=True, text=True, check=False
    ).stdout


def test_no_cluster_at_the_address() -> None:
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1"):
        with pytest.raises(InvalidInput, match=f"no Ray cluster answers at {address}: .*refused"):
            RayEngine(Scripted(), workers=1, cpus=1, gpus=0, seconds=1, on_report=Reports(), address=address)


@pytest.mark.slow
def test_nodes_come_and_go() -> None:
    ray.cloudpickle.register_pickle_by_value(scripted)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        with RayEngine(
            Scripted(), workers=2, cpus=1, gpus=0, seconds=30, on_report=Reports(), address=cluster.address
        ) as engine:
            assert engine.workers == 1
            for i in range(6):
                engine.submit(proposal(i, "sleeps"))
            node = cluster.add_node(num_cpus=1)
            ended: list[Trial] = []
            poll_until(engine, ended, lambda: engine.workers == 2)
            poll_until(engine, ended, lambda: len({trial.worker for trial in ended}) == 2)
            assert len(ended) < 6
            cluster.remove_node(node, allow_graceful=False)
            poll_until(engine, ended, lambda: len(ended) == 6)
        assert {trial.status for trial in ended} == {"done"}
        assert sorted(trial.id for trial in ended) == list(range(6))
    finally:
        cluster.shutdown()


def poll_until(engine: RayEngine, ended: list[Trial], happened: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < until
        ended += engine.poll(timeout=1)
