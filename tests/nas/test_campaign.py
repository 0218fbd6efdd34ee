import dataclasses
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
from nas.types import Ended, InvalidInput, Measured, Proposed


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


def test_a_frozen_default_is_the_same_as_a_written_one(campaign_file, tmp_path):
    nas.run(campaign_file(), dir=tmp_path / "run")
    file = campaign_file(**{"strategy.crossover": 0.0})
    assert len(nas.run(file, dir=tmp_path / "run").trials) == 6


USER = '''
import math, os, time

from nas.training.tasks.bytes import ByteText
from spaces import Grammar, child, choice, many

tiny = Grammar("tiny", start="model")

@tiny.production("model")
def stack(layers=many("layer", 1, 3), repeat=choice(1, 2)): ...

@tiny.production("layer")
def residual(body=child("mixer")): ...

@tiny.production("mixer")
def swiglu(mult=choice(1, 2, 3, 4)): ...

@tiny.production("mixer")
def gated_conv(kernel=choice(2, 3, 4)): ...


class Troubled(ByteText):
    """Trains, but some models have bad luck, decided by their number of parameters."""

    def evaluate(self, model, split):
        number = sum(p.numel() for p in model.parameters())
        if split == "valid" and number % 5 == 0:
            raise ValueError("bad luck")
        if split == "valid" and number % 5 == 1:
            return {"valid_bpb": math.nan}
        return super().evaluate(model, split)
'''


@pytest.fixture
def user_code(tmp_path):
    """A module of the user's own beside the campaign file; a new name each time, since modules are cached."""
    name = f"mine{random.getrandbits(40):x}"
    (tmp_path / f"{name}.py").write_text(USER)
    return name


@pytest.mark.parametrize("engine", ["serial", "ray"])
def test_code_of_the_user_and_trials_that_fail(campaign_file, user_code, tmp_path, engine):
    file = campaign_file(
        **{
            "space.name": f'"{user_code}:tiny"',
            "task.name": f'"{user_code}:Troubled"',
            "budget.trials": 16,
            "workers.engine": f'"{engine}"',
        }
    )
    result = nas.run(file, dir=tmp_path / "run")
    assert len(result.trials) == 16
    unlucky = {0: "bad luck", 1: "valid_bpb is nan"}
    for trial in result.trials:
        assert trial.cost["parameters"] > 0
        reason = unlucky.get(trial.cost["parameters"] % 5)
        assert trial.status == ("done" if reason is None else "failed")
        if reason:
            assert reason in trial.error
    assert {trial.status for trial in result.trials} == {"done", "failed"}
    assert result.confirmed("test_bpb")


def test_trials_that_are_too_slow_fail_and_say_so(campaign_file, tmp_path):
    result = nas.run(campaign_file(**{"budget.seconds": 1e-9, "budget.trials": 2}), dir=tmp_path / "run")
    assert [trial.status for trial in result.trials] == ["failed", "failed"]
    assert "too slow" in result.trials[0].error
    assert result.conclusion.trial_id is None
    with pytest.raises(LookupError, match="campaign 'small' has no finished trial yet \\(2 failed\\)"):
        result.best()


def test_a_campaign_ends_where_its_space_does(campaign_file, user_code, tmp_path):
    file = campaign_file(
        **{
            "space.name": f'"{user_code}:tiny"',
            "space.nodes": 3,
            "space.operators": 1,
            "budget.trials": 50,
            "strategy.name": '"random"',
            "strategy.population": None,
            "strategy.tournament": None,
        }
    )
    result = nas.run(file, dir=tmp_path / "run")
    assert len(result.trials) == 7  # four feed-forwards and three convolutions, once each
    assert result.conclusion.reason == "exhausted"
    assert len(nas.run(file, dir=tmp_path / "run").trials) == 7


@pytest.mark.parametrize(
    "change, message",
    [
        ({"objectives.metric": '"valid_bbp"'}, "task 'bytes' does not measure, did you mean 'valid_bpb'?"),
        ({"objectives.metric": '"test_bpb"'}, "which task 'bytes' does not measure"),
        ({"space.name": '"hybird"'}, "unknown space 'hybird', did you mean 'hybrid'?"),
        ({"space.widht": 3}, "unknown key 'space.widht', did you mean 'space.width'?"),
        ({"space.width": '"wide"'}, "'space.width' must be an integer >= 1, got \"wide\""),
        ({"space.width": 0}, "'space.width' must be an integer >= 1, got 0"),
        ({"space.parameters": 10}, "no genome fits parameters"),
        ({"task.name": '"bites"'}, "unknown task 'bites', did you mean 'bytes'?"),
        ({"task.lenght": 3}, "unknown key 'task.lenght', did you mean 'task.length'?"),
        ({"task.text": '""'}, "'task.text' is empty"),
        ({"seed": 2**63}, "'seed' must be an integer of at most 4611686018427387904"),
        ({"task.text": '"/no/such/place"'}, "'task.text' is '/no/such/place', but there is no such path"),
        ({"strategy.name": '"evolutoin"'}, "unknown strategy 'evolutoin', did you mean 'evolution'?"),
        ({"strategy.named": '["mamba2"]'}, "no architecture 'mamba2', did you mean 'mamba-2'?"),
        ({"budget.trials": 0}, "'budget.trials' must be an integer >= 1, got 0"),
    ],
)
def test_wrong_input_is_refused_before_anything_starts(campaign_file, tmp_path, change, message):
    with pytest.raises(InvalidInput) as error:
        nas.run(campaign_file(**change), dir=tmp_path / "run")
    assert message in str(error.value)
    assert not (tmp_path / "run").exists()


