"""Tables made of one's own campaigns."""

import json
import re
import shutil
import sys

import numpy as np
import pytest

import benchmarks
import nas
import predictors
from benchmarks import InvalidTable, stack
from benchmarks.testing import table_checks
from nas.cli import main
from nas.compare import compare, plan
from nas.tables import tabulate
from nas.types import InvalidInput
from spaces import JointSpace


@pytest.fixture(scope="module")
def runs(tmp_path_factory, write_campaign):
    """The run folders of two campaigns that differ in their seeds, and of one that trained longer."""
    folder = tmp_path_factory.mktemp("runs")
    small = {"strategy.population": 3, "strategy.named": '["transformer++"]', "budget.trials": 5}
    made = {}
    for name, seed, steps in (("first", 0, 2), ("second", 7, 2), ("longer", 0, 3)):
        changes = {"name": f'"{name}"', "seed": seed, "budget.steps": steps, **small}
        made[name] = folder / name
        nas.run(write_campaign(folder, f"{name}.toml", **changes), dir=made[name])
    return made


@pytest.fixture(scope="module")
def table(runs, tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "own.arrow"
    return tabulate([nas.load(runs["first"]), nas.load(runs["second"])], path)


@pytest.mark.parametrize("check", table_checks, ids=lambda check: check.__name__)
def test_conformance(check, table):
    check(table)


def test_it_holds_what_was_measured(runs, table):
    results = [nas.load(runs[name]) for name in ("first", "second")]
    assert len(table) == len({t.proposal.genome.text for r in results for t in r.done})
    shared = table.space.architecture("transformer++")
    seeds = {0: 0, 1: 1, 7: 2, 8: 3}  # those of the campaigns, and of their confirmations
    assert table.objective.seeds == len(seeds)
    for result in results:
        seed = seeds[result.config.seed]
        for trial in result.done:
            genome = trial.proposal.genome
            assert table.query(genome, "valid_bpb", seed=seed) == trial.metrics["valid_bpb"]
            assert table.query(genome, "train_time", seed=seed) == trial.duration
            assert table.query(genome, "parameters") == trial.cost["parameters"]
    measured = [table.query(shared, "valid_bpb", seed=seed) for seed in range(table.objective.seeds)]
    assert np.isfinite(measured).sum() >= 2
    assert table.query(shared) == pytest.approx(np.nanmean(measured))
    best = results[0].best()
    assert np.isfinite(table.query(best.proposal.genome, "test_bpb"))
    assert table.metrics["test_bpb"].split == "test"
    assert table.objective.name == "valid_bpb"
    assert table.space.limits["parameters"] == 40_000
    assert {name: metric.unit for name, metric in table.metrics.items()} == {
        "valid_bpb": "bits per byte",
        "test_bpb": "bits per byte",
        "train_time": "seconds",
        "parameters": "parameters",
        "active_parameters": "parameters",
        "flops_per_token": "FLOPs",
        "state_bytes": "bytes",
    }
    assert "2 steps" in table.description.about


def test_predictors_learn_from_it(table):
    genomes = [table.genome(row) for row in range(len(table))]
    predictor = predictors.load("trees", space=table.space).fit(genomes, table.column())
    assert predictor.predict(genomes).mean.shape == (len(table),)


def test_the_command(runs, tmp_path, capsys):
    out = tmp_path / "mine.arrow"
    assert (
        main(["bench", "build", str(runs["first"]), "--out", str(out), "--name", "mine/first", "--json"]) == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert told == {"table": "mine/first", "rows": 5, "path": str(out)}
    assert re.fullmatch(
        r"campaigns first of grammar-nas \S+: task bytes \(text = \"\S+\", length = 16, batch = 4, .*\), 2 steps, "
        r"recipe lr = [\d.]+, .*",
        benchmarks.load(out).description.source,
    )
    assert main(["bench", "best", str(out)]) == 0
    assert "stack(layers=[" in capsys.readouterr().out


def test_the_space_of_a_campaign_is_found_where_it_was(tmp_path, monkeypatch, write_campaign):
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "space_of_a_run.py").write_text(
        "from spaces.catalog.hybrid import hybrid as again\n"
    )
    changes = {"space.name": '"space_of_a_run:again"', "budget.trials": 2, "strategy.population": 2}
    with monkeypatch.context() as began:
        began.setattr(sys, "path", list(sys.path))
        nas.run(write_campaign(tmp_path / "beside", **changes), dir=tmp_path / "run")
    del sys.modules["space_of_a_run"]
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main(["bench", "build", str(tmp_path / "run"), "--out", str(tmp_path / "own.arrow")]) == 0


def test_what_cannot_be_one_table(runs, tmp_path):
    first, longer = nas.load(runs["first"]), nas.load(runs["longer"])
    with pytest.raises(InvalidInput) as error:
        tabulate([first, longer], tmp_path / "own.arrow")
    assert str(error.value) == (
        f"{runs['longer']} has another fidelity than {runs['first']}, and losses of different training do not compare: "
        '"3 steps", not "2 steps"'
    )
    with pytest.raises(InvalidInput, match=r"must end in \.arrow"):
        tabulate([first], tmp_path / "own.parquet")
    (tmp_path / "old.arrow").touch()
    with pytest.raises(InvalidInput, match="exists; give a new name"):
        tabulate([first], tmp_path / "old.arrow")
    assert [path.name for path in tmp_path.iterdir()] == ["old.arrow"]


def test_campaigns_on_other_data_are_no_one_table(runs, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(runs["second"], other)
    versions = json.loads((other / "versions.json").read_text())
    (other / "versions.json").write_text(json.dumps({**versions, "data": "of another day"}))
    with pytest.raises(
        InvalidInput,
        match=rf"^{other} was trained on other data than {runs['first']}, and losses of different",
    ):
        tabulate([nas.load(runs["first"]), nas.load(other)], tmp_path / "own.arrow")
    one, two = (
        tabulate([nas.load(path)], tmp_path / f"{k}.arrow") for k, path in enumerate((runs["first"], other))
    )
    with pytest.raises(InvalidTable, match="the other bytes, of another day"):
        stack([one, two])
    assert len(stack([one, one])) == 2 * len(one)


def test_searched_hyperparameters_are_of_the_genomes(tmp_path, write_campaign, capsys):
    said = "{lr = [0.001, 0.003], weight_decay = {low = 0.01, high = 1.0, log = true}}"
    changes = {"space.hyperparameters": said, "strategy.population": 3, "budget.trials": 5}
    run = nas.run(write_campaign(tmp_path, **changes), dir=tmp_path / "run")
    path = tmp_path / "own.arrow"
    assert main(["bench", "build", str(tmp_path / "run"), "--out", str(path)]) == 0
    table = benchmarks.load(path)
    assert isinstance(table.space, JointSpace)
    recipe = table.description.source.partition("recipe ")[2]
    assert recipe.startswith("warmup = "), "the rates are those of the genomes"
    assert "weight_decay" not in recipe
    for trial in run.done:
        assert table.query(trial.proposal.genome, seed=0) == trial.metrics["valid_bpb"]
    for check in table_checks:
        check(table)
    rates = [table.space.values(table.genome(row))["lr"] for row in range(len(table))]
    assert table.filter("lr == 0.003").tolist() == [row for row, lr in enumerate(rates) if lr == 0.003]
    assert len(table.filter("weight_decay < 1", "weight_decay >= 0.01")) == len(table)
    with pytest.raises(
        InvalidTable, match="neither a metric nor a field 'weigth_decay', did you mean 'weight_d"
    ):
        table.filter("weigth_decay > 0.1")
    rows = compare([str(path)], ["random", "evolution"], evaluations=5, seeds=1, processes=1)
    assert set(rows["text"].to_pylist()) == {trial.proposal.genome.text for trial in run.done}
    capsys.readouterr()
    assert main(["bench", "info", str(path)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[-2:] == ["lr 0.001, 0.003", "weight_decay 0.01 to 1.0, on a log scale"]
    assert main(["bench", "info", str(path), "--json"]) == 0
    fields = json.loads(capsys.readouterr().out)["fields"]
    assert fields == {"lr": [0.001, 0.003], "weight_decay": {"low": 0.01, "high": 1.0, "log": True}}


def test_strategies_are_compared_on_it(table):
    rows = compare([str(table.path)], ["random", "evolution"], evaluations=len(table), seeds=1, processes=1)
    texts = rows["text"].to_pylist()
    known = sorted(table.genome(row).text for row in range(len(table)))
    assert sorted(texts[: len(table)]) == sorted(texts[len(table) :]) == known


def test_campaigns_are_planned_on_it(runs, table):
    (planned,) = plan(nas.load(runs["first"]).config, table, [1], seeds=1, processes=1)
    assert planned.speedup == planned.utilisation == 1
    assert 0 < planned.seconds < table.column("train_time").sum()


def test_rungs_of_a_campaign_are_curves(tmp_path, write_campaign):
    changes = {
        "strategy.name": '"halving"',
        "strategy.population": None,
        "strategy.tournament": None,
        "budget.rungs": "[1, 2]",
    }
    file = write_campaign(tmp_path, **changes, **{"budget.trials": 13, "budget.steps": 4})
    run = nas.run(file, dir=tmp_path / "run")
    table = tabulate([run], tmp_path / "rungs.arrow")
    assert table.description.fidelities.amounts == (1, 2, 4)
    assert len(table) == len({trial.proposal.genome.text for trial in run.done})
    for trial in run.done:
        text, amount = trial.proposal.genome.text, trial.proposal.fidelity.amount
        assert table.query(text, "valid_bpb", seed=0, fidelity=amount) == trial.metrics["valid_bpb"]
        assert np.isnan(table.query(text, seed=0)) == all(
            other.proposal.fidelity.amount < 4 for other in run.done if other.proposal.genome.text == text
        )
    for check in table_checks:
        check(table)
    compare([str(table.path)], ["asha"], evaluations=1, seeds=1, processes=1)
