import dataclasses
import json
import math
import random
import signal
import subprocess
import sys
import time

import pyarrow.parquet
import pytest

import nas
from nas.setup import configure, prepare
from nas.store import Amended, Concluded, Confirmed, Opened, RunDir
from nas.types import Ended, InvalidInput, Proposed


def facts(result):
    """What must be the same in every run of one campaign: all but times, speeds and workers."""
    return [
        (
            trial.id,
            trial.proposal,
            trial.status,
            {key: value for key, value in trial.metrics.items() if key != "tokens_per_second"},
            trial.error,
        )
        for trial in result.trials
    ]


def test_a_campaign_from_its_file_to_its_result(campaign_file, tmp_path):
    run = tmp_path / "run"
    result = nas.run(campaign_file(), dir=run)
    assert [trial.id for trial in result.trials] == list(range(6))
    assert {trial.status for trial in result.trials} == {"done"}
    best = result.best()
    assert best.metrics["valid_bpb"] == min(trial.metrics["valid_bpb"] for trial in result.trials)
    assert best.cost["parameters"] <= 40_000
    assert [trial.proposal.origin for trial in result.trials[:4]] == ["random"] * 4
    assert all(trial.proposal.origin.startswith("mutation of") for trial in result.trials[4:])

    (confirmed,) = result.confirmations
    assert result.conclusion.trial_id == confirmed.trial_id == best.id
    assert confirmed.seed == 4
    assert {"valid_bpb", "test_bpb"} <= set(confirmed.metrics)
    assert not any("test_bpb" in trial.metrics for trial in result.trials)
    gain = result.gain()
    mean = sum(trial.metrics["valid_bpb"] for trial in result.trials[:4]) / 4
    assert gain.mean == pytest.approx(mean - confirmed.metrics["valid_bpb"])
    assert gain.low < gain.mean < gain.high
    assert (gain.random, gain.seeds) == (4, 1)

    table = pyarrow.parquet.read_table(run / "trials.parquet")
    assert table.num_rows == 6
    assert table.column("text").to_pylist() == [trial.proposal.genome.text for trial in result.trials]
    loaded = nas.load(run)
    assert facts(loaded) == facts(result)
    assert loaded.table().equals(table)
    assert loaded.pareto() == [loaded.best()]


def test_the_same_call_after_the_end_does_nothing(campaign_file, tmp_path):
    first = nas.run(campaign_file(), dir=tmp_path / "run")
    log = (tmp_path / "run" / "events.jsonl").read_bytes()
    again = nas.run(campaign_file(), dir=tmp_path / "run")
    assert facts(again) == facts(first)
    assert (tmp_path / "run" / "events.jsonl").read_bytes() == log


class Interrupt:
    """Breaks a campaign off after some trials have ended."""

    def __init__(self, after):
        self.left = after

    def __call__(self, record, replayed):
        if isinstance(record, Ended) and not replayed:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt


def test_an_interrupted_campaign_goes_on_as_if_nothing_had_happened(campaign_file, tmp_path):
    whole = nas.run(campaign_file(), dir=tmp_path / "whole")
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            nas.run(campaign_file(), dir=tmp_path / "broken", observe=Interrupt(2))
    assert pyarrow.parquet.read_table(tmp_path / "broken" / "trials.parquet").num_rows == 6
    result = nas.run(campaign_file(), dir=tmp_path / "broken")
    assert facts(result) == facts(whole)
    assert [result.confirmed(name) for name in ("valid_bpb", "test_bpb")] == [
        whole.confirmed(name) for name in ("valid_bpb", "test_bpb")
    ]
    records = list(RunDir.open_readonly(tmp_path / "broken").records())
    assert sum(isinstance(record, Proposed) for record in records) == 6
    assert sum(isinstance(record, Ended) for record in records) == 6
    assert sum(isinstance(record, Opened) for record in records) == 4