def test_constraints_choose_the_best_and_the_front(campaign_file, tmp_path):
    file = campaign_file()
    file.write_text(file.read_text() + '\n[[objectives]]\nmetric = "parameters"\nbound = 12000\n')
    result = nas.run(file, dir=tmp_path / "run")
    allowed = [trial for trial in result.trials if trial.cost["parameters"] <= 12_000]
    assert 0 < len(allowed) < 6
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
    for _ in range(3):
        driver = subprocess.Popen([sys.executable, "-c", KILLED, str(file), str(tmp_path / "run")])
        before = log.stat().st_size if log.exists() else 0
        until = time.monotonic() + 60
        while (log.stat().st_size if log.exists() else 0) < before + 1500 and time.monotonic() < until:
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
    assert config.strategy.options == {"population": 4, "tournament": 2, "crossover": 0.0, "named": []}
    assert config.space.options["width"] == 16
    assert prepare(config).config == config


def test_nan_never_wins(campaign_file, tmp_path):
    result = nas.run(campaign_file(**{"budget.trials": 2}), dir=tmp_path / "run")
    worst = dataclasses.replace(result.trials[0], metrics={"valid_bpb": math.nan})
    result.trials = [worst, result.trials[1]]
    assert result.best().id == 1


def make_module(folder, text):
    """A module of the user's own; a new name each time, since modules are cached."""
    name = f"mine{random.getrandbits(40):x}"
    (folder / f"{name}.py").write_text(text)
    return name


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


def test_a_best_that_cannot_be_trained_again_is_an_error_and_is_tried_anew(campaign_file, tmp_path):
    name = make_module(
        tmp_path,
        """
import os
from nas.training.tasks.bytes import ByteText

class NoTest(ByteText):
    def evaluate(self, model, split):
        if split == "test" and not os.path.exists(__file__ + ".ready"):
            raise ValueError("cannot open [/data/test]")
        return super().evaluate(model, split)
""",
    )
    file = campaign_file(**{"task.name": f'"{name}:NoTest"'})
    with pytest.raises(
        RuntimeError, match=r"failed on every fresh seed: ValueError: cannot open \[/data/test\]"
    ):
        nas.run(file, dir=tmp_path / "run")
    assert nas.load(tmp_path / "run").conclusion is None
    (tmp_path / f"{name}.py.ready").touch()
    assert len(nas.run(file, dir=tmp_path / "run").confirmed("test_bpb")) == 1


def test_other_data_is_refused(campaign_file, tmp_path, text_folder):
    import shutil

    own = tmp_path / "own"
    shutil.copytree(text_folder, own)
    nas.run(campaign_file(**{"task.text": '"own"'}), dir=tmp_path / "run")
    (own / "3.txt").write_text("something else entirely, of a length that is enough for a window")
    with pytest.raises(InvalidInput, match="the data of task 'bytes' is not what this campaign began with"):
        nas.run(campaign_file(**{"task.text": '"own"', "budget.trials": 8}), dir=tmp_path / "run")


def test_text_and_modules_are_found_beside_the_file(campaign_file, tmp_path, text_folder, monkeypatch):
    import shutil

    shutil.copytree(text_folder, tmp_path / "own")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    result = nas.run(campaign_file(**{"task.text": '"own/*.txt"', "budget.trials": 1}), dir=tmp_path / "run")
    assert result.done


def test_modules_beside_a_users_module_reach_the_workers(campaign_file, tmp_path, monkeypatch):
    helper = make_module(tmp_path, "MULTS = (1, 2, 3)\n")
    name = make_module(
        tmp_path,
        f"""
from {helper} import MULTS
from spaces import Grammar, choice
from nas.training.tasks.bytes import ByteText

one = Grammar("one", start="model")

@one.production("model")
def swiglu(mult=choice(*MULTS)): ...

class Text(ByteText):
    def evaluate(self, model, split):
        import {helper}
        return super().evaluate(model, split)
""",
    )
    monkeypatch.chdir("/")
    file = campaign_file(
        **{
            "space.name": f'"{name}:one"',
            "task.name": f'"{name}:Text"',
            "workers.engine": '"ray"',
            "budget.trials": 3,
        }
    )
    result = nas.run(file, dir=tmp_path / "run")
    assert {trial.status for trial in result.trials} == {"done"}


