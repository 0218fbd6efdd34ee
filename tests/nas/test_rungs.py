"""Campaigns with rungs: promotions, what is kept on the way, and how they are ranked."""

from dataclasses import replace

import numpy as np
import pytest

import nas
from nas.cli import main
from nas.cluster.serial import SerialEngine
from nas.display import ranking_rows
from nas.dry_run import plan
from nas.result import Result
from nas.setup import configure, prepare
from nas.store import Amended, RunDir
from nas.store.run_dir import CHECKPOINT
from nas.tables.campaigns import tabulate
from nas.types import Ended, Fidelity, InvalidInput

RUNGS = {
    "strategy.name": '"asha"',
    "strategy.population": None,
    "strategy.tournament": None,
    "strategy.sampler": '{name = "evolution", population = 3, tournament = 2}',
    "budget.steps": 8,
    "budget.rungs": "[2, 4]",
    "budget.trials": 12,
}


@pytest.fixture
def file(campaign_file):
    """Keys that are changed to None are left out."""

    def write(**changes):
        merged = {**RUNGS, **changes}
        known = ("strategy.population", "strategy.tournament")
        return campaign_file(
            **{key: value for key, value in merged.items() if value is not None or key in known}
        )

    return write


def told(result):
    return [
        (trial.proposal, trial.status, *(trial.metrics.get(key) for key in ("valid_bpb", "resumed_steps")))
        for trial in result.trials
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, write_campaign):
    folder = tmp_path_factory.mktemp("rungs")
    return nas.run(write_campaign(folder, "campaign.toml", **RUNGS), dir=folder / "run")


def test_promotions_go_on_where_training_was(finished):
    trials = {trial.id: trial for trial in finished.trials}
    promoted = [trial for trial in trials.values() if trial.proposal.resume_from is not None]
    assert {trial.proposal.fidelity.amount for trial in promoted} == {4, 8}
    for trial in promoted:
        before = trials[trial.proposal.resume_from]
        assert trial.metrics["resumed_steps"] == before.proposal.fidelity.amount
        assert trial.proposal.genome == before.proposal.genome
        assert [point.step for point in trial.curve] == list(
            range(before.proposal.fidelity.amount + 1, trial.proposal.fidelity.amount + 1)
        )


def test_a_promotion_measures_what_the_full_training_does(finished, tmp_path):
    """The trial that reached the top, against its network trained in one go by the same campaign."""
    setup = prepare(finished.config)
    top = next(trial for trial in finished.trials if trial.proposal.fidelity.amount == 8)
    engine = SerialEngine(setup.evaluator, 60, lambda id, measurement: True, folder=tmp_path)
    engine.submit(replace(top.proposal, resume_from=None))
    (whole,) = engine.poll(0.0)
    assert whole.metrics["valid_bpb"] == top.metrics["valid_bpb"]


def test_the_longest_training_ranks_first(finished):
    amounts = [trial.proposal.fidelity.amount for trial in finished.ranking()]
    assert amounts == sorted(amounts, reverse=True)
    assert len(set(amounts)) == 3
    best = finished.best()
    assert best.proposal.fidelity == finished.config.budget.fidelity == Fidelity(8)
    assert all(trial.proposal.fidelity == Fidelity(8) for trial in finished.pareto())
    rows = ranking_rows(finished.config.objectives, finished.ranking())
    assert {row["trained"] for row in rows} == {"2 steps", "4 steps", "8 steps"}
    assert finished.gain() is None, "no random network was trained in full but those that were promoted"


def test_the_best_is_confirmed_in_full(finished):
    (run,) = finished.confirmations
    assert run.trial_id == finished.best().id
    assert "resumed_steps" not in run.metrics
    assert "test_bpb" in run.metrics


