"""PyGlove's loops over Ray: the study alone, as PyGlove's own backend in memory, then in an actor."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyglove as pg
import pytest
import ray

import nas.cluster.pyglove
import spaces
from nas.cluster.study import Study
from nas.search.pyglove import Searcher
from nas.types import InvalidInput
from spaces import symbolic

SPACE = pg.Dict(x=pg.oneof(range(8)), y=pg.floatv(0.0, 1.0))
HYBRID = spaces.load("hybrid", spaces.tokens(64, 32), parameters=300_000)


def evolution(seed: int = 0) -> pg.DNAGenerator:
    mutator = pg.evolution.mutators.Uniform(seed=seed)
    return pg.evolution.regularized_evolution(mutator, population_size=6, tournament_size=3, seed=seed)


def study(**options: Any) -> Study:
    return Study(pg.dna_spec(SPACE), evolution(), ("reward",), **options)


def go_on(one: Study, number: int, worker: str = "a") -> list[pg.DNA]:
    """Evaluates trials, with the first choice as reward."""
    dnas = []
    for _ in range(number):
        trial = pg.from_json_str(one.next(worker))
        dnas.append(trial.dna)
        one.measure(
            trial.id,
            {
                "reward": float(trial.dna.children[0].value),
                "step": 1,
                "elapse_secs": 0.0,
                "metrics": {},
                "checkpoint_path": None,
            },
        )
        one.done(trial.id, {}, {})
    return dnas


def test_a_study_proposes_what_the_loop_in_memory_does() -> None:
    expected = []
    for value, feedback in pg.sample(SPACE, evolution(), 20):
        expected.append(feedback.dna)
        feedback(float(value.x))
    assert go_on(study(), 20) == expected


def test_a_study_goes_on_from_its_file(tmp_path: Path) -> None:
    path = str(tmp_path / "study.db")
    first = study(storage=path)
    done = go_on(first, 15)
    pending = first.next("a")
    first.set_metadata(None, "note", pg.to_json_str("kept"))
    del first
    second = study(storage=path)
    assert second.next("a") == pending
    assert second.metadata() == {"note": '"kept"'}
    trials = [pg.from_json_str(text) for text in second.result()["trials"]]
    assert [trial.dna for trial in trials[:15]] == done
    living = second._algorithm.population
    assert sorted(dna.children[0].value for dna in living) == sorted(
        dna.children[0].value for dna in done[-6:]
    )
    assert go_on(second, 5)


def test_a_file_of_another_study_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "study.db")
    go_on(study(storage=path), 2)
    with pytest.raises(InvalidInput, match="holds a study of other decisions"):
        Study(pg.dna_spec(pg.Dict(x=pg.oneof([1, 2]))), evolution(), ("reward",), storage=path)


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no database, but long enough to be read as the head of one: " * 20)
    for path in (tmp_path / "missing" / "study.db", tmp_path / "notes.txt"):
        with pytest.raises(InvalidInput, match=rf"storage '{path}' cannot be opened as an SQLite file"):
            study(storage=str(path))


def test_workers_share_a_study_and_each_has_a_trial_of_its_own() -> None:
    one = study(examples=3)
    texts = [one.next(worker) for worker in ("a", "b", "a", "c", "d")]
    assert texts[0] == texts[2] != texts[1]
    assert [pg.from_json_str(text).id for text in texts[:4]] == [1, 2, 1, 3]
    assert texts[4] is None
    one.skip(1)
    assert one.next("a") is None
    one.skip(2)
    with pytest.raises(pg.tuning.RaceConditionError, match="trial 2 has ended"):
        one.measure(2, {"reward": 1.0, "step": 1, "elapse_secs": 0.0})
    with pytest.raises(ValueError, match="trial 3 ends, but nothing was measured"):
        one.done(3, {}, {})
    one.end()
    assert one.next("e") is None


def test_what_is_refused_before_ray_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(InvalidInput, match="needs a running Ray"):
        next(iter(pg.sample(SPACE, evolution(), 1, backend="ray")))
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    wanted = ["reward", "size"]
    with pytest.raises(InvalidInput, match="has reward, size, but Evolution follows one metric"):
        next(iter(pg.sample(SPACE, evolution(), 1, backend="ray", metrics_to_optimize=wanted)))


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def loop(
    name: str, space: Any, make: Callable[[], pg.DNAGenerator], examples: int, storage: str | None
) -> int:
    """A worker, which dies once in its second trial."""
    import nas.cluster.pyglove  # noqa: F401

    mark, number = Path(f"{storage}.died"), 0
    loops = pg.sample(space, make(), examples, name=name, backend="ray", storage=storage)
    for number, (_, feedback) in enumerate(loops, 1):
        feedback.set_metadata("pid", os.getpid())
        if number == 2 and not mark.exists():
            mark.write_text(f"{feedback.id} {os.getpid()}")
            os._exit(1)
        feedback(float(len(str(feedback.dna))))
    return number


@pytest.mark.usefixtures("cluster")
def test_workers_on_ray(tmp_path: Path) -> None:
    storage = str(tmp_path / "study.db")
    space, make = symbolic.hyper(HYBRID), lambda: Searcher("evolution", HYBRID, seed=1)
    ray.cloudpickle.register_pickle_by_value(__import__(__name__, fromlist=["x"]))
    work = ray.remote(max_retries=2)(loop)
    ray.get([work.remote("shared", space, make, 12, storage) for _ in range(2)], timeout=180)
    result = pg.tuning.poll_result("shared", backend="ray")
    died, pid = map(int, Path(f"{storage}.died").read_text().split())
    assert [trial.status for trial in result.trials] == ["COMPLETED"] * 12
    assert result.best_trial.final_measurement.reward == max(
        trial.final_measurement.reward for trial in result.trials
    )
    assert result.trials[died - 1].metadata["pid"] != pid
    assert "12 of 12 trials ended" in str(result)

    nas.cluster.pyglove.forget("shared")
    with pytest.raises(InvalidInput, match="no study 'shared' on this cluster; there are: none"):
        pg.tuning.poll_result("shared", backend="ray")
    again = pg.sample(space, make(), 13, name="shared", backend="ray", storage=storage)
    assert [feedback.id for _, feedback in again if feedback(1.0) is None] == [13]
    nas.cluster.pyglove.forget("shared")


@pytest.mark.usefixtures("cluster")
def test_a_loop_without_a_name_and_all_that_a_feedback_can() -> None:
    ours = pg.sample(SPACE, evolution(), 4, backend="ray")
    _, feedback = next(ours)
    feedback.add_measurement(0.5, step=1, checkpoint_path="here")
    feedback.add_link("log", "https://example.org/log")
    feedback.set_metadata("all", [1, 2], per_trial=False)
    assert feedback.get_metadata("all", per_trial=False) == [1, 2]
    assert feedback.get_metadata("none") is None
    assert (feedback.status, feedback.checkpoint_to_warm_start_from) == ("PENDING", "here")
    assert not feedback.should_stop_early()
    feedback.done(metadata={"how": "well"})
    assert feedback.status == "COMPLETED"
    assert feedback.get_metadata("how") == "well"
    assert feedback.get_trial().related_links == {"log": "https://example.org/log"}
    _, feedback = next(ours)
    assert feedback.id == 2
    feedback.skip()
    feedback.end_loop()
    assert list(ours) == []
    used = evolution()
    used.setup(pg.dna_spec(SPACE))
    with pytest.raises(InvalidInput, match="was used before"):
        next(iter(pg.sample(SPACE, used, 1, backend="ray")))
