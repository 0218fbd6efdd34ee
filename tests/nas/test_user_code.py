"""Campaigns with spaces, tasks and strategies of a user's own, right and wrong."""

import json
import random
import sys

import pytest
from own_modules import make_module

import nas
from nas.cli import main
from nas.store import RunDir
from nas.types import InvalidInput, Measured

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
        ("space", "mine = 5", "space '{name}:mine' is a int, but must be a Grammar, a FlowGrammar"),
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


def test_a_strategy_that_proposes_nothing_is_named(campaign_file, tmp_path):
    name = make_module(
        tmp_path,
        "from nas.search.random_search import RandomSearch\nclass Idle(RandomSearch):\n    def ask(self, n): return []\n",
    )
    changes = {"strategy.name": f'"{name}:Idle"', "strategy.population": None, "strategy.tournament": None}
    with pytest.raises(RuntimeError, match=f"strategy '{name}:Idle' proposes nothing while nothing runs"):
        nas.run(campaign_file(**changes), dir=tmp_path / "run")


def test_blocks_that_are_none_are_refused_before_a_trial(campaign_file, tmp_path):
    name = make_module(
        tmp_path,
        """
from spaces import Cost, Grammar
from torch import nn

own = Grammar("own", start="model")

@own.production("model", build=lambda at: nn.Linear(at.width, at.width), cost=lambda at, context: Cost(0, 0, 0, 0))
def mine(): ...
""",
    )
    file = campaign_file(**{"space.name": f'"{name}:own"'})
    with pytest.raises(
        InvalidInput, match=r"production 'mine': build= of mine\(\) gives a Linear, but must give"
    ):
        nas.run(file, dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_campaign_does_not_go_on_with_a_grammar_that_was_changed(campaign_file, user_code, tmp_path):
    """Where only the code behind it was, it does."""
    module = tmp_path / f"{user_code}.py"
    options = {"space.name": f'"{user_code}:tiny"', "budget.trials": 2}

    def again(text, **changes):
        module.write_text(text)
        sys.modules.pop(user_code, None)
        return nas.run(campaign_file(**{**options, **changes}), dir=tmp_path / "run")

    again(USER)
    with pytest.raises(InvalidInput, match=f"space '{user_code}:tiny' is not what this campaign began with"):
        again(USER.replace("choice(2, 3, 4)", "choice(2, 3, 4, 5)"))
    assert len(again(f"{USER}\n# better\n", **{"budget.trials": 3}).trials) == 3


@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_what_is_printed_on_the_way_is_no_part_of_the_json(campaign_file, tmp_path, capsys, flags):
    name = make_module(
        tmp_path,
        """
from nas.training.tasks.bytes import ByteText

print("imported")

class Loud(ByteText):
    def loss(self, model, batch):
        print("a batch")
        return super().loss(model, batch)
""",
    )
    file = campaign_file(**{"task.name": f'"{name}:Loud"', "budget.trials": 1})
    assert main(["run", str(file), "--dir", str(tmp_path / "run"), "--json", *flags]) == 0
    out, err = capsys.readouterr()
    assert isinstance(json.loads(out), dict)
    assert "imported\n" in err
    assert "a batch\n" in err