def test_checkpoints_go_when_nothing_can_go_on_from_them(finished):
    kept = {int(path.parent.name) for path in finished.path.glob(f"trials/*/{CHECKPOINT}")}
    resumed = {trial.proposal.resume_from for trial in finished.trials}
    full = {trial.id for trial in finished.trials if trial.proposal.fidelity.amount == 8}
    assert kept
    assert not kept & (resumed | full)


def test_interrupted_campaigns_go_on_the_same(file, tmp_path, finished):
    class Stop(Exception):
        pass

    def after(number):
        ended = 0

        def observe(record, replayed):
            nonlocal ended
            if isinstance(record, Ended) and not replayed:
                ended += 1
                if ended == number:
                    raise Stop

        return observe

    for number in (3, 4):
        with pytest.raises(Stop):
            nas.run(file(), dir=tmp_path / "run", observe=after(number))
    assert told(nas.run(file(), dir=tmp_path / "run")) == told(finished)


@pytest.mark.slow
def test_the_same_on_ray(file, tmp_path, finished):
    path = file(**{"workers.engine": '"ray"', "workers.count": 1})
    assert told(nas.run(path, dir=tmp_path / "run")) == told(finished)


def test_a_raised_fidelity_goes_on_from_what_ran(file, tmp_path):
    flat = {"budget.trials": 7, "budget.steps": 4, "budget.rungs": "[2]"}
    path = file(**flat)
    path.write_text(path.read_text() + "\n[recipe]\nwarmup = 0.0\ndecay_to = 1.0\n")
    first = nas.run(path, dir=tmp_path / "run")
    records = [*RunDir(tmp_path / "run").records()]
    assert len(first.confirmations) == 1
    assert not Result(first.config, [*records, Amended("budget.steps", 4, 8)]).confirmations, "not in full"
    path.write_text(
        path.read_text()
        .replace("steps = 4", "steps = 8")
        .replace("[2]", "[2, 4]")
        .replace("trials = 7", "trials = 14")
    )
    more = nas.run(path, dir=tmp_path / "run")
    assert told(more)[:7] == told(first)
    old = [trial for trial in more.trials[7:] if trial.proposal.resume_from in range(7)]
    assert {trial.proposal.fidelity.amount for trial in old} >= {8}
    assert all(trial.metrics["resumed_steps"] > 0 for trial in old)
    amended = {
        record.key: (record.old, record.new)
        for record in RunDir(tmp_path / "run").records()
        if isinstance(record, Amended)
    }
    assert amended == {"budget.trials": (7, 14), "budget.steps": (4, 8), "budget.rungs[1]": (None, 4)}
    assert more.best().proposal.fidelity == Fidelity(8)
    assert len(more.confirmations) == 1


