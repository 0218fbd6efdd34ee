"""The training loop: one optimiser step, and many of them under the eyes of a campaign."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nas.training.recipe import Recipe
from nas.training.schedules import warmup_cosine
from nas.training.tasks.base import Task
from nas.types import Diverged
from spaces.blocks.base import total_aux_loss

REPORTS = 10
"""How often a training reports, unless it has fewer steps."""

LOOK = 20
"""The most steps between two looks at the losses; a look waits for the device."""


@dataclass(frozen=True, slots=True)
class Training:
    """What came of a training: the mean loss of its last steps (nats), the seconds it took, and its end to go on from.

    `resumed` are the steps that another training had done before it.
    """

    loss: float
    seconds: float
    end: Optimization
    resumed: int = 0


class Optimization:
    """A model on its way: AdamW as a recipe says, under a schedule over a given number of steps."""

    def __init__(self, model: nn.Module, task: Task, recipe: Recipe, steps: int) -> None:
        self.model, self.task, self.recipe, self.steps = model, task, recipe, steps
        self.done = 0
        self.parameters = list(model.parameters())
        self.optimizer = torch.optim.AdamW(
            parameter_groups(model, recipe.weight_decay), lr=recipe.lr, betas=recipe.betas, fused=True
        )

    def state(self) -> dict[str, Any]:
        """All that going on takes: weights and buffers, AdamW, the steps done, and torch's random numbers."""
        return {
            "done": self.done,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state, which also sets torch's random numbers."""
        self.done = state["done"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda"])

    def step(self, batch: Any) -> Tensor:
        """Learns from one batch; its loss before that, without auxiliary losses (a scalar on the device)."""
        recipe = self.recipe
        factor = warmup_cosine(self.done, self.steps, recipe.warmup, recipe.decay_to)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.lr * factor
        with precision_of(recipe, self.model):
            loss = self.task.loss(self.model, batch)
            auxiliary = total_aux_loss(self.model)
        (loss if auxiliary is None else loss + auxiliary).backward()
        nn.utils.clip_grad_norm_(self.parameters, recipe.grad_clip, foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.done += 1
        return loss.detach()


def train(
    model: nn.Module,
    task: Task,
    recipe: Recipe,
    steps: int,
    seed: int,
    *,
    schedule: int | None = None,
    start: Mapping[str, Any] | None = None,
    report: Callable[[int, Mapping[str, float]], None] = lambda step, metrics: None,
    check_deadline: Callable[[], None] = lambda: None,
) -> Training:
    """Trains a model in place; with the same seed and model, bit for bit the same on one machine and thread.

    Args:
        steps: optimiser steps, at least 1.
        seed: of the order of the data.
        schedule: over how many steps the learning rate falls; default: all. Where it is more, the training is the
            beginning of a longer one.
        start: the state of a training that this one goes on with, bit for bit as if it had not ended: its batches are
            drawn and passed over.
        report: called ten times (or once a step) with the steps done and {"train_loss": mean over the steps
            since the last time}; what it raises (`TrialStopped`) ends the training.
        check_deadline: called before each step; what it raises (`TooSlow`) ends the training.

    Raises:
        Diverged: the loss of a step is infinite or no number; seen at the latest 20 steps after it.
    """
    model.train()
    optimization = Optimization(model, task, recipe, schedule or steps)
    unseen: list[Tensor] = []
    seen: list[float] = []
    mean = math.nan
    started = time.perf_counter()
    batches = iter(task.train_batches(seed))
    if start is not None:
        for _ in range(start["done"]):
            next(batches)
        optimization.restore(start)
    resumed = optimization.done
    for step, batch in zip(range(resumed + 1, steps + 1), batches, strict=False):
        check_deadline()
        unseen.append(optimization.step(batch))
        reporting = step * REPORTS // steps > (step - 1) * REPORTS // steps
        if reporting or len(unseen) == LOOK:
            seen += _finite(unseen, step, steps)
            unseen.clear()
        if reporting:
            mean = math.fsum(seen) / len(seen)
            seen.clear()
            report(step, {"train_loss": mean})
    return Training(mean, time.perf_counter() - started, optimization, resumed)


def precision_of(recipe: Recipe, model: nn.Module) -> torch.autocast:
    """The context in which a model computes as precisely as the recipe says; not for the backward pass."""
    device = next(model.parameters()).device.type
    return torch.autocast(device, torch.bfloat16, enabled=recipe.precision == "bfloat16")


def _finite(losses: list[Tensor], step: int, steps: int) -> list[float]:
    """The losses of the steps that end with `step`, read from the device at once."""
    values = torch.stack(losses).tolist()
    for at, value in enumerate(values, start=step - len(values) + 1):
        if not math.isfinite(value):
            raise Diverged(f"the training loss was {value} in step {at} of {steps}")
    return values


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """AdamW's groups: matrices decay; vectors (norms, biases, gains) and embeddings do not."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for parameter in model.parameters():
        free = parameter.ndim < 2 or id(parameter) in embeddings
        (kept if free else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