def test_more_trials_are_allowed_and_logged(campaign_file, tmp_path):
    first = nas.run(campaign_file(), dir=tmp_path / "run")
    file = campaign_file(**{"budget.trials": 8, "budget.seconds": 90})
    result = nas.run(file, dir=tmp_path / "run")
    assert facts(result)[:6] == facts(first)
    assert len(result.trials) == 8
    records = list(RunDir.open_readonly(tmp_path / "run").records())
    amended = {record.key: (record.old, record.new) for record in records if isinstance(record, Amended)}
    assert amended == {"budget.trials": (6, 8), "budget.seconds": (60.0, 90.0)}
    assert sum(isinstance(record, Concluded) for record in records) == 2
    assert result.conclusion == records[-1]
    assert RunDir.open_readonly(tmp_path / "run").config.budget.trials == 8


@pytest.mark.parametrize(
    "change, message",
    [
        ({"budget.trials": 5}, "'budget.trials' is 6 there and 5 now"),
        ({"seed": 4}, "'seed' is 3 there and 4 now"),
        ({"recipe.lr": 0.1}, "'recipe.lr' is 0.008 there and 0.1 now"),
        ({"strategy.tournament": 3}, "'strategy.tournament' is 2 there and 3 now"),
    ],
)
def test_any_other_change_is_refused(campaign_file, tmp_path, change, message):
    nas.run(campaign_file(), dir=tmp_path / "run")
    log = (tmp_path / "run" / "events.jsonl").read_bytes()
    file = campaign_file(**{key: value for key, value in change.items() if key != "recipe.lr"})
    if "recipe.lr" in change:
        file.write_text(file.read_text() + "\n[recipe]\nlr = 0.1\n")
    with pytest.raises(InvalidInput) as error:
        nas.run(file, dir=tmp_path / "run")
    assert message in str(error.value)
    assert (tmp_path / "run" / "events.jsonl").read_bytes() == log


def test_what_the_workers_cannot_be_had_with_is_not_kept(campaign_file, tmp_path, monkeypatch):
    def no_room(*given):
        raise InvalidInput("no room")

    def refused(**changes):
        with monkeypatch.context() as patched:
            patched.setattr(nas.campaign, "make_engine", no_room)
            with pytest.raises(InvalidInput, match="no room"):
                nas.run(campaign_file(**changes), dir=tmp_path / "run")

    refused()
    assert not (tmp_path / "run").exists()
    nas.run(campaign_file(), dir=tmp_path / "run")
    refused(**{"budget.trials": 9})
    assert nas.load(tmp_path / "run").config.budget.trials == len(nas.load(tmp_path / "run").trials) == 6
    assert len(nas.run(campaign_file(**{"budget.trials": 7}), dir=tmp_path / "run").trials) == 7


def test_a_frozen_default_is_the_same_as_a_written_one(campaign_file, tmp_path):
    nas.run(campaign_file(), dir=tmp_path / "run")
    file = campaign_file(**{"strategy.crossover": 0.0})
    assert len(nas.run(file, dir=tmp_path / "run").trials) == 6


def test_trials_that_are_too_slow_fail_and_say_so(campaign_file, tmp_path):
    result = nas.run(campaign_file(**{"budget.seconds": 1e-9, "budget.trials": 2}), dir=tmp_path / "run")
    assert [trial.status for trial in result.trials] == ["failed", "failed"]
    assert "too slow" in result.trials[0].error
    assert result.conclusion.trial_id is None
    with pytest.raises(LookupError, match="campaign 'small' has no finished trial yet \\(2 failed\\)"):
        result.best()


def test_constraints_choose_the_best_and_the_front(campaign_file, tmp_path):
    file = campaign_file()
    bound = nas.run(file, dir=tmp_path / "free").trials[0].cost["parameters"] - 1
    file.write_text(file.read_text() + f'\n[[objectives]]\nmetric = "parameters"\nbound = {bound}\n')
    result = nas.run(file, dir=tmp_path / "run")
    # The first is drawn before a trial has told that parameters are a cost, all others keep the bound.
    first, *allowed = result.trials
    assert first.cost["parameters"] == bound + 1
    assert all(trial.cost["parameters"] <= bound for trial in allowed)
    assert result.best().id == min(allowed, key=lambda trial: trial.metrics["valid_bpb"]).id
    assert all(trial in allowed for trial in result.pareto())