def test_a_module_of_the_same_name_elsewhere_is_refused(campaign_file, user_code, tmp_path):
    nas.run(campaign_file(**{"space.name": f'"{user_code}:tiny"', "budget.trials": 1}), dir=tmp_path / "run")
    other = tmp_path / "other"
    other.mkdir()
    (other / f"{user_code}.py").write_text(USER)
    file = campaign_file(**{"space.name": f'"{user_code}:tiny"'}).rename(other / "campaign.toml")
    with pytest.raises(InvalidInput, match=f"this process has imported '{user_code}' from"):
        nas.run(file, dir=tmp_path / "second")


FAULTY = """
from nas.search.random_search import RandomSearch

class Same(RandomSearch):
    def ask(self, n):
        return super().ask(n)[:1] * n if n > 1 else [self.proposals[0]] if self.proposals else super().ask(1)

class Broken(RandomSearch):
    def ask(self, n):
        return 1 / 0

class Forgetful(RandomSearch):
    def tell(self, event): ...
"""


@pytest.mark.parametrize(
    "strategy, message",
    [
        ("Same", "proposed id 0, but the next is 1"),
        ("Broken", "failed in ask: ZeroDivisionError: division by zero"),
        ("Forgetful", "proposed id 0, but the next is 1"),
    ],
)
def test_a_faulty_strategy_is_named_and_does_not_spoil_the_folder(campaign_file, tmp_path, strategy, message):
    name = make_module(tmp_path, FAULTY)
    changes = {
        "strategy.name": f'"{name}:{strategy}"',
        "strategy.population": None,
        "strategy.tournament": None,
    }
    with pytest.raises(RuntimeError, match=f"strategy '{name}:{strategy}' {message}"):
        nas.run(campaign_file(**changes), dir=tmp_path / "run")
    assert len(nas.load(tmp_path / "run").trials) <= 1


@pytest.mark.parametrize(
    "what, text, message",
    [
        ("space", "def mine(): ...", "space '{name}:mine' cannot be made: TypeError"),
        ("space", "def mine(io): raise OSError('gone')", "space '{name}:mine' cannot be made: OSError: gone"),
        ("space", "def mine(io): ...", "space '{name}:mine' is a NoneType, which has no io, sample"),
        ("space", "mine = 5", "space '{name}:mine' is a int, but must be a Grammar, or a function"),
        ("task", "class mine: ...", "task '{name}:mine' is a mine, which has no io, metrics"),
        ("space", "import sys; sys.exit(3)", "space '{name}:mine' cannot be imported: SystemExit: 3"),
        (
            "strategy",
            "def mine(**given): ...",
            "strategy '{name}:mine' is a NoneType, which has no ask, tell",
        ),
    ],
)
def test_wrong_code_of_the_user_is_an_input_error(campaign_file, tmp_path, what, text, message):
    name = make_module(tmp_path, text)
    changes = {f"{what}.name": f'"{name}:mine"'}
    for option in {
        "space": ("context", "operators", "nodes", "parameters"),
        "task": ("text", "length", "batch", "valid_tokens", "test_tokens"),
        "strategy": ("population", "tournament"),
    }[what]:
        changes[f"{what}.{option}"] = None
    with pytest.raises(InvalidInput) as error:
        nas.run(campaign_file(**changes), dir=tmp_path / "run")
    assert message.format(name=name) in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_task_that_does_not_measure_its_objective_fails_its_trials(campaign_file, tmp_path):
    name = make_module(
        tmp_path,
        """
from nas.training.tasks.bytes import ByteText

class Other(ByteText):
    def evaluate(self, model, split):
        return {"accuracy": 1.0}
""",
    )
    result = nas.run(
        campaign_file(**{"task.name": f'"{name}:Other"', "budget.trials": 2}), dir=tmp_path / "run"
    )
    assert [trial.status for trial in result.trials] == ["failed", "failed"]
    assert "did not measure valid_bpb, but accuracy, train_loss" in result.trials[0].error


def test_a_trial_that_exits_fails_and_the_campaign_goes_on(campaign_file, tmp_path):
    name = make_module(
        tmp_path,
        """
import sys
from nas.training.tasks.bytes import ByteText

class Exits(ByteText):
    def evaluate(self, model, split):
        sys.exit("library calls exit")
""",
    )
    result = nas.run(
        campaign_file(**{"task.name": f'"{name}:Exits"', "budget.trials": 2}), dir=tmp_path / "run"
    )
    assert ["library calls exit" in trial.error for trial in result.trials] == [True, True]


