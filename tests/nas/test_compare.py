import subprocess
import sys

import numpy as np
import pyarrow.compute
import pytest

import benchmarks
import nas.search as search
import spaces
from benchmarks import Description, Metric, Table
from nas.cluster.simulated import Conditions
from nas.compare import (
    Contestant,
    compare,
    curves,
    ranks,
    relative_improvement,
    simulate,
    summary,
    write,
    write_curves,
)
from nas.search import STRATEGIES
from nas.types import Fidelity, Finished, InvalidInput, Objective
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
    losses = table.losses()
    for row in rows.filter(pyarrow.compute.equal(rows["evaluation"], 1)).to_pylist():
        better = (losses < losses[table.rank(row["text"])]).sum()
        assert row["top"] == (better + 1) / np.isfinite(losses).sum()
    assert len({row["text"] for row in rows.to_pylist() if row["strategy"] == "random"}) > 80


def test_runs_are_those_of_one_process(rows):
    table = benchmarks.load(TABLE)
    trials = [*simulate(Contestant.parse("evolution").make(table, 2), table, 30)]
    mine = [row for row in rows.to_pylist() if row["strategy"] == "evolution" and row["seed"] == 2]
    assert [trial.proposal.genome.text for trial in trials] == [row["text"] for row in mine]
    assert [trial.started + trial.duration for trial in trials] == [row["seconds"] for row in mine]


def test_strategies_are_told_how_many_evaluations_there_are():
    table = benchmarks.load(TABLE)
    objective = Objective(table.objective.name, table.objective.direction)
    made = search.load(
        "auto", space=table.candidates, objectives=[objective], fidelity=Fidelity(200, "epochs"), trials=12
    )
    trials = [*simulate(made, table, 12)]
    assert trials[3].proposal.origin == "bayesian", "of 12 trials, three come first"
    found = compare([TABLE], ["auto"], evaluations=12, seeds=1, processes=1)
    assert found["text"].to_pylist() == [trial.proposal.genome.text for trial in trials]