def test_the_trials_table_is_readable_while_the_campaign_runs(campaign_file, tmp_path, monkeypatch):
    monkeypatch.setattr(nas.campaign, "TABLE_SECONDS", 0.0)
    seen = []

    def look(record, replayed):
        path = tmp_path / "run" / "trials.parquet"
        if isinstance(record, Ended) and path.exists():
            seen.append(pyarrow.parquet.read_table(path).num_rows)

    nas.run(campaign_file(), dir=tmp_path / "run", observe=look)
    assert seen == sorted(seen)
    assert seen


KILLED = """
import sys
import nas
nas.run(sys.argv[1], dir=sys.argv[2])
"""


@pytest.mark.parametrize("engine", ["serial", pytest.param("ray", marks=pytest.mark.slow)])
def test_kill_at_random_moments_loses_nothing(campaign_file, tmp_path, engine):
    file = campaign_file(**{"budget.trials": 60, "budget.steps": 10, "workers.engine": f'"{engine}"'})
    moments = random.Random(5)
    known = {}
    log = tmp_path / "run" / "events.jsonl"

    def over():
        return log.read_bytes().count(b'"kind":"ended"') if log.exists() else 0

    for _ in range(3):
        driver = subprocess.Popen([sys.executable, "-c", KILLED, str(file), str(tmp_path / "run")])
        before = over()
        until = time.monotonic() + 180
        while over() < before + 2 and time.monotonic() < until:
            time.sleep(0.01)  # until it has ended some trials of its own
        time.sleep(moments.random() / 4)
        assert driver.poll() is None, "the campaign was over before it could be killed"
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        ended = {trial.id: trial for trial in nas.load(tmp_path / "run").trials}
        assert {i: ended[i] for i in known} == known
        assert len(ended) > len(known)
        known = ended
    result = nas.run(file, dir=tmp_path / "run")
    after = {trial.id: trial for trial in result.trials}
    assert {i: after[i] for i in known} == known
    assert sorted(after) == list(range(60))
    assert len(result.trials) == 60


def test_prepare_fills_in_every_default(campaign_file):
    config = prepare(configure(campaign_file())).config
    assert config.recipe["lr"] == 0.008
    assert config.strategy.options == {
        **{"population": 4, "tournament": 2, "survival": "age", "crossover": 0.0, "mutation": 0.0},
        **{"adapt": False, "restart": None, "named": []},
    }
    assert config.space.options["width"] == 16
    assert prepare(config).config == config


def test_nan_never_wins(campaign_file, tmp_path):
    result = nas.run(campaign_file(**{"budget.trials": 2}), dir=tmp_path / "run")
    worst = dataclasses.replace(result.trials[0], metrics={"valid_bpb": math.nan})
    result.trials = [worst, result.trials[1]]
    assert result.best().id == 1


def test_a_resumed_confirmation_keeps_what_was_done(campaign_file, tmp_path):
    class AfterTheFirst:
        def __call__(self, record, replayed):
            if isinstance(record, Confirmed) and not replayed:
                raise KeyboardInterrupt

    file = campaign_file(**{"budget.confirm": 3})
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            nas.run(file, dir=tmp_path / "run", observe=AfterTheFirst())
    result = nas.run(file, dir=tmp_path / "run")
    records = [r for r in RunDir.open_readonly(tmp_path / "run").records() if isinstance(r, Confirmed)]
    assert [record.seed for record in records] == [4, 5, 6]
    assert len(result.confirmations) == 3


