"""Differentiable architecture search: a supernet is trained, and its architecture becomes genomes (Liu et al. 2019)."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from nas.training.loop import LOOK
from nas.training.schedules import cosine_power
from nas.training.tasks.base import Task
from nas.types import Diverged
from spaces import Genome
from spaces.networks.supernet import Architecture, Mixture
from spaces.protocol import Relaxed

WEIGHTS_LR = (0.025, 0.001)
"""Of SGD, at the beginning and the end; with momentum .9, decay 3e-4, gradients clipped at 5 (DARTS, appendix A)."""


@dataclass(frozen=True)
class Relaxation:
    """What a supernet learned.

    Attributes:
        shares: for each cell the softmax of its logits, [E, K]: how much each operator counts on each edge.
        losses: the training loss of each step, nats.
        genome: what the architecture is when it is discretised.
    """

    space: Relaxed
    shares: Mapping[str, np.ndarray]
    losses: tuple[float, ...]

    @property
    def genome(self) -> Genome:
        return self.space.discretised(self.shares)

    def sample(self, rng: np.random.Generator) -> Genome:
        """A genome whose operators are drawn by their shares, and whose edges by those of the operators drawn."""
        noisy = {
            cell: np.log(share_EK) + rng.gumbel(size=share_EK.shape) for cell, share_EK in self.shares.items()
        }
        return self.space.discretised(noisy)


def relax(
    space: Relaxed,
    task: Task,
    *,
    steps: int,
    seed: int = 0,
    mixture: Mixture = "softmax",
    power: float = 10.0,
    architecture_lr: float = 3e-4,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> Relaxation:
    """Trains the supernet of a space, weights and architecture in turn: DARTS of first order.

    Weights learn from one half of the images and the architecture from the other, by Adam (betas .5 and .999, decay
    1e-3; DARTS, appendix A). An image is of one half or the other by a checksum of its pixels, in all epochs.

    Args:
        steps: of the weights, and as many of the architecture.
        seed: of the initialisation and of the order of the images.
        mixture: how operators are weighed, see `spaces.networks.supernet.Architecture`.
        power: of the annealing of the weights' learning rate, see `cosine_power`.
        architecture_lr: of Adam.
        report: called after each of the looks at the loss with the steps done and the mean loss since the last one.

    Raises:
        Diverged: a loss is infinite or no number.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        supernet = space.supernet(mixture).train()
    architecture = list(supernet.architectures.parameters())
    known = {id(parameter) for parameter in architecture}
    weights = [parameter for parameter in supernet.parameters() if id(parameter) not in known]
    highest, lowest = WEIGHTS_LR
    descent = torch.optim.SGD(weights, lr=highest, momentum=0.9, weight_decay=3e-4)
    choice = torch.optim.Adam(architecture, lr=architecture_lr, betas=(0.5, 0.999), weight_decay=1e-3)
    losses: list[float] = []
    unseen: list[Tensor] = []
    for step, (first, second) in enumerate(itertools.islice(_halves(task, seed), steps), start=1):
        for group in descent.param_groups:
            group["lr"] = lowest + (highest - lowest) * cosine_power(step - 1, steps, power)
        supernet.zero_grad()
        task.loss(supernet, second).backward()
        choice.step()
        supernet.zero_grad()
        loss = task.loss(supernet, first)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 5.0)
        descent.step()
        unseen.append(loss.detach())
        if len(unseen) == LOOK or step == steps:
            seen = torch.stack(unseen).tolist()
            if not np.isfinite(seen).all():
                raise Diverged(f"the supernet's training loss was not finite by step {step} of {steps}")
            losses += seen
            unseen.clear()
            report(step, float(np.mean(seen)))
    shares = {
        cell: cast(Architecture, one).logits_EK.detach().double().softmax(dim=1).cpu().numpy()
        for cell, one in supernet.architectures.items()
    }
    return Relaxation(space, shares, tuple(losses))


def _halves(task: Task, seed: int) -> Iterator[tuple[Any, Any]]:
    """Batches of the two halves of the training split side by side, each of about half the task's batch."""
    for images_NCHW, labels_N in task.train_batches(seed):
        second = np.array([zlib.crc32(image.tobytes()) & 1 for image in images_NCHW.numpy()], dtype=bool)
        if 1 < second.sum() < len(second) - 1:  # batch normalisation needs two
            yield (images_NCHW[~second], labels_N[~second]), (images_NCHW[second], labels_N[second])
