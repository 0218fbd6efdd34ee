import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import benchmarks
from nas.cluster.simulated import Conditions, SimulatedEngine
from nas.compare import simulate
from nas.search.random_search import RandomSearch
from nas.search.stopping import MedianStopping
from nas.types import Fidelity, InvalidInput, Objective, Proposal
from spaces import Genome, ProductSpace, choice, vector

DESCRIPTION = benchmarks.Description(
    name="made-up/line",
    about="",
    space="line:line",
    io={"vector": {"features": 1}},
    objective="loss",
    metrics=(
        benchmarks.Metric("loss", "min", "nats", split="valid", seeds=2),
        benchmarks.Metric("test_loss", "min", "nats", split="test"),
        benchmarks.Metric("train_time", "min", "seconds"),
    ),
    source="",
    licence="",
    paper="",
)

TIMES = np.array([5.0, 1.0, 2.0, 8.0, 3.0, 1.0])


def line(io):
    return ProductSpace("line", {"x": choice(*range(6), ordered=True)}, io)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    (folder / "line.py").write_text(
        "from spaces import ProductSpace, choice\n"
        "def line(io): return ProductSpace('line', {'x': choice(*range(6), ordered=True)}, io)\n"
    )
    loss = np.array([[3.0, 5.0], [1.0, np.nan], [np.nan, np.nan], [6.0, 6.0], [7.0, 7.0], [8.0, 8.0]])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        benchmarks.Table.write(
            folder / "line.arrow",
            DESCRIPTION,
            {"loss": loss, "test_loss": np.arange(6.0), "train_time": TIMES},
        )
        yield benchmarks.Table(folder / "line.arrow")


def proposal(id, x):
    genome: Genome = line(vector(1)).genome(x=x)
    return Proposal(id, genome, Fidelity(1), 0)


def test_trials_are_rows(table):
    engine = SimulatedEngine(table)
    for id, x in enumerate((0, 1, 2)):
        engine.submit(proposal(id, x))
    trials = [engine.poll(0.0)[0] for _ in range(3)]
    assert [trial.metrics for trial in trials] == [
        {"loss": 4.0, "train_time": 5.0},
        {"loss": 1.0, "train_time": 1.0},
        {},
    ]
    assert [trial.status for trial in trials] == ["done", "done", "failed"]
    assert trials[2].error == "the table has no loss of this genome"
    assert [trial.started for trial in trials] == [0.0, 5.0, 6.0]
    assert engine.now == 8.0
    assert engine.poll(0.0) == []


def test_a_test_metric_is_told_where_it_was_asked_for(table):
    engine = SimulatedEngine(benchmarks.Table(table.path, "test_loss"))
    engine.submit(proposal(0, 3))
    (trial,) = engine.poll(0.0)
    assert (trial.status, trial.metrics["test_loss"]) == ("done", 3.0)


@pytest.mark.parametrize("kind", [RandomSearch, MedianStopping])
def test_a_strategy_is_after_what_a_search_is_told(table, kind):
    def search(metric, on):
        strategy = kind(line(vector(1)), [Objective(metric, "min")], 0, Fidelity(1))
        return [*simulate(strategy, on, 3)]

    with pytest.raises(
        InvalidInput,
        match=r"'test_loss' of table 'made-up/line' is of the test split, .* benchmarks\.Table\(",
    ):
        search("test_loss", table)
    with pytest.raises(benchmarks.InvalidTable, match="no metric 'los', did you mean 'loss'"):
        search("los", table)
    asked = benchmarks.Table(table.path, "test_loss")
    assert {*search("test_loss", asked)[0].metrics} == {"loss", "test_loss", "train_time"}


def test_workers_train_at_the_same_time(table):
    engine = SimulatedEngine(table, workers=2)
    for id, x in enumerate((0, 1, 3)):
        engine.submit(proposal(id, x))
    ends = []
    while trials := engine.poll(0.0):
        ends.append((trials[0].id, trials[0].worker, engine.now))
    assert ends == [(1, "simulated-1", 1.0), (0, "simulated-0", 5.0), (2, "simulated-1", 9.0)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(1, 4))
