"""Measuring a proposal by training its network, and estimating beforehand what that takes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from nas.training import checkpoints
from nas.training.loop import Optimization, Training, precision_of, train
from nas.training.recipe import Recipe
from nas.training.reproducible import reproducible
from nas.training.tasks.base import Task
from nas.training.weights import save_weights
from nas.types import RESUMED, Context, Diverged, Fidelity, InvalidInput, Proposal, floats
from spaces.blocks.kernels import Foreign, preferring
from spaces.blocks.products import onednn_products, steps_by_token
from spaces.genome import Genome
from spaces.io import TokenIO
from spaces.pairs import hyperparameters
from spaces.protocol import Space


@dataclass(frozen=True)
class TrainingEvaluator:
    """Trains the network of a genome on a task and measures it; an `Evaluator`.

    Args:
        full: the full fidelity of a campaign with rungs, over which the learning rate falls, whatever part of it a
            proposal asks for. So a rung is the beginning of the full training, and a promotion goes on with it as if
            nothing had been; a schedule over each rung would have to raise the rate again, and give what no training in
            one go gives. Trainings of a part keep a checkpoint. None: each proposal is trained under its own schedule.

    Raises:
        InvalidInput: the space is bound to another input and output than the task has.
    """

    space: Space
    task: Task
    recipe: Recipe
    full: Fidelity | None = None

    def __post_init__(self) -> None:
        width = self.space.io.width if isinstance(self.space.io, TokenIO) else 1
        needed = self.task.io(width)
        if self.space.io != needed:
            raise InvalidInput(
                f"the space is bound to {self.space.io}, but the task has {needed}: use space.at(...)"
            )

    def evaluate(self, proposal: Proposal, context: Context) -> dict[str, float]:
        """Trains for the proposal's fidelity on OMP_NUM_THREADS threads (else 1), then measures on the splits asked.

        Equal proposals give equal metrics on one machine (CPU), but for the speed. Reports count in the unit
        of the fidelity. What is measured on "test" was selected: its weights are kept in the trial's folder.

        A proposal that resumes another goes on from its checkpoint, in the folder beside the trial's; where that is not
        at hand, it is trained from the beginning.

        Returns:
            The task's metrics on each split; "train_loss", the mean of the last tenth of the steps (nats), as far as
            they were done here; "tokens_per_second" of training; of a proposal that resumes another "resumed_steps",
            how many steps were taken over; and where kernels of other packages were used "foreign_kernels", for how
            many operators, and where they failed when they were tried, so that our own forms were used instead,
            "refused_kernels", likewise.

        Raises:
            Diverged: the training loss or a metric is infinite or no number.
            TooSlow, TrialStopped: as the context says.
            InvalidInput: a fidelity in epochs for a task without.
            TypeError: the task measures what is no number.
        """
        recipe = self.recipe_of(proposal.genome)
        with self._built(proposal, recipe, context.device) as (model, foreign):
            training = self._train(model, proposal, context, recipe)
            metrics: dict[str, float] = {}
            with precision_of(recipe, model):
                for split in context.splits:
                    metrics |= floats(self.task.evaluate(model, split))
        for key, value in metrics.items():
            if not math.isfinite(value):
                raise Diverged(f"{key} is {value} after training for {proposal.fidelity}")
        if "test" in context.splits and context.folder is not None:
            save_weights(context.folder, proposal.genome, model)
        steps = training.end.done - training.resumed
        speed = steps * self.task.tokens_per_step / training.seconds
        metrics |= {"train_loss": training.loss, "tokens_per_second": speed}
        if foreign.used:
            metrics["foreign_kernels"] = len(foreign.used)
        if foreign.refused:
            metrics["refused_kernels"] = len(foreign.refused)
        return metrics if proposal.resume_from is None else {**metrics, RESUMED: training.resumed}

    def train(self, proposal: Proposal, context: Context) -> nn.Module:
        """The trained model of a proposal, as `evaluate` trains it; raises what that does."""
        recipe = self.recipe_of(proposal.genome)
        with self._built(proposal, recipe, context.device) as (model, _):
            self._train(model, proposal, context, recipe)
        return model

    @contextmanager
    def _built(
        self, proposal: Proposal, recipe: Recipe, device: str, threads: int | None = None
    ) -> Iterator[tuple[nn.Module, Foreign]]:
        """A new model, and inside all that decides how it computes; restored afterwards."""
        with reproducible(proposal.seed, device, threads), preferring(recipe.kernels) as foreign:
            model = self.space.build(proposal.genome).to(device)
            with onednn_products(device == "cpu" and not steps_by_token(model)):
                yield model, foreign

    def _train(self, model: nn.Module, proposal: Proposal, context: Context, recipe: Recipe) -> Training:
        steps = self.steps(proposal.fidelity)

        def report(step: int, metrics: Mapping[str, float]) -> None:
            context.report(round(proposal.fidelity.amount * step / steps), metrics)

        seed = proposal.seed
        check = context.check_deadline
        schedule = steps if self.full is None else self.steps(self.full)
        # Where the learning rate never changes, a training is the beginning of any longer one.
        ends = None if recipe.warmup == 0 and recipe.decay_to == 1 else schedule
        told = {**asdict(recipe), "betas": list(recipe.betas)}
        identity = {"genome": proposal.genome.text, "seed": seed, "recipe": told, "schedule": ends}
        start = None
        if proposal.resume_from is not None and context.folder is not None:
            start = checkpoints.load(context.folder.parent / str(proposal.resume_from), identity)
        training = train(
            model,
            self.task,
            recipe,
            steps,
            seed,
            schedule=schedule,
            start=start,
            report=report,
            check_deadline=check,
        )
        goes_on = self.full is not None and (ends is None or steps < schedule)
        if goes_on and context.folder is not None and "test" not in context.splits:
            checkpoints.save(context.folder, identity, training.end.state())
        return training

    def recipe_of(self, genome: Genome) -> Recipe:
        """The recipe, with what the genome says of it in a joint space."""
        return replace(self.recipe, **hyperparameters(self.space, genome))

    def steps(self, fidelity: Fidelity) -> int:
        """The optimiser steps of a fidelity, rounded up to whole ones.

        Raises:
            InvalidInput: epochs, for a task that has none.
        """
        if fidelity.unit == "steps":
            return fidelity.amount
        if fidelity.unit == "tokens":
            return math.ceil(fidelity.amount / self.task.tokens_per_step)
        if self.task.steps_per_epoch is None:
            name = type(self.task).__name__
            raise InvalidInput(
                f"the fidelity is {fidelity}, but task {name} has no epochs: use steps or tokens"
            )
        return fidelity.amount * self.task.steps_per_epoch


def usable_device(gpus: float) -> str:
    """The device of a worker that holds so many GPUs, for one in this process.

    Raises:
        InvalidInput: it holds some, but PyTorch finds none.
    """
    if not gpus:
        return "cpu"
    if not torch.cuda.is_available():
        raise InvalidInput(
            f"'workers.gpus' is {gpus:g}, but PyTorch {torch.__version__} finds no CUDA device here"
        )
    return "cuda"


def estimate(
    evaluator: TrainingEvaluator,
    proposals: Sequence[Proposal],
    steps: int = 4,
    device: str = "cpu",
    threads: int | None = None,
    seconds: float = math.inf,
) -> list[dict[str, float]]:
    """What proposals would take, for a dry run: each is built, trained for a few steps and validated on a few batches.

    Where the task does not say how many tokens a validation reads, it is done once in full.

    Args:
        steps: the most that each is trained; the first counts only where it is the only one.
        threads: None: as many as `evaluate` computes on.
        seconds: after these no further proposal is taken up, and after its equal share of them none trains on; the
            first is taken up in any case, and each trains for a step.

    Returns:
        For each proposal that was taken up: "parameters"; "seconds_per_step" of training; "seconds" of the whole
        trial, with validation; "peak_bytes": weights, gradients, AdamW's two means, and what the forward pass saves
        for the backward pass. What operators need for themselves in passing is not in it.
    """
    deadline = time.monotonic() + seconds
    rows: list[dict[str, float]] = []
    for proposal in proposals:
        recipe = evaluator.recipe_of(proposal.genome)
        with evaluator._built(proposal, recipe, device, threads) as (model, _):
            rows.append(_estimate(evaluator, model, proposal, recipe, steps, seconds / len(proposals)))
        if time.monotonic() >= deadline:
            break
    return rows


def _estimate(
    evaluator: TrainingEvaluator,
    model: nn.Module,
    proposal: Proposal,
    recipe: Recipe,
    steps: int,
    seconds: float,
) -> dict[str, float]:
    task = evaluator.task
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    model.train()
    optimization = Optimization(model, task, recipe, steps)
    batches = list(islice(task.train_batches(proposal.seed), steps))
    times: list[float] = []
    for batch in batches:
        counting = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        started = time.perf_counter()
        with nullcontext() if times else counting:
            optimization.step(batch).item()
        times.append(time.perf_counter() - started)
        if math.fsum(times) >= seconds:
            break
    counted = times[1:] or times
    per_step = math.fsum(counted) / len(counted)
    with precision_of(recipe, model):
        validation = _validation(model, task, batches[: len(times)])
    weights = {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for p in model.parameters()}
    activations = sum(size for place, size in saved.items() if place not in weights)
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seconds_per_step": per_step,
        "seconds": per_step * evaluator.steps(proposal.fidelity) + validation,
        "peak_bytes": 4 * sum(weights.values()) + activations,
    }


def _validation(model: nn.Module, task: Task, batches: Sequence[Any]) -> float:
    """The seconds of a validation, from the losses of these batches where the task says how many tokens it reads."""
    model.eval()
    tokens = getattr(task, "tokens_per_validation", None)
    started = time.perf_counter()
    if tokens is None:
        task.evaluate(model, "valid")
        return time.perf_counter() - started
    with torch.inference_mode():
        for batch in batches:
            task.loss(model, batch).item()
    return (time.perf_counter() - started) * tokens / (len(batches) * task.tokens_per_step)
