"""Trainings that go on from a checkpoint equal those that were never interrupted, bit for bit."""

import dataclasses
import logging

import numpy as np
import pytest
import torch

import spaces
from nas.store.run_dir import CHECKPOINT
from nas.training.evaluator import TrainingEvaluator
from nas.training.recipe import Recipe
from nas.training.tasks.images import ImageClassification
from nas.types import Fidelity, Proposal

FULL = Fidelity(12)


def told(metrics):
    """The metrics, but for those that depend on the time of day or say what was taken over."""
    return {key: value for key, value in metrics.items() if key not in ("tokens_per_second", "resumed_steps")}


def climb(evaluator, genome, amounts, context, folder):
    """The metrics of a proposal at each amount, each of which resumes the one before."""
    found = []
    for id, amount in enumerate(amounts):
        resumes = id - 1 if id else None
        proposal = Proposal(id, genome, Fidelity(amount), 0, resume_from=resumes)
        found.append(evaluator.evaluate(proposal, dataclasses.replace(context(), folder=folder / str(id))))
    return found


@pytest.fixture(scope="module")
def staged(space, task):
    return TrainingEvaluator(space, task, Recipe(lr=1e-2), FULL)


def weights(evaluator, genome, amounts, context, folder):
    """The weights after the last of these amounts."""
    for id, amount in enumerate(amounts):
        resumes = id - 1 if id else None
        proposal = Proposal(id, genome, Fidelity(amount), 0, resume_from=resumes)
        model = evaluator.train(proposal, dataclasses.replace(context(), folder=folder / str(id)))
    return model.state_dict()


def test_resumed_equals_uninterrupted(staged, space, context, tmp_path):
    rng = np.random.default_rng(1)
    for k in range(2):
        genome = space.sample(rng)
        whole = weights(staged, genome, [12], context, tmp_path / f"{k}-whole")
        parts = weights(staged, genome, [2, 5, 12], context, tmp_path / f"{k}-parts")
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[key], parts[key]) for key in whole), genome.text


def test_metrics_of_a_promotion_are_those_of_the_full_training(staged, space, context, tmp_path):
    genome = space.architecture("transformer++")
    low, high = climb(staged, genome, [3, 12], context, tmp_path)
    (whole,) = climb(staged, genome, [12], context, tmp_path / "whole")
    assert told(high) == told(whole)
    assert high["resumed_steps"] == 3
    assert "resumed_steps" not in whole
    assert (tmp_path / "0" / CHECKPOINT).exists()
    assert not (tmp_path / "1").exists(), "nothing goes on from the full training"
    assert told(low) != told(whole)


def test_random_numbers_and_buffers_go_on(space, context, tmp_path, monkeypatch):
    """A network with dropout and running statistics, on images that come in epochs."""
    task = ImageClassification(batch=256)

    def build(self, genome):
        layers = (
            torch.nn.Conv2d(1, 4, 3),
            torch.nn.BatchNorm2d(4),
            torch.nn.Dropout(0.3),
            torch.nn.Flatten(),
        )
        return torch.nn.Sequential(*layers, torch.nn.Linear(144, 10))

    space = spaces.load("nasbench201", task.io(0))
    monkeypatch.setattr(type(space), "build", build)
    evaluator = TrainingEvaluator(space, task, Recipe(), Fidelity(3, "epochs"))
    genome = space.sample(np.random.default_rng(3))
    found = []
    for k, amounts in enumerate(([3], [1, 3])):
        for id, amount in enumerate(amounts):
            proposal = Proposal(id, genome, Fidelity(amount, "epochs"), 0, resume_from=id - 1 if id else None)
            given = dataclasses.replace(context(), folder=tmp_path / str(k) / str(id))
            metrics = evaluator.evaluate(proposal, given)
        found.append(told(metrics))
    assert found[0] == found[1]
    assert metrics["resumed_steps"] == task.steps_per_epoch


def test_a_missing_checkpoint_is_said_and_done_without(staged, space, context, tmp_path, caplog):
    genome = space.architecture("transformer++")
    proposal = Proposal(1, genome, FULL, 0, resume_from=0)
    (whole,) = climb(staged, genome, [12], context, tmp_path / "whole")
    alone = dataclasses.replace(context(), folder=tmp_path / "1")
    with caplog.at_level(logging.WARNING):
        metrics = staged.evaluate(proposal, alone)
    assert "is not at hand, so training begins anew" in caplog.text
    assert metrics["resumed_steps"] == 0
    assert told(metrics) == told(whole)
    climb(staged, genome, [3], context, tmp_path)
    damaged = tmp_path / "0" / CHECKPOINT
    damaged.write_bytes(damaged.read_bytes()[:1000])
    assert staged.evaluate(proposal, alone)["resumed_steps"] == 0
    assert "cannot be used, so training begins anew" in caplog.text


@pytest.mark.parametrize("what", ["genome", "seed", "recipe", "schedule"])
def test_another_training_is_not_gone_on_with(what, staged, space, task, context, tmp_path, caplog):
    climb(staged, space.architecture("transformer++"), [3], context, tmp_path)
    genome = space.architecture("mamba-2" if what == "genome" else "transformer++")
    recipe = Recipe(lr=2e-2) if what == "recipe" else staged.recipe
    full = Fidelity(20) if what == "schedule" else FULL
    proposal = Proposal(1, genome, Fidelity(6), int(what == "seed"), resume_from=0)
    evaluator = TrainingEvaluator(space, task, recipe, full)
    metrics = evaluator.evaluate(proposal, dataclasses.replace(context(), folder=tmp_path / "1"))
    assert metrics["resumed_steps"] == 0
    assert "is of another training, so this one begins anew" in caplog.text


def test_a_constant_rate_goes_on_beyond_what_was_the_full_amount(space, task, context, tmp_path):
    genome = space.architecture("transformer++")
    recipe = Recipe(warmup=0.0, decay_to=1.0)
    small, large = (TrainingEvaluator(space, task, recipe, Fidelity(full)) for full in (4, 12))
    climb(small, genome, [4], context, tmp_path)
    proposal = Proposal(1, genome, Fidelity(12), 0, resume_from=0)
    metrics = large.evaluate(proposal, dataclasses.replace(context(), folder=tmp_path / "1"))
    (whole,) = climb(large, genome, [12], context, tmp_path / "whole")
    assert metrics["resumed_steps"] == 4
    assert told(metrics) == told(whole)


def test_the_test_split_leaves_no_checkpoint(space, task, context, tmp_path):
    evaluator = TrainingEvaluator(space, task, Recipe(warmup=0.0, decay_to=1.0), Fidelity(2))
    proposal = Proposal(0, space.architecture("transformer++"), Fidelity(2), 0)
    evaluator.evaluate(proposal, dataclasses.replace(context(splits=("valid", "test")), folder=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["weights.pt"]


def test_without_a_full_amount_each_proposal_has_its_own_schedule(
    evaluator, staged, space, context, tmp_path
):
    genome = space.architecture("transformer++")
    (own,) = climb(evaluator, genome, [3], context, tmp_path)
    (part,) = climb(staged, genome, [3], context, tmp_path / "staged")
    assert told(own) != told(part)
    assert not (tmp_path / "0").exists()