def test_a_schedule_over_the_fidelity_cannot_be_lengthened(file, tmp_path):
    nas.run(file(**{"budget.trials": 1, "budget.confirm": 0}), dir=tmp_path / "run")
    for changes, message in (
        (
            {"budget.steps": 16, "budget.rungs": "[2, 4, 8]"},
            "'budget.steps' cannot be raised from 8 to 16, because the learning rate",
        ),
        (
            {"budget.steps": 16, "budget.rungs": "[2, 4]"},
            "'budget.steps' is 8 there and 16 now. Only budget.trials",
        ),
        ({"budget.rungs": "[2, 6]"}, "and budget.steps where budget.rungs begin with [2, 4, 8]; another"),
    ):
        with pytest.raises(InvalidInput) as error:
            nas.run(file(**{"budget.trials": 1, "budget.confirm": 0, **changes}), dir=tmp_path / "run")
        assert message in str(error.value)


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"budget.rungs": None},
            "the strategy compares trials after less training first: say after how much",
        ),
        ({"budget.rungs": "[4, 2]"}, "'budget.rungs' is [4, 2], but must be amounts that ascend"),
        ({"budget.rungs": "[2, 8]"}, "stay below 8"),
        ({"budget.rungs": "[0, 2]"}, "'budget.rungs' must be a list, each item an integer >= 1"),
        ({"budget.rung": "[2]"}, "unknown key 'budget.rung', did you mean 'budget.rungs'?"),
        (
            {"strategy.name": '"evolution"', "strategy.sampler": None},
            "strategy 'evolution' trains every trial for 8 steps",
        ),
        ({"strategy.sampler": '"evoluton"'}, "unknown sampler 'evoluton', did you mean 'evolution'?"),
    ],
)
def test_what_is_refused(file, changes, message, capsys, tmp_path):
    assert main(["run", str(file(**changes)), "--dir", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_auto_takes_rungs_and_says_why(file):
    config = prepare(configure(file(**{"strategy.name": '"auto"', "strategy.sampler": None}))).config
    chosen = config.strategy.options["chosen"]
    assert (chosen["name"], chosen["sampler"]["name"]) == ("asha", "bayesian")
    assert config.strategy.options["because"].startswith(
        "many networks train to rungs at 2, 4 of 8 steps, and the best of them on; the sampler is "
    )
    assert prepare(config).config == config


def test_a_plan_knows_that_most_trials_are_short(file):
    with_rungs = plan(configure(file(**{"budget.confirm": 0})))
    trials = with_rungs["trial"]["seconds"] * 12
    assert with_rungs["seconds"] == pytest.approx(trials * 3 / (1 / 2 + 1 / 4 + 1 / 8) / 8)


def test_own_tables_tell_how_long_whole_trainings_took(finished, tmp_path):
    table = tabulate([finished], tmp_path / "own.arrow")
    full = {
        trial.proposal.genome.text: trial for trial in finished.trials if trial.proposal.fidelity.amount == 8
    }
    others = {table.genome(row).text for row in range(len(table))} - set(full)
    assert others
    assert all(np.isnan(table.query(text)) for text in others), "nothing stands in for the end"
    trials = {trial.id: trial for trial in finished.trials}
    for text, trial in full.items():
        took, part = 0.0, trial
        while part is not None:
            took += part.duration
            part = trials.get(part.proposal.resume_from)
        assert table.query(text, "train_time", seed=0) == pytest.approx(took)


def test_what_is_printed_says_for_how_long(finished, file, tmp_path, capsys):
    assert main(["status", str(finished.path)]) == 0
    out = capsys.readouterr().out
    assert "trained" in out
    assert "8 steps" in out
    assert (
        main(["run", str(file(**{"budget.trials": 1, "budget.confirm": 0})), "--dir", str(tmp_path / "run")])
        == 0
    )
    assert "trial 0 done after 2 steps: valid_bpb" in capsys.readouterr().out


def test_architectures_and_hyperparameters_together(file, tmp_path):
    """Promotions go on under the recipe of their genomes (joint search as of Zela et al. 2018, arXiv 1807.06906)."""
    lr = "{lr = {low = 0.001, high = 0.01, log = true}}"
    changes = {"strategy.name": '"hyperband"', "space.hyperparameters": lr, "budget.confirm": 0}
    result = nas.run(file(**changes), dir=tmp_path / "run")
    promoted = [trial for trial in result.trials if trial.proposal.resume_from is not None]
    assert promoted
    assert all(trial.metrics["resumed_steps"] > 0 for trial in promoted)
    assert len({trial.proposal.genome.text.partition("lr=")[2][:8] for trial in promoted}) > 1


def test_stopping_by_the_training_loss(campaign_file, tmp_path):
    changes = {
        "strategy.name": '"stopping"',
        "strategy.population": None,
        "strategy.tournament": None,
        "strategy.least": 2,
        "budget.trials": 10,
        "budget.steps": 10,
        "budget.confirm": 0,
    }
    result = nas.run(campaign_file(**changes), dir=tmp_path / "run")
    statuses = [trial.status for trial in result.trials]
    assert {"done", "stopped"} == set(statuses)
    stopped = [trial for trial in result.trials if trial.status == "stopped"]
    assert all(len(trial.curve) < 10 for trial in stopped)