def test_workers_save_simulated_time():
    table = benchmarks.load(TABLE)
    alone, eight = (
        [*simulate(Contestant.parse("random").make(table, 0), table, 40, workers)] for workers in (1, 8)
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
        low, high = curve.intervals["median"]
        assert (low <= curve.median).all()
        assert (curve.median <= high).all()
        # The median of an odd number of seeds is one of them.
        assert set(low) <= {value for run in runs for value in run}
    told = summary(found)
    assert [row["evaluations"] for row in told] == [7, 15, 30] * 2
    assert told[2]["median"] == found[0].median[-1]


def test_curves_over_simulated_seconds(rows):
    """At each time the regret of the last trial of a run that had ended by then."""
    random, evolution = curves(rows, "seconds")
    frame = rows.to_pylist()
    assert random.at.tolist() == evolution.at.tolist()
    assert (random.at[0], random.at[-1]) == tuple(f(r["seconds"] for r in frame) for f in (min, max))
    for curve in (random, evolution):
        assert curve.over == "seconds"
        for place in (0, 50, 120, 199):
            for seed in range(SEEDS):
                run = [r for r in frame if (r["strategy"], r["seed"]) == (curve.strategy, seed)]
                ended = [r["regret"] for r in run if r["seconds"] <= curve.at[place]]
                np.testing.assert_equal(curve.regrets[seed, place], ended[-1] if ended else np.nan)
    np.testing.assert_array_equal(
        np.isnan(random.intervals["median"][0]), np.isnan(random.regrets).any(axis=0)
    )
    np.testing.assert_array_equal(np.isnan(random.interquartile_mean), np.isnan(random.mean))


def test_few_seeds_have_no_interval(rows):
    few = rows.filter(pyarrow.compute.less(rows["seed"], 4))
    assert all(np.isnan(curve.intervals["median"]).all() and curve.seeds == 4 for curve in curves(few))
    assert all(row["low"] is row["high"] is None for row in summary(curves(few)))


def test_one_process_is_this_one(rows):
    here = compare([TABLE], ["random", "evolution"], evaluations=30, seeds=SEEDS, processes=1)
    assert here.equals(rows)


def test_relative_improvement(rows):
    """Yang et al. 2020: over the mean row, and over what random search found."""
    table = benchmarks.load(TABLE)
    best = {
        name: np.mean(
            [
                max(r["value"] for r in rows.to_pylist() if (r["strategy"], r["seed"]) == (name, seed))
                for seed in range(SEEDS)
            ]
        )
        for name in ("random", "evolution")
    }
    assert table.objective.direction == "max"
    average = np.mean(table.column())
    found = relative_improvement(rows)
    for name, value in best.items():
        assert found[TABLE, name] == pytest.approx(100 * (value - average) / average)
    found = relative_improvement(rows, over="random")
    assert found[TABLE, "random"] == 0
    assert found[TABLE, "evolution"] == pytest.approx(100 * (best["evolution"] / best["random"] - 1))
    with pytest.raises(ValueError, match="'tpe' is not among the contestants"):
        relative_improvement(rows, over="tpe")


def test_what_has_run_is_not_run_again(tmp_path):
    def run(**changes):
        seen = []
        given = {"tables": [TABLE], "contestants": ["random", "evolution"], "evaluations": 5, "seeds": 2}
        rows = compare(**given | changes, processes=1, keep=tmp_path, observe=lambda *done: seen.append(done))
        return rows, seen

    class Stopped(Exception): ...

    def stop(done, of):
        if done == 3:
            raise Stopped

    with pytest.raises(Stopped):
        compare(
            [TABLE], ["random", "evolution"], evaluations=5, seeds=2, processes=1, keep=tmp_path, observe=stop
        )
    rows, seen = run()
    assert seen == [(3, 4), (4, 4)]
    assert rows.equals(compare([TABLE], ["random", "evolution"], evaluations=5, seeds=2, processes=1))
    assert run()[1] == [(4, 4)]
    assert run(evaluations=6)[1] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    damaged = next(path for path in tmp_path.iterdir() if path.name.endswith("evolution-1.parquet"))
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert run(evaluations=6)[1] == [(3, 4), (4, 4)]


def test_a_table_written_anew_is_run_again(tmp_path):
    """As it says of itself what it said before, its values alone tell that it is another."""
    size = spaces.load("nasbench201").size
    metric = Metric("valid_acc", "max", "percent", split="valid")
    io = {"image": {"channels": 3, "height": 32, "width": 32, "classes": 10}}
    described = Description("mine", "", "nasbench201", io, "valid_acc", (metric,))
    path = tmp_path / "mine.arrow"

    def run():
        rows = compare([str(path)], ["random"], evaluations=3, seeds=1, processes=1, keep=tmp_path / "runs")
        return rows["value"].to_pylist()

    for value in (50.0, 60.0):
        Table.write(path, described, {"valid_acc": np.full(size, value)})
        assert run() == [value] * 3


def test_processes_end_with_the_one_that_started_them():
    """However it ends: what they have open is closed while they would have had a minute of work."""
    script = (
        "import time\n"
        "from nas.compare.processes import on_all_cores\n"
        "for _ in on_all_cores(time.sleep, {0: (0,), 1: (60,), 2: (60,)}, 2):\n"
        "    print('at work', flush=True)\n"
    )
    started = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert started.stdout.readline() == b"at work\n"
    started.kill()
    assert started.communicate(timeout=40) == (b"", None)


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
    assert len([*simulate(Three(table), table, 10)]) == 3


def test_a_budget_of_simulated_seconds():
    table = benchmarks.load(TABLE)
    seconds = 20 * np.median(table.column("train_time"))
    given = {"evaluations": 30, "seeds": 2, "processes": 1}
    whole = compare([TABLE], ["random"], **given)
    short = compare([TABLE], ["random"], **given, conditions=Conditions(seconds=seconds))
    assert short.equals(whole.filter(pyarrow.compute.less_equal(whole["seconds"], seconds)))
    assert 0 < short.num_rows < whole.num_rows
    with pytest.raises(RuntimeError, match="'random' had no trial end in time on table"):
        compare([TABLE], ["random"], **given, conditions=Conditions(seconds=1))


def test_written(rows, tmp_path):
    from pyarrow import parquet

    assert parquet.read_table(write(rows, tmp_path)).equals(rows)
    found = [*curves(rows), *curves(rows, "seconds")]
    written = parquet.read_table(write_curves(found, tmp_path)).to_pylist()
    assert [row["over"] for row in written] == ["evaluations"] * 60 + ["seconds"] * 400
    of = [row for row in written if (row["strategy"], row["over"]) == ("evolution", "seconds")]
    assert [row["at"] for row in of] == found[3].at.tolist()
    columns = {name: getattr(found[3], name) for name in ("median", "mean", "interquartile_mean")}
    columns["low"], columns["high"] = found[3].intervals["median"]
    for name, known in columns.items():
        assert [row[name] for row in of] == [None if np.isnan(value) else value for value in known]


def test_the_best_is_what_was_seen_to_be(tmp_path):
    """Where trials are noisy or fail, the regret is of the trial that looked best."""
    conditions = Conditions(noisy=True, deaths=0.4)
    rows = compare([TABLE], ["random"], evaluations=30, seeds=2, processes=1, conditions=conditions)
    table = benchmarks.load(TABLE)
    for seed in range(2):
        strategy = Contestant.parse("random").make(table, seed)
        trials = [*simulate(strategy, table, 30, conditions=conditions, seed=seed)]
        worst = table.regret_of(np.array(np.inf))
        best, expected = None, []
        for trial in trials:
            if trial.status == "done" and (
                best is None or trial.metrics["valid_acc"] > best.metrics["valid_acc"]
            ):
                best = trial
            expected.append(worst if best is None else table.regret([table.rank(best.proposal.genome)])[0])
        mine = rows.filter(pyarrow.compute.equal(rows["seed"], seed))
        np.testing.assert_array_equal(mine["regret"], expected)
        assert any(trial.status == "failed" for trial in trials)


def test_figures(rows, tmp_path):
    from nas.report.plots import edf_figure, ranks_figure, regret_figure

    found = curves(rows)
    for name, (svg, png) in {
        "regret": regret_figure(found, tmp_path),
        "regret_seconds": regret_figure(curves(rows, "seconds"), tmp_path),
        "edf": edf_figure(found, tmp_path),
        "ranks": ranks_figure(ranks(found), tmp_path),
    }.items():
        assert (svg.name, png.name) == (f"{name}.svg", f"{name}.png")
        assert "<svg" in svg.read_text()
        assert png.read_bytes()[:4] == b"\x89PNG"


def test_figures_tell_tables_and_times_with_few_words(rows, tmp_path, monkeypatch):
    """A table by its file alone, and times that have room beside each other."""
    import dataclasses
    import re
    import warnings

    import matplotlib

    from nas.report.plots import regret_figure

    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "none")
    first = dataclasses.replace(curves(rows, "seconds")[0], table="/a/long/way/mine.arrow")
    points = len(first.at)

    def told(at):
        svg, _ = regret_figure([dataclasses.replace(first, at=at)], tmp_path)
        return re.findall(r"<text[^>]*>([^<]*)</text>", svg.read_text())

    within_a_decade = told(np.geomspace(2000, 15000, points))
    assert {"mine.arrow", "4k", "8k", "12k"} <= set(within_a_decade)
    assert {"3k", "10k", "30k"} <= set(told(np.geomspace(1600, 40000, points)))
    over_many = told(np.geomspace(12, 4e6, points))
    assert {"100", "10k", "1M"} <= set(over_many)
    assert "3k" not in over_many
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told(np.zeros(points))


