import numpy as np
import pyarrow.compute
import pytest

import benchmarks
import spaces
from nas.cluster.simulated import Conditions
from nas.compare import (
    TOP,
    Contestant,
    compare,
    curves,
    milestones,
    plan,
    ranks,
    relative_improvement,
    simulate,
    summary,
    write,
)
from nas.config import parse
from nas.search import STRATEGIES
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


def made_up(runs):
    """Rows as `compare` gives them, from the regrets of each table and contestant by seed; 0 is the best row."""
    rows = {key: [] for key in ("table", "strategy", "seed", "spent", "regret", "top")}
    for (table, strategy), by_seed in runs.items():
        for seed, regrets in enumerate(by_seed):
            for evaluation, regret in enumerate(regrets, start=1):
                row = (table, strategy, seed, float(evaluation), regret, 0.0001 if regret == 0 else 0.5)
                for values, value in zip(rows.values(), row, strict=True):
                    values.append(value)
    return pyarrow.table(rows)


def test_a_run_that_ended_early_keeps_its_last_regret():
    curve = curves(made_up({("t", "s"): [[0.5, 0.25], [1.0]]}))[0]
    assert curve.mean.tolist() == [0.75, 0.625]
    assert curve.shortest == 1


def test_how_soon_the_best_rows_are_reached():
    [curve] = curves(made_up({("t", "s"): [[0.5, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]]}))
    np.testing.assert_array_equal(curve.reached, [2, 4, np.nan, 1])
    assert [row["best"] for row in summary([curve])] == [0.25, 0.5, 0.75]
    assert TOP == 0.0005


def test_the_best_of_a_small_table_is_among_its_best():
    rows = made_up({("t", "s"): [[0.5, 0]]}).to_pydict()
    curve = curves(pyarrow.table({**rows, "top": [0.5, 1 / 60]}))[0]
    np.testing.assert_array_equal(curve.reached, [2])


def test_the_interquartile_mean_is_that_of_the_middle_half():
    [curve] = curves(made_up({("t", "s"): [[value] for value in (0.9, 0.1, 0.2, 5, 0, 0.3, 0.4, 0)]}))
    assert curve.interquartile_mean.tolist() == [pytest.approx((0.1 + 0.2 + 0.3 + 0.4) / 4)]


def test_ranks():
    """Demsar 2006, table 6 and section 3.2.2: four classifiers on 14 data sets."""
    c45 = [0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1, 0.940, 0.619, 0.972, 0.957]
    c45_m = [0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668, 0.583, 0.838, 1, 0.962, 0.666, 0.981, 0.978]
    c45_cf = [0.771, 0.590, 0.968, 0.654, 0.886, 0.916, 0.609, 0.563, 0.866, 1, 0.965, 0.614, 0.9751, 0.946]
    c45_m_cf = [0.798, 0.569, 0.967, 0.657, 0.898, 0.931, 0.685, 0.625, 0.875, 1, 0.962, 0.669, 0.975, 0.970]
    runs = {"C4.5": c45, "C4.5+m": c45_m, "C4.5+cf": c45_cf, "C4.5+m+cf": c45_m_cf}
    found = ranks(curves(made_up({("t", name): [[1 - auc] for auc in aucs] for name, aucs in runs.items()})))
    assert {name: round(mean, 3) for name, mean in found.mean.items()} == {
        "C4.5+m+cf": 1.964,
        "C4.5+m": 2.0,
        "C4.5+cf": 2.893,
        "C4.5": 3.143,
    }
    assert found.blocks == 14
    assert found.difference == pytest.approx(1.25, abs=0.005)  # 2.569 sqrt(4 * 5 / (6 * 14))
    assert 0.01 < found.p < 0.05
    with pytest.raises(ValueError, match="only be ranked on the same tables"):
        ranks(curves(made_up({("t", "a"): [[1]], ("t", "b"): [[1], [2]]})))


def test_relative_improvement(rows):
    found = relative_improvement(rows)
    assert found[TABLE, "random"] == 0
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


def test_no_improvement_over_nothing():
    """Where random search finds zero, what finds it too is no better, and anything else cannot be told in percent."""
    rows = made_up({(TABLE, "random"): [[0.0]], (TABLE, "same"): [[0.0]], (TABLE, "other"): [[0.0]]})
    rows = rows.append_column("best", pyarrow.array([0.0, 0.0, 1.0]))
    found = relative_improvement(rows)
    assert found[TABLE, "random"] == found[TABLE, "same"] == 0
    assert np.isnan(found[TABLE, "other"])


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


def test_a_plan():
    """Trials of very different lengths keep few workers busy and many idle; nothing else changes with random draws."""
    config = parse(
        {
            "name": "plan",
            "space": {"name": "hybrid"},
            "task": {"name": "bytes"},
            "strategy": {"name": "random"},
            "budget": {"trials": 60, "steps": 1},
            "objectives": [{"metric": "valid_bpb"}],
        }
    )
    table = benchmarks.load(TABLE)
    one, eight, many = plan(config, table, [1, 8, 60], seeds=1)
    assert (one.workers, one.failed) == (1, 0)
    assert one.utilisation == pytest.approx(1)
    assert one.speedup == pytest.approx(1)
    assert one.regret == pytest.approx(many.regret)
    assert 5 < eight.speedup < 8
    assert many.utilisation < eight.utilisation < 1
    assert many.seconds * many.speedup == pytest.approx(one.seconds)
    assert plan(config, table, [8], seeds=3, conditions=Conditions(deaths=0.5))[0].failed > 0
    with pytest.raises(InvalidInput, match=r"workers = \[0\] and seeds = 5 must be at least 1"):
        plan(config, table, [0])


def test_figures(rows, tmp_path):
    from nas.report.plots import edf_figure, ranks_figure, regret_figure

    found = curves(rows)
    for name, (svg, png) in {
        "regret": regret_figure(found, tmp_path),
        "edf": edf_figure(found, tmp_path),
        "ranks": ranks_figure(ranks(found), tmp_path),
    }.items():
        assert (svg.name, png.name) == (f"{name}.svg", f"{name}.png")
        assert "<svg" in svg.read_text()
        assert png.read_bytes()[:4] == b"\x89PNG"


def test_figures_tell_regrets_of_any_size(rows, tmp_path, monkeypatch):
    """Axes and their ticks, alike in both figures, go on past the median of a table as far as the worst contestant."""
    import dataclasses
    import re

    import matplotlib

    from nas.report.plots import edf_figure, regret_figure

    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "none")
    first = curves(rows)[0]
    good, bad = (
        dataclasses.replace(
            first, strategy=name, regrets=0 * first.regrets + at, median=0 * first.median + at
        )
        for name, at in (("good", 0.5), ("bad", 25))
    )
    for figure in (regret_figure, edf_figure):
        svg, _ = figure([good, bad], tmp_path)
        told = re.findall(r"<text[^>]*>([^<]*)</text>", svg.read_text())
        assert {"0", "0.01", "0.1", "1", "10"} <= set(told)
        assert "100" not in told


def test_milestones():
    assert milestones(100) == [25, 50, 100]
    assert milestones(1) == [1]


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
            "strategy 'evolution+tree': unknown predictor 'tree', did you mean 'trees'? allowed: trees, gaussian, stacked, or "
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