def test_other_data_is_refused(campaign_file, tmp_path, text_folder):
    import shutil

    own = tmp_path / "own"
    shutil.copytree(text_folder, own)
    nas.run(campaign_file(**{"task.text": '"own"'}), dir=tmp_path / "run")
    (own / "3.txt").write_text("something else entirely, of a length that is enough for a window")
    with pytest.raises(InvalidInput, match="the data of task 'bytes' is not what this campaign began with"):
        nas.run(campaign_file(**{"task.text": '"own"', "budget.trials": 8}), dir=tmp_path / "run")


def test_a_table_that_cannot_be_written_ends_nothing(campaign_file, tmp_path, monkeypatch, caplog):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nas.store.parquet.write_trials", full)
    result = nas.run(campaign_file(), dir=tmp_path / "run")
    assert len(result.trials) == 6
    assert "trials.parquet could not be written: [Errno 28]" in caplog.text


def test_a_predictor_screens_inside_a_campaign(campaign_file, tmp_path):
    file = campaign_file(**{"budget.trials": 12, "budget.confirm": 0})
    file.write_text(file.read_text() + '\n[predictor]\nname = "trees"\nleast = 6\ncandidates = 4\n')
    with pytest.raises(KeyboardInterrupt):
        nas.run(file, dir=tmp_path / "run", observe=Interrupt(9))
    result = nas.run(file, dir=tmp_path / "run")
    notes = [trial.proposal.notes for trial in result.trials]
    assert [note.get("labels") for note in notes] == [None] * 6 + [6] * 4 + [10] * 2
    assert result.table()["note_labels"].to_pylist() == [note.get("labels") for note in notes]
    assert facts(nas.run(file, dir=tmp_path / "whole")) == facts(result)
    assert RunDir.open_readonly(tmp_path / "run").config.predictor.options == {
        "least": 6,
        "candidates": 4,
        "explore": 0.2,
    }


def test_a_campaign_that_was_grown_and_killed_is_not_finished(campaign_file, tmp_path):
    nas.run(campaign_file(), dir=tmp_path / "run")

    def interrupt(record, replayed):
        if isinstance(record, Proposed) and not replayed:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nas.run(campaign_file(**{"budget.trials": 8}), dir=tmp_path / "run", observe=interrupt)
    assert nas.load(tmp_path / "run").conclusion is None


RECALL = {
    "task.name": '"recall"',
    **dict.fromkeys(("task.text", "task.valid_tokens", "task.test_tokens")),
    "task.train": 8,
    "task.valid": 8,
    "task.test": 8,
    "objectives.metric": '"valid_accuracy"',
}


def test_directions_are_those_of_the_tasks_metrics(campaign_file, tmp_path):
    file = campaign_file(**RECALL)
    bounds = (
        ("valid_loss", "bound = 9.0"),
        ("parameters", "bound = 50_000"),
        ("valid_accuracy", "bound = 0.0"),
        ("valid_accuracy", 'bound = 1.0\ndirection = "min"'),
        ("parameters", 'bound = 100\ndirection = "max"'),
    )
    more = "".join(f'\n[[objectives]]\nmetric = "{metric}"\n{rest}' for metric, rest in bounds)
    file.write_text(file.read_text() + more)
    result = nas.run(file, dir=tmp_path / "run")
    frozen = json.loads((tmp_path / "run" / "config.json").read_text())["objectives"]
    assert [objective["direction"] for objective in frozen] == ["max", "min", "min", "max", "min", "max"]
    accuracies = [trial.metrics["valid_accuracy"] for trial in result.done]
    assert result.best().metrics["valid_accuracy"] == max(accuracies) > min(accuracies)
    assert nas.run(file, dir=tmp_path / "run").config == result.config


def test_a_direction_that_contradicts_the_tasks_is_refused(campaign_file):
    file = campaign_file(**RECALL | {"objectives.metric": '"valid_accuracy"\ndirection = "min"'})
    with pytest.raises(InvalidInput) as error:
        prepare(configure(file))
    assert str(error.value) == (
        '\'objectives[0].direction\' is "min", but valid_accuracy is better when larger ("max")'
    )
