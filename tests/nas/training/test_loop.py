"""The training loop: schedule, groups of parameters, learning, divergence, stopping."""

import math

import pytest
import torch

from nas.training.loop import LOOK, Optimization, parameter_groups, train
from nas.training.recipe import Recipe
from nas.training.schedules import warmup_cosine
from nas.types import Diverged, InvalidInput, TooSlow, TrialStopped


@pytest.fixture
def model(space):
    torch.manual_seed(0)
    return space.build(space.architecture("transformer++"))


def test_schedule_rises_to_the_peak_and_falls_to_the_end():
    factors = [warmup_cosine(step, 100, warmup=0.1, decay_to=0.2) for step in range(101)]
    assert factors[:11] == pytest.approx([(i + 1) / 11 for i in range(11)])
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[100] == pytest.approx(0.2)
    assert warmup_cosine(0, 1, warmup=0.9, decay_to=0.0) == 1.0


@pytest.mark.parametrize(
    "key, value",
    [
        ("lr", 0.0),
        ("lr", math.nan),
        ("warmup", 1.0),
        ("decay_to", 1.5),
        ("weight_decay", -0.1),
        ("betas", (0.9, 1.0)),
        ("betas", (0.9,)),
        ("grad_clip", 0.0),
    ],
)
def test_recipe_refuses(key, value):
    with pytest.raises(InvalidInput, match=rf"'recipe\.{key}' must be a number .*, got "):
        Recipe(**{key: value})


def test_vectors_and_embeddings_do_not_decay(model):
    decayed, kept = parameter_groups(model, 0.1)
    named = {id(parameter): name for name, parameter in model.named_parameters()}
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)
    names = {named[id(parameter)] for parameter in kept["params"]}
    assert names == {"embedding.weight"} | {name for name in named.values() if "norm" in name}
    assert len(decayed["params"]) + len(kept["params"]) == len(named)


def test_loss_falls(model, task):
    reports = []
    train(
        model, task, Recipe(lr=1e-2), 30, seed=0, report=lambda step, metrics: reports.append((step, metrics))
    )
    assert [step for step, _ in reports] == list(range(3, 31, 3))
    first, last = reports[0][1]["train_loss"], reports[-1][1]["train_loss"]
    assert last < first - 1


def test_report_is_the_mean_since_the_last(model, task, monkeypatch):
    losses, reports = iter(range(1, 46)), []
    monkeypatch.setattr(Optimization, "step", lambda self, batch: torch.tensor(float(next(losses))))
    training = train(
        model, task, Recipe(), 45, 0, report=lambda step, metrics: reports.append((step, metrics))
    )
    assert [step for step, _ in reports] == [5, 9, 14, 18, 23, 27, 32, 36, 41, 45]
    assert reports[1] == (9, {"train_loss": 7.5})
    assert training.loss == reports[-1][1]["train_loss"] == 43.5


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_divergence_names_step_and_value(model, task, monkeypatch, value):
    calls = []

    def step(self, batch):
        calls.append(batch)
        return torch.tensor(value if len(calls) >= 37 else 1.0)

    monkeypatch.setattr(Optimization, "step", step)
    with pytest.raises(Diverged, match=f"the training loss was {value} in step 37 of 1000"):
        train(model, task, Recipe(), 1000, seed=0)
    assert len(calls) < 37 + LOOK


def test_deadline_and_report_end_training(model, task):
    def raising(error):
        def call(*args):
            raise error

        return call

    with pytest.raises(TooSlow):
        train(model, task, Recipe(), 10, 0, check_deadline=raising(TooSlow()))
    with pytest.raises(TrialStopped):
        train(model, task, Recipe(), 10, 0, report=raising(TrialStopped()))


def test_auxiliary_losses_are_learnt_but_not_reported(space, task):
    genome = space.parse("stack(layers=[residual(body=moe(experts=4, top_k=1, mult=1, shared=0))], repeat=1)")
    torch.manual_seed(0)
    model = space.build(genome)
    batch = next(task.train_batches(0))
    expected = task.loss(model, batch).item()
    optimization = Optimization(model, task, Recipe(), 10)
    gradients = []
    optimization.optimizer.register_step_pre_hook(
        lambda *_: gradients.append(model.body.blocks[0].blocks[0].router.weight.grad.clone())
    )
    assert optimization.step(batch).item() == pytest.approx(expected)
    assert gradients[0].abs().sum() > 0
