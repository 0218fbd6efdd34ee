import numpy as np
import pyarrow.compute
import pytest

import benchmarks
import spaces
from nas.cluster.simulated import SimulatedEngine
from nas.compare import Contestant, compare, curves, milestones, play, summary, write
from nas.types import Finished, InvalidInput
from spaces import InvalidSpace

TABLE = "nasbench201/cifar100"
SEEDS = 5

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def rows(cache):
    seen = []
    rows = compare(
        [TABLE], ["random", "evolution"], evaluations=30, seeds=SEEDS, observe=lambda *done: seen.append(done)
    )
    assert seen == [(k, 2 * SEEDS) for k in range(1, 2 * SEEDS + 1)]
    return rows


def test_every_evaluation_has_a_row(rows):
    assert rows.num_rows == 2 * SEEDS * 30
    runs = {(row["strategy"], row["seed"]) for row in rows.to_pylist()}
    assert runs == {(strategy, seed) for strategy in ("random", "evolution") for seed in range(SEEDS)}
    table = benchmarks.load(TABLE)
    regret = None
    for row in rows.to_pylist():
        assert row["value"] == table.query(row["text"])
        now = float(table.regret(np.array(table.rank(row["text"]))))
        regret = now if row["evaluation"] == 1 else min(regret, now)
        assert row["regret"] == regret
    assert len({row["text"] for row in rows.to_pylist() if row["strategy"] == "random"}) > 80


def test_runs_are_those_of_one_process(rows):
    table = benchmarks.load(TABLE)
    trials = play(Contestant.parse("evolution").make(table, 2), SimulatedEngine(table), 30)
    mine = [row for row in rows.to_pylist() if row["strategy"] == "evolution" and row["seed"] == 2]
    assert [trial.proposal.genome.text for trial in trials] == [row["text"] for row in mine]
    assert [trial.started + trial.duration for trial in trials] == [row["seconds"] for row in mine]


def test_workers_save_simulated_time():
    table = benchmarks.load(TABLE)
    alone, eight = (
        play(Contestant.parse("random").make(table, 0), SimulatedEngine(table, workers), 40)
        for workers in (1, 8)
    )
    assert {trial.id for trial in alone} == {trial.id for trial in eight} == set(range(40))
    ends = [max(trial.started + trial.duration for trial in trials) for trials in (alone, eight)]
    assert ends[0] / 8 < ends[1] < ends[0] / 5


def test_curves(rows):
    found = curves(rows)
    assert [(curve.table, curve.strategy, curve.seeds) for curve in found] == [
        (TABLE, "random", SEEDS),
        (TABLE, "evolution", SEEDS),
    ]
    frame = rows.to_pylist()
    for curve in found:
        runs = [
            [row["regret"] for row in frame if row["strategy"] == curve.strategy and row["seed"] == seed]
            for seed in range(SEEDS)
        ]
        np.testing.assert_array_equal(curve.median, np.median(runs, axis=0))
        np.testing.assert_allclose(curve.mean, np.mean(runs, axis=0))
        assert (curve.low <= curve.median).all()
        assert (curve.median <= curve.high).all()
        # The median of an odd number of seeds is one of them.
        assert set(curve.low) <= {value for run in runs for value in run}
    told = summary(found)
    assert [row["evaluations"] for row in told] == [7, 15, 30] * 2
    assert told[2]["median"] == found[0].median[-1]


def test_few_seeds_have_no_interval(rows):
    few = rows.filter(pyarrow.compute.less(rows["seed"], 4))
    assert all(np.isnan(curve.low).all() and curve.seeds == 4 for curve in curves(few))
    assert all(row["low"] is row["high"] is None for row in summary(curves(few)))


def test_one_process_is_this_one(rows):
    here = compare([TABLE], ["random", "evolution"], evaluations=30, seeds=SEEDS, processes=1)
    assert here.equals(rows)


def test_a_run_that_ended_early_keeps_its_last_regret():
    run = {"table": ["t"] * 3, "strategy": ["s"] * 3, "evaluation": [1, 2, 1], "regret": [0.5, 0.25, 1.0]}
    curve = curves(pyarrow.table({**run, "seed": [0, 0, 1]}))[0]
    assert curve.mean.tolist() == [0.75, 0.625]
    assert curve.shortest == 1


def test_a_strategy_may_have_no_more():
    class Three:
        def __init__(self, table):
            self.table, self.told = table, []

        def ask(self, n):
            k = sum(hasattr(event, "proposal") for event in self.told)
            if k == 3:
                raise Finished
            strategy = Contestant.parse("random").make(self.table, 0)
            return strategy.ask(k + 1)[k:]

        def tell(self, event):
            self.told.append(event)

    table = benchmarks.load(TABLE)
    assert len(play(Three(table), SimulatedEngine(table), 10)) == 3


def test_written(rows, tmp_path):
    from pyarrow import parquet

    assert parquet.read_table(write(rows, tmp_path)).equals(rows)


def test_figures(rows, tmp_path):
    from nas.report.plots import regret_figure

    svg, png = regret_figure(curves(rows), tmp_path)
    assert "<svg" in svg.read_text()
    assert png.read_bytes()[:4] == b"\x89PNG"


def test_milestones():
    assert milestones(100) == [25, 50, 100]
    assert milestones(1) == [1]


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"contestants": ["evolutoin"]},
            "unknown strategy 'evolutoin', did you mean 'evolution'? allowed: random, evolution, screened, or "
            "strategy+predictor",
        ),
        (
            {"contestants": ["evolution+tree"]},
            "strategy 'evolution+tree': unknown predictor 'tree', did you mean 'trees'? allowed: trees, or "
            "'package.module:attribute' for your own",
        ),
        (
            {"contestants": ["random+trees"]},
            "strategy 'random' makes no candidates that a predictor could rank: leave the predictor out",
        ),
        ({"contestants": []}, "strategies are none: name each once, and one at least"),
        (
            {"tables": [TABLE, TABLE]},
            f"tables are {TABLE}, {TABLE}: name each once, and one at least",
        ),
        (
            {"evaluations": 0},
            f"evaluations = 0, but it must be from 1 to 15625, the rows of table '{TABLE}'",
        ),
        (
            {"evaluations": 15626},
            f"evaluations = 15626, but it must be from 1 to 15625, the rows of table '{TABLE}'",
        ),
        ({"seeds": 0}, "seeds = 0, but it must be at least 1"),
        ({"workers": 0}, "workers = 0, but it must be at least 1"),
    ],
)
def test_refused_before_anything_runs(change, message):
    given = {"tables": [TABLE], "contestants": ["random"], "evaluations": 5, "seeds": 1} | change
    with pytest.raises(InvalidInput) as caught:
        compare(**given, observe=lambda *done: pytest.fail("something ran"))
    assert str(caught.value) == message


def test_an_unknown_table_is_refused():
    with pytest.raises(benchmarks.InvalidTable, match="unknown table 'nasbench101/cifar10'"):
        compare(["nasbench101/cifar10"], ["random"])


def test_table_spaces_take_no_tokens():
    with pytest.raises(InvalidSpace, match="space 'nasbench201' reads images"):
        benchmarks.load(TABLE).space.at(spaces.tokens())
