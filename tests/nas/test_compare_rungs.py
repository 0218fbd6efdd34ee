"""Multi-fidelity strategies on tables that tell of less training: what they spend, and when they are as good as others."""

from types import SimpleNamespace

import numpy as np
import pyarrow.compute
import pytest

import benchmarks
from benchmarks import Description, Fidelities, Metric, Table
from benchmarks.testing import table_checks
from nas.cli import main
from nas.cluster.simulated import rungs, unseen, whole
from nas.compare import Contestant, Plan, compare, curves, plan, simulate, time_to_reach
from nas.compare.contestants import WITH_RUNGS
from nas.compare.spending import Spending
from nas.config import parse
from nas.tables import FORMATS, read_file
from nas.tables.files import keys_of
from nas.types import Fidelity, InvalidInput, Proposal, Trial

SIZE = 256


def made_up(path, resumable=True):
    """Cells of two fields whose losses fall at 1, 3, 9 and 27 epochs towards that of the end, in nearly its order."""
    rng = np.random.default_rng(0)
    (path.parent / "cells_of_two.py").write_text(
        "from spaces import ProductSpace, choice\n"
        "def cells(io):\n"
        "    return ProductSpace('cells', {'x': choice(*range(16), ordered=True), 'y': choice(*range(16))}, io)\n"
    )
    final = np.add.outer(np.linspace(0, 1, 16) ** 2, rng.uniform(0, 1, 16)).reshape(-1)
    curves_A = [final + 1 / amount + rng.normal(0, 0.2 / amount, SIZE) for amount in (1, 3, 9)]
    description = Description(
        name="made-up/cells-of-two",
        about="",
        space="cells_of_two:cells",
        io={"vector": {"features": 1}},
        objective="loss",
        metrics=(
            Metric("loss", "min", "nats", split="valid", curve=True),
            Metric("train_time", "min", "seconds"),
        ),
        fidelities=Fidelities("epochs", (1, 3, 9, 27), resumable),
    )
    columns = {"loss": final, "train_time": np.full(SIZE, 27.0)}
    Table.write(path, description, columns, curves={"loss": np.stack([*curves_A, final], axis=1)[:, None]})
    return Table(path)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rungs")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield made_up(folder / "resumed.arrow"), made_up(folder / "anew.arrow", resumable=False)


@pytest.fixture(scope="module")
def rows(tables):
    names = [str(tables[0].path)]
    return compare(names, ["evolution", "asha", "asha/evolution"], evaluations=20, seeds=5, processes=1)


def test_rungs_are_a_third_of_the_next_at_most(tables):
    assert rungs(tables[0]) == (1, 3, 9)
    assert whole(tables[0]) == Fidelity(27, "epochs")


@pytest.mark.parametrize("resumable", [True, False])
def test_what_is_spent_is_what_is_trained(tables, resumable):
    table = tables[0 if resumable else 1]
    spending = Spending(table)
    trials = [*simulate(Contestant.parse("asha").make(table, 0), table, 10, spending=Spending(table))]
    shares = [spending.ended(trial) for trial in trials]
    assert sum(shares) == pytest.approx(sum(trial.duration for trial in trials) / 27)
    assert 10 - 1e-9 <= sum(shares) < 11
    assert {trial.proposal.fidelity.amount for trial in trials} == {1, 3, 9, 27}
    promoted = next(k for k, trial in enumerate(trials) if trial.proposal.fidelity.amount == 27)
    assert shares[promoted] == pytest.approx(18 / 27 if resumable else 1.0)


def test_a_stopped_trial_spends_what_it_came_to(tables):
    table, _ = tables
    proposal = Proposal(0, table.genome(3), whole(table), 0)
    (trial,) = simulate(Stopping(proposal), table, 1, spending=Spending(table))
    assert trial.status == "stopped"
    assert Spending(table).ended(trial) == pytest.approx(9 / 27)
    assert Spending(table).asked(proposal) == 1.0