def test_a_decision_to_stop_holds_after_a_restart(campaign_file, tmp_path):
    name = make_module(
        tmp_path,
        """
from nas.search.random_search import RandomSearch

class Stops(RandomSearch):
    def proceed(self, trial_id, measurement):
        return trial_id != 0 or measurement.step < 2
""",
    )

    def interrupt(record, replayed):
        if isinstance(record, Measured) and not record.proceed and not replayed:
            raise KeyboardInterrupt

    changes = {"strategy.name": f'"{name}:Stops"', "strategy.population": None, "strategy.tournament": None}
    with pytest.raises(KeyboardInterrupt):
        nas.run(campaign_file(**changes), dir=tmp_path / "run", observe=interrupt)
    result = nas.run(campaign_file(**changes), dir=tmp_path / "run")
    assert result.trials[0].status == "stopped"
    records = RunDir.open_readonly(tmp_path / "run").records()
    steps = [r.measurement.step for r in records if isinstance(r, Measured) and r.trial_id == 0]
    assert steps == [1, 2]


def test_a_table_that_cannot_be_written_ends_nothing(campaign_file, tmp_path, monkeypatch, caplog):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nas.store.parquet.write_trials", full)
    result = nas.run(campaign_file(), dir=tmp_path / "run")
    assert len(result.trials) == 6
    assert "trials.parquet could not be written: [Errno 28]" in caplog.text


def test_epochs_of_a_task_without_are_refused_at_once(campaign_file, tmp_path):
    with pytest.raises(InvalidInput, match="task ByteText has no epochs: use steps or tokens"):
        nas.run(campaign_file(**{"budget.steps": None, "budget.epochs": 1}), dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_predictor_screens_inside_a_campaign(campaign_file, tmp_path):
    file = campaign_file(**{"budget.trials": 12, "budget.confirm": 0})
    file.write_text(file.read_text() + '\n[predictor]\nname = "trees"\nleast = 6\ncandidates = 4\n')
    with pytest.raises(KeyboardInterrupt):
        nas.run(file, dir=tmp_path / "run", observe=Interrupt(9))
    result = nas.run(file, dir=tmp_path / "run")
    notes = [trial.proposal.notes for trial in result.trials]
    assert [note.get("labels") for note in notes] == [None] * 6 + [6] * 4 + [10] * 2
    assert result.table().column("notes").to_pylist()[-1] == list(notes[-1].items())
    assert facts(nas.run(file, dir=tmp_path / "whole")) == facts(result)
    assert RunDir.open_readonly(tmp_path / "run").config.predictor.options == {
        "least": 6,
        "candidates": 4,
        "explore": 0.2,
    }


@pytest.mark.parametrize(
    "table, message",
    [
        ('name = "tress"', "unknown predictor 'tress', did you mean 'trees'?"),
        (
            'name = "trees"\ncandidate = 4',
            "unknown key 'predictor.candidate', did you mean 'predictor.candidates'?",
        ),
        (
            'name = "types:SimpleNamespace"',
            "predictor 'types:SimpleNamespace' is a SimpleNamespace, which has no fit",
        ),
        ('name = "trees"\ncandidates = 1', "'predictor.candidates' must be an integer >= 2, got 1"),
    ],
)
def test_wrong_predictors_are_refused(campaign_file, tmp_path, table, message):
    file = campaign_file()
    file.write_text(file.read_text() + f"\n[predictor]\n{table}\n")
    with pytest.raises(InvalidInput) as error:
        nas.run(file, dir=tmp_path / "run")
    assert message in str(error.value)


def test_a_campaign_that_was_grown_and_killed_is_not_finished(campaign_file, tmp_path):
    nas.run(campaign_file(), dir=tmp_path / "run")

    def interrupt(record, replayed):
        if isinstance(record, Proposed) and not replayed:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nas.run(campaign_file(**{"budget.trials": 8}), dir=tmp_path / "run", observe=interrupt)
    assert nas.load(tmp_path / "run").conclusion is None


def test_a_strategy_that_proposes_nothing_is_named(campaign_file, tmp_path):
    name = make_module(
        tmp_path,
        "from nas.search.random_search import RandomSearch\nclass Idle(RandomSearch):\n    def ask(self, n): return []\n",
    )
    changes = {"strategy.name": f'"{name}:Idle"', "strategy.population": None, "strategy.tournament": None}
    with pytest.raises(RuntimeError, match=f"strategy '{name}:Idle' proposes nothing while nothing runs"):
        nas.run(campaign_file(**changes), dir=tmp_path / "run")