def test_as_many_workers_as_there_are(table, xs, workers):
    """Against a plain simulation: the next trial starts when a worker is free, as a campaign would submit it."""
    engine = SimulatedEngine(table, workers)
    ends, running, waiting = [], 0, list(enumerate(xs))
    while waiting or running:
        while waiting and running < workers:
            engine.submit(proposal(*waiting.pop(0)))
            running += 1
        for trial in engine.poll(0.0):
            ends.append((engine.now, trial.id))
            running -= 1
    free = [0.0] * workers
    expected = []
    for id, x in enumerate(xs):
        end = heapq.heappop(free) + TIMES[x]
        heapq.heappush(free, end)
        expected.append((end, id))
    assert ends == sorted(expected)
    assert engine.now == max(expected)[0]


def test_closing_forgets_what_runs(table):
    engine = SimulatedEngine(table)
    engine.submit(proposal(0, 0))
    engine.close()
    assert engine.poll(0.0) == []


def course(table, xs, conditions, workers=1, seed=0):
    engine = SimulatedEngine(table, workers, conditions, seed)
    for id, x in enumerate(xs):
        engine.submit(proposal(id, x))
    trials = []
    while ended := engine.poll(0.0):
        trials += ended
    return sorted(trials, key=lambda trial: trial.id)


def test_noisy_trials_tell_one_run_that_was_measured(table):
    trials = course(table, [0] * 40 + [1] * 10, Conditions(noisy=True))
    assert {trial.metrics["loss"] for trial in trials[:40]} == {3.0, 5.0}
    assert {trial.metrics["loss"] for trial in trials[40:]} == {1.0}, "the other run was not measured"
    assert all(trial.metrics["train_time"] == trial.duration for trial in trials)


def test_stragglers_take_longer(table):
    trials = course(table, [3] * 400, Conditions(stragglers=0.25, slowdown=3.0))
    assert {trial.duration for trial in trials} == {8.0, 24.0}
    assert 70 <= sum(trial.duration == 24.0 for trial in trials) <= 130


def test_the_clock_stops(table):
    all_of_them = course(table, [0, 1, 3, 4] * 5, Conditions(), workers=2)
    ends = sorted(trial.started + trial.duration for trial in all_of_them)
    some = course(table, [0, 1, 3, 4] * 5, Conditions(seconds=ends[7]), workers=2)
    assert sorted(trial.started + trial.duration for trial in some) == [end for end in ends if end <= ends[7]]
    assert {trial.id: trial for trial in some}.items() <= {trial.id: trial for trial in all_of_them}.items()


def test_workers_that_die(table):
    """A trial is trained again, and fails where that dies too: about a quarter of a half of them."""
    trials = course(table, [3] * 400, Conditions(deaths=0.5))
    failed = [trial for trial in trials if trial.status == "failed"]
    assert 70 <= len(failed) <= 130
    assert {(trial.error, trial.deaths) for trial in failed} == {("its worker died twice", 2)}
    deaths = [trial.deaths for trial in trials if trial.status == "done"]
    assert set(deaths) == {0, 1}
    assert 70 <= sum(deaths) <= 130
    again = [trial for trial in trials if trial.status == "done" and trial.duration > 8.0]
    assert 70 <= len(again) <= 130
    assert all(8.0 < trial.duration < 16.0 for trial in again)
    assert sum(trial.duration == 8.0 for trial in trials) == 400 - len(failed) - len(again)


def test_what_befalls_a_trial_follows_from_its_number_and_the_seed(table):
    conditions = Conditions(noisy=True, stragglers=0.3, deaths=0.3)
    told = [
        [
            (trial.metrics, trial.duration)
            for trial in course(table, [0, 3, 4] * 20, conditions, workers, seed)
        ]
        for workers, seed in ((1, 0), (7, 0), (1, 1))
    ]
    assert told[0] == told[1] != told[2]


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("stragglers", 1.5, "stragglers = 1.5, but it must be a share from 0 to 1"),
        ("deaths", -0.1, "deaths = -0.1, but it must be a share from 0 to 1"),
        ("slowdown", 0.5, "slowdown = 0.5, but it must be at least 1"),
        ("seconds", 0.0, "seconds = 0, but it must be above 0"),
    ],
)
def test_conditions_that_cannot_be(key, value, message):
    with pytest.raises(InvalidInput, match=message):
        Conditions(**{key: value})