class Stopping:
    """Proposes one trial, and stops it after 9 epochs."""

    def __init__(self, proposal):
        self.left = [proposal]

    def ask(self, n):
        return [self.left.pop()] if self.left else []

    def tell(self, event):
        pass

    def proceed(self, trial_id, measurement):
        return measurement.step < 9


def test_runs_compare_at_equal_training(rows, tables):
    for curve in curves(rows):
        assert curve.regrets.shape == (5, 20)
        assert curve.shortest == 20
    spent = {
        name: rows.filter(pyarrow.compute.equal(rows["strategy"], name)) for name in ("evolution", "asha")
    }
    assert spent["evolution"]["spent"].to_pylist() == [*range(1, 21)] * 5
    assert spent["asha"].num_rows > 2 * spent["evolution"].num_rows
    assert all(spent["evolution"]["full"].to_pylist())


def test_the_best_is_of_the_longest_training(rows, tables):
    table, _ = tables
    trials = [*simulate(Contestant.parse("asha").make(table, 0), table, 20, spending=Spending(table))]
    mine = [row for row in rows.to_pylist() if (row["strategy"], row["seed"]) == ("asha", 0)]
    assert len(trials) == len(mine)
    best = None
    for trial, row in zip(trials, mine, strict=True):
        key = (-trial.proposal.fidelity.amount, trial.metrics["loss"])
        if best is None or key < best[0]:
            best = key, trial
        assert row["best"] == table.query(best[1].proposal.genome)
        assert row["regret"] == table.regret([table.rank(best[1].proposal.genome)])[0]
        assert row["full"] == (best[0][0] == -27)


def test_when_others_are_as_good(rows):
    times = time_to_reach(rows)
    (table,) = {table for table, _ in times}
    aim = np.median([curve.regrets[:, -1] for curve in curves(rows) if curve.strategy == "evolution"])
    for name in ("evolution", "asha"):
        for seed, found in enumerate(times[table, name]):
            run = [row for row in rows.to_pylist() if (row["strategy"], row["seed"]) == (name, seed)]
            reached = [row["seconds"] for row in run if row["full"] and row["regret"] <= aim + 1e-9]
            assert found == min(reached) if reached else np.isnan(found)
    assert np.isfinite(times[table, "evolution"]).sum() >= 3, "half of them, at their end"
    assert np.isfinite(times[table, "asha"]).all(), "rungs that tell of the end are of use"
    assert np.median(times[table, "asha"]) < np.nanmedian(times[table, "evolution"])
    with pytest.raises(ValueError, match="'nsga2' is not among the contestants"):
        time_to_reach(rows, than="nsga2")


def test_a_plan_counts_trials_of_all_rungs(tables):
    config = parse(
        {
            "name": "plan",
            "space": {"name": "hybrid"},
            "task": {"name": "bytes"},
            "strategy": {"name": "asha", "sampler": {"name": "evolution", "named": ["transformer++"]}},
            "budget": {"trials": 60, "steps": 27, "rungs": [9]},
            "objectives": [{"metric": "valid_bpb"}],
        }
    )
    table, _ = tables
    (planned,) = plan(config, table, [4], seeds=1, processes=1)
    assert isinstance(planned, Plan)
    assert planned.seconds < 60 * 27 / 4 / 3
    assert planned.regret < 0.5


@pytest.mark.parametrize(
    "space, hint",
    [
        ("fcnet", ""),
        (
            "nasbench201",
            "; one of its space does: nas bench add FILE --as nasbench201_epochs --out TABLE.arrow",
        ),
    ],
)
def test_tables_without_rungs_are_refused(space, hint):
    table = SimpleNamespace(name="plain", fidelities=None, description=SimpleNamespace(space=space))
    with pytest.raises(InvalidInput) as error:
        Contestant.parse("asha").make(table, 0)
    assert str(error.value) == (
        "strategy 'asha' compares trials after less training first, but table 'plain' tells of no such" + hint
    )


