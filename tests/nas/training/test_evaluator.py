"""Measuring proposals by training, and the dry run."""

import dataclasses
import math
import pickle
import subprocess
import sys
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
from torch import nn

import spaces
from nas.training.evaluator import TrainingEvaluator, estimate
from nas.training.recipe import Recipe
from nas.training.tasks.bytes import ByteText
from nas.types import Diverged, Fidelity, InvalidInput, Proposal, TooSlow, TrialStopped
from spaces.blocks import kernels, products


def measured(metrics: dict[str, float]) -> dict[str, float]:
    """The metrics but for the one that depends on the time of day."""
    return {key: value for key, value in metrics.items() if key != "tokens_per_second"}


def test_metrics(evaluator, propose, context):
    metrics = evaluator.evaluate(propose(), context())
    assert set(metrics) == {"valid_bpb", "train_loss", "tokens_per_second"}
    assert all(math.isfinite(value) and value > 0 for value in metrics.values())


def test_same_seed_same_bits(evaluator, propose, context):
    first = evaluator.evaluate(propose(10), context())
    torch.rand(5)
    copy = pickle.loads(pickle.dumps(evaluator))
    assert measured(copy.evaluate(propose(10), context())) == measured(first)
    assert measured(evaluator.evaluate(propose(10, seed=1), context())) != measured(first)


def test_the_callers_torch_is_left_as_it_was(evaluator, propose, context):
    state = torch.get_rng_state()
    torch.set_num_threads(2)
    seen = []
    evaluator.evaluate(propose(), context(check_deadline=lambda: seen.append(torch.get_num_threads())))
    after = torch.get_num_threads()
    torch.set_num_threads(1)
    assert set(seen) == {1}
    assert after == 2
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.skipif(not hasattr(torch.backends.mkldnn, "matmul"), reason="PyTorch is older than 2.9")
@pytest.mark.parametrize("by_token", [False, True])
def test_products_are_onednns_but_those_of_few_rows(evaluator, propose, context, monkeypatch, by_token):
    setting = torch.backends.mkldnn.matmul
    before = setting.fp32_precision
    monkeypatch.setattr(products, "_exact", lambda: True)
    monkeypatch.setattr(nn.Embedding, "steps_by_token", by_token, raising=False)
    seen = []
    evaluator.evaluate(propose(), context(check_deadline=lambda: seen.append(setting.fp32_precision)))
    assert set(seen) == {before if by_token else "bf16"}
    assert setting.fp32_precision == before


def test_the_test_split_is_read_only_when_asked_for(evaluator, propose, context, monkeypatch):
    read = []
    windows = ByteText._windows
    monkeypatch.setattr(
        ByteText,
        "_windows",
        lambda self, split, starts: (read.append(split), windows(self, split, starts))[1],
    )
    evaluator.evaluate(propose(), context())
    assert set(read) == {"train", "valid"}
    metrics = evaluator.evaluate(propose(), context(splits=("valid", "test")))
    assert set(read) == {"train", "valid", "test"}
    assert {"valid_bpb", "test_bpb"} <= set(metrics)


def test_fidelity_in_tokens_is_rounded_up_to_steps_and_reported_in_tokens(evaluator, propose, context):
    per_step = evaluator.task.tokens_per_step
    assert evaluator.steps(Fidelity(per_step * 5, "tokens")) == 5
    assert evaluator.steps(Fidelity(per_step * 5 + 1, "tokens")) == 6
    reported = []
    evaluator.evaluate(propose(per_step * 4, "tokens"), context(lambda step, metrics: reported.append(step)))
    assert reported == [per_step * i for i in (1, 2, 3, 4)]


def test_epochs_need_a_task_that_has_them(evaluator, space, text):
    with pytest.raises(InvalidInput, match="the fidelity is 2 epochs, but task ByteText has no epochs"):
        evaluator.steps(Fidelity(2, "epochs"))
    task = ByteText(text, length=32, batch=4)
    task.steps_per_epoch = 11
    assert TrainingEvaluator(space, task, Recipe()).steps(Fidelity(2, "epochs")) == 22


def test_divergence_in_training_and_in_validation(evaluator, propose, context, monkeypatch):
    with monkeypatch.context() as patch:
        loss = ByteText.loss
        patch.setattr(ByteText, "loss", lambda self, model, batch: loss(self, model, batch) * math.nan)
        with pytest.raises(Diverged, match="the training loss was nan in step 1 of 3"):
            evaluator.evaluate(propose(), context())
    monkeypatch.setattr(ByteText, "evaluate", lambda self, model, split: {"valid_bpb": math.nan})
    with pytest.raises(Diverged, match="valid_bpb is nan after training for 3 steps"):
        evaluator.evaluate(propose(), context())
    for given, said in (
        ({"valid_bpb": "low"}, "metric 'valid_bpb' must be a number, but is 'low'"),
        (None, "but are None"),
    ):
        monkeypatch.setattr(ByteText, "evaluate", lambda self, model, split, given=given: given)
        with pytest.raises(TypeError, match=said):
            evaluator.evaluate(propose(), context())


@pytest.mark.parametrize(
    "error, at", [(TooSlow("out of time"), "check_deadline"), (TrialStopped(), "report")]
)
def test_signals_of_the_context_come_through(evaluator, propose, context, error, at):
    def call(*args):
        raise error

    with pytest.raises(type(error)):
        evaluator.evaluate(propose(), context(**{at: call}))


