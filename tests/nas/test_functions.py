"""Campaigns that measure with a function of the user's own."""

import json
import random
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import safetensors.torch
import torch
from own_modules import make_module

import nas
from nas.cli import main
from nas.cluster.worker import run_trial
from nas.config import parse
from nas.setup import prepare
from nas.training.function import FunctionEvaluator
from nas.types import Ended, Fidelity, InvalidInput, Proposal
from spaces import ProductSpace, choice, joint, real

USER = '''
import json, random
import numpy as np
from spaces import ProductSpace, choice

space = ProductSpace("toy", {"x": choice(*range(-20, 21), ordered=True), "kind": choice("a", "b")})


def loss(values, *, shift: int = 3):
    """Nothing but numbers, with some noise that follows from the seed."""
    return (values["x"] - shift) ** 2 + (values["kind"] == "a") + 0.1 * random.random() + 0.1 * np.random.rand()


def learner(values, context, *, broken: bool = False):
    """A training that goes on where it was: its state is how many epochs it saw, and the sum of its draws."""
    done, total = 0, 0.0
    if context.previous is not None:
        done, total = json.loads((context.previous / "state.json").read_text())
    rng = np.random.default_rng([context.seed, abs(values["x"]), done])
    for epoch in range(done, context.amount):
        total += abs(values["x"]) + np.random.default_rng([context.seed, epoch]).random()
        context.report(epoch + 1, {"loss": total / (epoch + 1)})
    (context.checkpoint / "state.json").write_text(json.dumps([context.amount, total]))
    return {"loss": total / context.amount, "began_at": done}
'''