def test_rows_that_were_not_measured_at_rungs_are_told(tables, tmp_path, capsys, campaign_file):
    """As cooldowns, which begin near the end of another training: trials of them fail at rungs."""
    table, _ = tables
    assert unseen(table).size == 0
    losses = np.stack([table.column(fidelity=amount) for amount in (1, 3, 9, 27)], axis=1)[:, None]
    losses[:5, :, :2] = losses[3:7, :, 2] = losses[6, :, 3] = np.nan
    columns = {"loss": losses[:, 0, 3], "train_time": np.full(SIZE, 27.0)}
    path = tmp_path / "late.arrow"
    Table.write(path, table.description, columns, curves={"loss": losses})
    assert unseen(Table(path)).tolist() == [*range(6)], "row 6 was not measured in the end either"
    file = campaign_file(
        **{
            "strategy.name": '"asha"',
            "strategy.population": None,
            "strategy.tournament": None,
            "budget.rungs": "[1]",
        }
    )
    assert main(["bench", "simulate", str(file), str(path), "--workers", "1", "--seeds", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "asha on made-up/cells-of-two: trials of 6 of 256 rows fail, as they were not measured after 1 and 3 and 9 epochs"
    )


def test_formats_with_rungs_have_them():
    for space, name in WITH_RUNGS.items():
        keys = keys_of(FORMATS[name])
        assert keys["space"] == benchmarks.TABLES[f"{space}/cifar10"].description.space == space
        assert "along" in keys


def test_a_contestant_may_have_another_sampler(tables):
    table, _ = tables
    strategy = Contestant.parse("hyperband/evolution").make(table, 0)
    assert strategy.sampler["name"] == "evolution"
    with pytest.raises(InvalidInput, match="unknown sampler 'evoluton'"):
        Contestant.parse("hyperband/evoluton").make(table, 0)
    with pytest.raises(InvalidInput, match="'evolution' takes no sampler; allowed: asha, bohb"):
        Contestant.parse("evolution/random").make(table, 0)


@pytest.mark.slow
def test_the_command_tells_when_each_is_as_good(tables, tmp_path, capsys):
    table = str(tables[0].path)
    argv = [
        "bench",
        "compare",
        table,
        "--strategies",
        "evolution,asha",
        "--evaluations",
        "10",
        "--seeds",
        "2",
    ]
    assert main([*argv, "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "Evaluations are of full trainings, or as much training in parts" in out
    assert "as good as evolution" in out
    assert "not measured" not in out


@pytest.mark.slow
def test_rungs_are_sooner_as_good_on_nasbench201(shared_data, tmp_path, cache):
    """After 12 and 200 epochs, as good as plain evolution is after 100 full trainings."""
    table = read_file("nasbench201_epochs", tmp_path / "table.arrow", shared_data("nb201_cifar.parquet"))
    rows = compare([str(table.path)], ["evolution", "asha/evolution"], evaluations=100, seeds=5, processes=1)
    times = time_to_reach(rows)
    evolution, asha = (np.where(np.isnan(each), np.inf, each) for each in times.values())
    assert np.median(asha) < np.median(evolution) / 2


def test_nasbench201_after_12_and_200_epochs(shared_data, tmp_path, cache):
    table = read_file("nasbench201_epochs", tmp_path / "table.arrow", shared_data("nb201_cifar.parquet"))
    assert len(table) == 15_625
    assert rungs(table) == (12,)
    assert not table.fidelities.resumable
    for check in table_checks:
        check(table)
    known = benchmarks.load("nasbench201/cifar10")
    np.testing.assert_allclose(table.column("valid_acc"), known.column("valid_acc"), rtol=1e-6)
    assert table.row(6111, fidelity=12)["train_time"] == pytest.approx(
        table.query(6111, "train_time") * 12 / 200, rel=1e-6
    )
    strategy = Contestant.parse("asha").make(table, 0)
    trials = [*simulate(strategy, table, 3, spending=Spending(table))]
    assert [trial.proposal.fidelity.amount for trial in trials[:18]] == [12] * 16 + [12, 200]
    assert isinstance(trials[0], Trial)