def test_space_and_task_must_agree(task):
    space = spaces.load("hybrid", io=spaces.tokens(100, 16))
    with pytest.raises(InvalidInput, match=r"vocab=100.*but the task has .*vocab=256"):
        TrainingEvaluator(space, task, Recipe())


def test_estimate(evaluator, propose):
    (found,) = estimate(evaluator, [propose(100)])
    cost = evaluator.space.cost(propose().genome)
    assert found["parameters"] == cost.parameters
    assert found["seconds"] > 100 * found["seconds_per_step"] > 0
    assert 16 * cost.parameters < found["peak_bytes"] < 16 * cost.parameters + 5e6


def test_estimate_validates_on_a_few_batches_where_the_task_says_how_many_there_are(
    evaluator, propose, space, text, monkeypatch
):
    validated = []
    monkeypatch.setattr(ByteText, "evaluate", lambda self, model, split: validated.append(split))
    task = ByteText(text, length=32, batch=4, valid_tokens=320)
    large = ByteText(text, length=32, batch=4, valid_tokens=320)
    large.tokens_per_validation *= 1000
    small, long = (
        estimate(TrainingEvaluator(space, task, Recipe()), [propose(1)])[0]["seconds"]
        for task in (task, large)
    )
    assert long > 50 * small
    assert validated == []
    task.tokens_per_validation = None
    estimate(TrainingEvaluator(space, task, Recipe()), [propose(1)])
    assert validated == ["valid"]


def test_estimate_computes_on_the_threads_asked(evaluator, propose, monkeypatch):
    seen, loss = set(), ByteText.loss
    monkeypatch.setattr(
        ByteText,
        "loss",
        lambda self, *given: (seen.add(torch.get_num_threads()), loss(self, *given))[1],
    )
    estimate(evaluator, [propose()], threads=2)
    assert seen == {2}


def test_estimate_stops_when_its_time_is_up(evaluator, propose):
    assert len(estimate(evaluator, [propose()] * 3)) == 3
    assert len(estimate(evaluator, [propose()] * 3, seconds=0.0)) == 1


def test_importing_names_and_recipes_imports_no_torch():
    code = "import sys, nas.training.tasks.corpus, nas.training.recipe; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_recipes_know_the_kernels_that_blocks_know() -> None:
    assert get_args(get_type_hints(Recipe)["kernels"]) == kernels.PREFERENCES


@pytest.mark.skipif(not hasattr(torch.nn.functional, "grouped_mm"), reason="PyTorch has no grouped_mm yet")
def test_trials_say_for_how_many_operators_kernels_were_of_other_packages(space, task, context) -> None:
    genome = space.parse("stack(layers=[residual(body=moe(experts=4, top_k=1, mult=1, shared=0))], repeat=2)")
    proposal = Proposal(7, genome, Fidelity(2, "steps"), 0)
    own, theirs = (
        TrainingEvaluator(space, task, Recipe(precision="bfloat16", kernels=of)).evaluate(proposal, context())
        for of in ("own", "torch")
    )
    assert theirs["foreign_kernels"] == 1
    assert "foreign_kernels" not in own
    assert theirs["train_loss"] == pytest.approx(own["train_loss"], rel=1e-2)


def test_bfloat16_computes_products_in_it_and_keeps_weights_and_losses(evaluator, propose, context) -> None:
    recipe = dataclasses.replace(evaluator.recipe, precision="bfloat16")
    found = dataclasses.replace(evaluator, recipe=recipe)
    exact, rounded = (one.evaluate(propose(10), context()) for one in (evaluator, found))
    assert rounded["valid_bpb"] != exact["valid_bpb"]
    assert rounded["valid_bpb"] == pytest.approx(exact["valid_bpb"], rel=1e-2)
    assert torch.tensor(rounded["train_loss"], dtype=torch.bfloat16).item() != rounded["train_loss"]
    assert {part.dtype for part in found.train(propose(1), context()).parameters()} == {torch.float32}
    assert estimate(found, [propose()])[0]["seconds_per_step"] > 0


def test_precision_and_kernels_are_those_that_a_genome_says(space, task, context, monkeypatch) -> None:
    said = {"precision": spaces.choice("float32", "bfloat16"), "kernels": spaces.choice("own", "torch")}
    joint = spaces.joint(space, said)
    rng, wanted = np.random.default_rng(0), {"precision": "bfloat16", "kernels": "torch"}
    genome = next(g for g in (joint.sample(rng) for _ in range(100)) if joint.values(g) == wanted)
    seen = []
    preferring, measure = kernels.preferring, ByteText.evaluate
    monkeypatch.setattr(
        "nas.training.evaluator.preferring", lambda those: seen.append(those) or preferring(those)
    )
    monkeypatch.setattr(
        ByteText,
        "evaluate",
        lambda self, *given: seen.append(torch.is_autocast_enabled("cpu")) or measure(self, *given),
    )
    evaluator = TrainingEvaluator(joint, task, Recipe())
    proposal = Proposal(7, genome, Fidelity(1, "steps"), 0)
    evaluator.evaluate(proposal, context())
    evaluator.train(proposal, context())
    estimate(evaluator, [proposal])
    assert seen == ["torch", True, "torch", "torch"]