def test_figures_tell_regrets_of_any_size(rows, tmp_path, monkeypatch):
    """Axes and their ticks, alike in both figures, go on past the median of a table as far as the worst contestant."""
    import dataclasses
    import re

    import matplotlib

    from nas.report.plots import edf_figure, regret_figure

    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "none")
    first = curves(rows)[0]
    good, bad = (
        dataclasses.replace(first, strategy=name, regrets=0 * first.regrets + at)
        for name, at in (("good", 0.5), ("bad", 25))
    )
    for figure in (regret_figure, edf_figure):
        svg, _ = figure([good, bad], tmp_path)
        told = re.findall(r"<text[^>]*>([^<]*)</text>", svg.read_text())
        assert {"0", "0.01", "0.1", "1", "10"} <= set(told)
        assert "100" not in told


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"contestants": ["evolutoin"]},
            f"unknown strategy 'evolutoin', did you mean 'evolution'? allowed: {', '.join(STRATEGIES)}, screened, "
            "optuna-tpe, optuna-tpe-multivariate, optuna-gp, optuna-nsga2, pyglove-evolution, smac-rf, "
            "syne-tune-bore, syne-tune-cqr, or strategy+predictor, strategy/sampler",
        ),
        (
            {"contestants": ["evolution+tree"]},
            "strategy 'evolution+tree': unknown predictor 'tree', did you mean 'trees'? allowed: trees, gaussian, stacked, deep, or "
            "'package.module:attribute' for your own",
        ),
        (
            {"contestants": ["bayesian+trees"]},
            "strategy 'bayesian' makes no candidates that a predictor could rank, but chooses by a model or an algorithm of its own: leave the predictor out",
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