@pytest.fixture
def user(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    return make_module(tmp_path, USER)


def config(user, function="loss", metric="loss", **changes):
    plain = {
        "name": "mine",
        "space": {"name": f"{user}:space"},
        "task": {"name": f"{user}:{function}"},
        "strategy": {"name": "evolution", "population": 4, "tournament": 2},
        "budget": {"trials": 12, "confirm": 2},
        "objectives": [{"metric": metric, "direction": "min"}],
        "workers": {"engine": "serial"},
    }
    return parse({**plain, **changes})


def facts(result):
    return [(trial.id, trial.proposal, trial.status, dict(trial.metrics)) for trial in result.trials]


def interrupt(after):
    def observe(record, replayed):
        nonlocal after
        if isinstance(record, Ended) and not replayed:
            after -= 1
            if not after:
                raise KeyboardInterrupt

    return observe


def test_a_campaign_that_was_killed_goes_on_as_if_nothing_had_happened(user, tmp_path):
    campaign = config(user, task={"name": f"{user}:loss", "shift": 5})
    whole = nas.run(campaign, dir=tmp_path / "whole")
    assert {trial.status for trial in whole.trials} == {"done"}
    for trial in whole.trials:
        values = prepare(campaign).space.values(trial.proposal.genome)
        least = (values["x"] - 5) ** 2 + (values["kind"] == "a")
        assert least < trial.metrics["loss"] < least + 0.2
    assert len(set(whole.confirmed("loss"))) == 2, "fresh seeds"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            nas.run(campaign, dir=tmp_path / "broken", observe=interrupt(4))
    again = nas.run(campaign, dir=tmp_path / "broken")
    assert facts(again) == facts(whole)
    assert again.confirmed("loss") == whole.confirmed("loss")
    assert again.config == whole.config == prepare(again.config).config


def test_on_ray(user, tmp_path, monkeypatch):
    """Also what reads a file beside its module."""
    monkeypatch.chdir("/")
    source = tmp_path / f"{user}.py"
    read = 'return float(Path(__file__).with_name("one.txt").read_text()) * ('
    source.write_text(
        "from pathlib import Path\n" + USER.replace("return (", f"{read}(").replace("rand()", "rand())")
    )
    (tmp_path / "one.txt").write_text("1")
    result = nas.run(config(user, workers={"engine": "ray", "count": 1}), dir=tmp_path / "run")
    serial = nas.run(config(user), dir=tmp_path / "serial")
    assert facts(result) == facts(serial)


def test_rungs_go_on_from_what_a_function_kept(user, tmp_path):
    changes = {
        "strategy": {"name": "asha", "sampler": {"name": "evolution", "population": 3, "tournament": 2}},
        "budget": {"trials": 16, "epochs": 9, "rungs": [1, 3], "confirm": 1},
    }
    campaign = config(user, "learner", **changes)
    result = nas.run(campaign, dir=tmp_path / "run")
    trials = {trial.id: trial for trial in result.trials}
    promoted = [trial for trial in result.trials if trial.proposal.resume_from is not None]
    assert {trial.proposal.fidelity.amount for trial in promoted} == {3, 9}
    for trial in promoted:
        before = trials[trial.proposal.resume_from].proposal.fidelity.amount
        assert trial.metrics["began_at"] == trial.metrics["resumed_steps"] == before
        assert [point.step for point in trial.curve] == list(
            range(before + 1, trial.proposal.fidelity.amount + 1)
        )
    top = next(trial for trial in promoted if trial.proposal.fidelity.amount == 9)
    evaluator = prepare(campaign).evaluator
    alone = Proposal(0, top.proposal.genome, Fidelity(9, "epochs"), 0)
    whole = run_trial(evaluator, alone, 60, lambda *_: True, "", "cpu", tmp_path / "alone" / "0")
    assert whole.metrics["loss"] == pytest.approx(top.metrics["loss"], rel=1e-12)
    kept = {int(path.parent.name) for path in result.path.glob("trials/*/checkpoint")}
    assert kept
    assert kept < set(trials), "those that nothing goes on from are gone, and those of fresh seeds"
    with pytest.raises(KeyboardInterrupt):
        nas.run(campaign, dir=tmp_path / "broken", observe=interrupt(9))
    assert facts(nas.run(campaign, dir=tmp_path / "broken")) == facts(result)


def test_a_trial_begins_with_an_empty_checkpoint_and_keeps_its_folder(tmp_path):
    def function(genome, context):
        found.append((sorted(p.name for p in context.folder.iterdir()), list(context.checkpoint.iterdir())))
        (context.folder / "log.txt").touch()
        (context.checkpoint / "half").touch()
        return 1.0

    found = []
    for rungs in ((1,), ()):
        evaluator = FunctionEvaluator(function, toy(), ("loss",), rungs=rungs)
        run_trial(evaluator, propose(), 60, lambda *_: True, "", "cpu", tmp_path / "0")
        assert (tmp_path / "0" / "checkpoint").exists() == bool(rungs)
    assert found == [(["checkpoint"], []), (["checkpoint", "log.txt"], [])]
    evaluator = FunctionEvaluator(lambda genome, context: 1.0, toy(), ("loss",), rungs=(1,))
    assert run_trial(evaluator, propose(), 60, lambda *_: True, "", "cpu", tmp_path / "1").status == "done"
    assert not (tmp_path / "1").exists(), "nothing was written"


def toy():
    return ProductSpace("toy", {"x": choice(1, 2, 3, ordered=True)})


def propose(space=None, seed=0):
    space = space or toy()
    return Proposal(0, space.sample(np.random.default_rng(0)), Fidelity(1), seed)


def call(function, space=None, metrics=("loss",), **given):
    space = space or toy()
    evaluator = FunctionEvaluator(function, space, metrics)
    return run_trial(evaluator, propose(space, **given), 60, lambda *_: True, "", "cpu", None)


@pytest.mark.parametrize(
    "returned, metrics, reason",
    [
        (None, ("loss",), "TypeError: metric 'loss' must be a number, but is None"),
        ("0.5", ("loss",), "TypeError: metric 'loss' must be a number, but is '0.5'"),
        ({"loss": [1, 2]}, ("loss",), "TypeError: metric 'loss' must be a number, but is [1, 2]"),
        ({"los": 1.0}, ("loss",), "TypeError: the function did not measure 'loss', did you mean 'los'?"),
        (
            0.5,
            ("loss", "size"),
            "TypeError: the function returned 0.5, but must return a mapping with loss, size",
        ),
        (float("nan"), ("loss",), "diverged: loss is nan"),
        ({"loss": 1, "other": float("inf")}, ("loss",), "diverged: other is inf"),
    ],
)
def test_what_a_function_must_not_return(returned, metrics, reason):
    trial = call(lambda genome: returned, metrics=metrics)
    assert trial.status == "failed"
    assert trial.error.startswith(reason)


def test_what_a_function_may_return():
    assert call(lambda genome: np.float32(0.5)).metrics == {"loss": 0.5}
    assert call(lambda genome: torch.tensor(2)).metrics == {"loss": 2.0}
    assert call(lambda genome: {"loss": 1, "more": 2}).metrics == {"loss": 1.0, "more": 2.0}


def test_what_a_function_is_given():
    def function(values, genome):
        told.append((values, genome.text))
        return 0.0

    told = []
    pairs = joint(toy(), {"lr": real(0.1, 0.2)})
    for space in (toy(), pairs):
        assert call(function, space).status == "done"
    (first, text), (second, _) = told
    assert text == f"toy(x={first['x']})"
    assert second.keys() == {"x", "lr"}


def test_reports_end_a_trial_that_is_stopped_or_too_slow(tmp_path):
    def function(genome, context):
        context.report(1, {"loss": 0.5})
        raise AssertionError("goes on")

    evaluator = FunctionEvaluator(function, toy(), ("loss",))
    trials = [
        run_trial(evaluator, propose(), seconds, lambda *_: False, "", "cpu", folder)
        for seconds in (60, 0)
        for folder in (None, tmp_path / "0")
    ]
    assert [trial.status for trial in trials] == ["stopped", "stopped", "failed", "failed"]
    assert trials[0].metrics == {"loss": 0.5}
    assert trials[2].error == "too slow: more than 0 s"


def test_hyperparameters_of_a_function_are_not_those_of_a_recipe(user):
    space = prepare(config(user, space={"name": f"{user}:space", "hyperparameters": {"noise": [1, 2]}})).space
    assert set(space.fields) == {"noise"}


def test_global_random_numbers_follow_from_the_seed_and_are_left_alone():
    def function(genome):
        return random.random() + np.random.rand() + torch.rand(1).item()  # noqa: NPY002

    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    same = [call(function, seed=seed).metrics["loss"] for seed in (1, 1, 2)]
    assert same[0] == same[1] != same[2]
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    assert after == before


MODEL = """
import torch

def bias(model, context):
    model.train()
    tokens = torch.arange(8).view(1, 8)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(2):
        loss = torch.nn.functional.cross_entropy(model(tokens)[0, :-1], tokens[0, 1:])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return loss
"""


def test_a_network_that_a_function_trains_is_exported(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    user = make_module(tmp_path, MODEL)
    limits = {"context": 32, "operators": 4, "parameters": 40_000}
    space = {"name": "hybrid", "width": 16, "io": {"tokens": {"vocab": 11}}, **limits}
    objectives = [{"metric": "loss", "direction": "min"}, {"metric": "parameters"}]
    budget = {"trials": 3, "confirm": 1}
    campaign = config(
        user, "bias", space=space, objectives=objectives, budget=budget, strategy={"name": "random"}
    )
    result = nas.run(campaign, dir=tmp_path / "run")
    assert all(trial.cost["parameters"] <= 40_000 for trial in result.done)
    assert [objective.direction for objective in result.config.objectives] == ["min", "min"]
    kept = result.path / "trials" / "-1" / "weights.pt"
    weights = torch.load(kept, weights_only=True)["weights"]
    kept.unlink()
    nas.export(result, "source", tmp_path / "out")
    again = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    assert weights.keys() == again.keys()
    assert all(torch.equal(weights[key], again[key]) for key in weights), "trained again with the same seed"


def test_a_dry_run_calls_once(user, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.toml"
    text = f"""
name = "mine"
[space]
name = "{user}:space"
[task]
name = "{user}:learner"
[budget]
trials = 4
epochs = 8
rungs = [2]
[[objectives]]
metric = "loss"
direction = "min"
[workers]
engine = "serial"
"""
    file.write_text(text)
    assert main(["run", str(file), "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["trial"]["metrics"]["began_at"] == 0
    assert plan["trial"]["seconds"] > 0
    assert main(["run", str(file), "--dry-run"]) == 0
    assert "\nspace     toy: 82 genomes\n" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()
    (tmp_path / f"{user}.py").write_text(USER.replace("done, total = 0, 0.0", "raise OSError('gone')"))
    sys.modules.pop(user)
    assert main(["run", str(file), "--dry-run"]) == 1
    assert "failed: OSError: gone" in capsys.readouterr().err


def test_without_a_network_there_is_nothing_to_export(user, tmp_path):
    result = nas.run(config(user, budget={"trials": 1, "confirm": 0}), dir=tmp_path / "run")
    with pytest.raises(InvalidInput, match=f"'{user}:loss', which takes no 'model': there is none to export"):
        nas.export(result, "source", tmp_path / "out")


def test_a_table_of_what_a_function_measured(user, tmp_path):
    from nas.tables.campaigns import tabulate

    result = nas.run(config(user), dir=tmp_path / "run")
    table = tabulate([result], tmp_path / "own.arrow")
    assert table.description.about == f"12 genomes of {user}:space measured by {user}:loss"
    assert table.query(result.best().proposal.genome.text, "loss", seed=0) == result.best().metrics["loss"]


WRONG = """
from spaces import Grammar, ProductSpace, choice

space = ProductSpace("toy", {"x": choice(1, 2)})
def shaped(io): return space
def plain(): return space
def loss(values, *, folds: int = 5): return 1.0
def typo(value): return 1.0
def same(context): return 1.0
def star(*values): return 1.0
def network(model): return 1.0
class Task: ...
"""


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"task": "typo"}, "function 'own_module:typo' takes 'value', which nobody gives, did you mean 'values'? "
         "allowed: values, model, genome, context; options of the task have a default or stand after a *"),
        ({"task": "star"}, "function 'own_module:star' takes 'values', which nobody gives, did you mean 'values'? "
         "allowed: values, model, genome, context; options of the task have a default or stand after a *"),
        ({"task": "same"}, "function 'own_module:same' takes none of values, model, genome, so that all that it "
         "measures is the same"),
        ({"task": 'loss"\nfold = "3'}, "unknown key 'task.fold', did you mean 'task.folds'? allowed: folds"),
        ({"task": 'loss"\nvalues = "3'}, "unknown key 'task.values'; allowed: folds"),
        ({"task": 'loss"\nfolds = "3'}, "'task.folds' must be an integer, got \"3\""),
        ({"task": "network"}, "space 'toy': build fails for 8 of 8 draws, as of toy(x=2): InvalidSpace: "
            "space 'toy' does not say how its genomes are built"),
        ({"direction": ""}, "missing key 'objectives[0].direction', it must be \"min\" or \"max\": function "
         "'own_module:loss' does not say which way loss is better"),
        ({"more": "[recipe]\nlr = 0.1"}, "'recipe' is of tasks to train on, but 'own_module:loss' is a function: "
         "leave it out"),
        ({"space": "own_module:shaped"}, "missing key 'space.io': what goes into networks and comes out, such as "
         "{image = {channels = 3, height = 32, width = 32, classes = 10}} or {tokens = {vocab = 256}}"),
        ({"space": 'own_module:plain"\nio = {tokens = {vocab = 3}}\n#'}, "'space.io' cannot be set: space "
         "'own_module:plain' takes none"),
        ({"space": 'own_module:shaped"\nio = {text = {vocab = 3}}\n#'}, "'space.io': io is {'text': {'vocab': 3}}, "
         "but must be one of image, nodes, tokens, vector with its sizes, as in {'vector': {'features': 9}}"),
        ({"space": "hybrid"}, "space 'hybrid' has no values by name for a function: take model or genome"),
        ({"budget": "trials = 3\nrungs = [1]"}, "FILE: exactly one of 'budget.steps', 'budget.tokens', "
         "'budget.epochs' must be given, got none"),
        ({"task": "Task"}, "task 'own_module:Task' is a Task, which has no io, metrics, tokens_per_step, "
         "train_batches, loss, evaluate"),
    ],
)  # fmt: skip
def test_what_is_refused(refused, tmp_path, changes, message):
    (tmp_path / "own_module.py").write_text(WRONG)
    said = {"space": "own_module:space", "budget": "trials = 3", "direction": 'direction = "min"', "more": ""}
    said |= {"task": "loss", **changes}
    file = tmp_path / "mine.toml"
    text = """
        name = "mine"
        [space]
        name = "{space}"
        [task]
        name = "own_module:{task}"
        [budget]
        {budget}
        [[objectives]]
        metric = "loss"
        {direction}
        [workers]
        engine = "serial"
        {more}"""
    file.write_text(textwrap.dedent(text).format(**said))
    told = refused("run", str(file), "--dry-run").partition(" (product.py:")[0]
    assert told == f"nas: {message}".replace("FILE", "HERE/mine.toml")


def test_without_a_budget_for_training_a_task_is_refused(campaign_file, refused):
    file = campaign_file(**{"budget.steps": None})
    assert "'budget.epochs' must be given, got none" in refused("run", str(file))
    file = campaign_file(**{"space.io": "{tokens = {vocab = 3}}"})
    assert "'space.io' is said by task 'bytes': leave it out" in refused("run", str(file))


SCRIPT = """
import nas
from spaces import ProductSpace, choice

space = ProductSpace("toy", {"x": choice(*range(20), ordered=True)})
SHIFT = 7

def loss(values):
    return (values["x"] - SHIFT) ** 2

result = nas.run({
    "name": "script",
    "space": {"name": "__main__:space"},
    "task": {"name": "__main__:loss"},
    "budget": {"trials": 20, "confirm": 0},
    "objectives": [{"metric": "loss", "direction": "min"}],
    "workers": {"engine": "ENGINE", "count": 1},
})
print(result.best().proposal.genome)
"""


@pytest.mark.slow
@pytest.mark.parametrize("engine, script", [("serial", "script.py"), ("ray", "script.py"), ("ray", "-")])
def test_a_script_that_is_its_own_campaign(tmp_path, engine, script):
    """ "-" is a script without a file, as notebooks are."""
    text = SCRIPT.replace("ENGINE", engine)
    (tmp_path / "script.py").write_text(text)
    done = subprocess.run(
        [sys.executable, script], input=text, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("toy(x=7)\n")


def test_a_function_called_by_hand(user):
    module = __import__(user)
    context = nas.Context(seed=3, amount=2)
    assert (context.device, context.previous, context.splits) == ("cpu", None, ("valid",))
    assert module.loss({"x": 3, "kind": "b"}) < 0.2
    with pytest.raises(InvalidInput, match=r"unknown key 'task\.shifts', did you mean 'task\.shift'"):
        prepare(config(user, task={"name": f"{user}:loss", "shifts": 1}))
