"""Differentiable search (Liu et al. 2019, DARTS; Hundt et al. 2019, sharpDARTS): the genomes of a trained supernet."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt

from nas.search.history import TRIES, HistoryStrategy
from nas.types import Fidelity, Finished, InvalidInput, Objective, Proposal
from spaces import Space
from spaces.protocol import Relaxed

if TYPE_CHECKING:
    from nas.training.supernet import Relaxation


SECONDS = 5.0
"""How often the training of the supernet is told of."""

logger = logging.getLogger(__name__)


class GradientSearch(HistoryStrategy):
    """Trains a supernet on the campaign's task, then proposes the genome of its architecture, and draws around it.

    The supernet is trained in the driver's process when the first proposal is asked for that the log does not hold, by
    `nas.training.supernet.relax`. The first proposal is the discretised architecture; the others draw each operator by
    its share in the supernet, without repeats. What trials measure changes nothing, but tells the best of them.

    Args:
        task: what the supernet learns, with batches of images and classes.
        steps: of the supernet.
        mixture: how operators are weighed: "softmax" as in DARTS, "max-w" as in sharpDARTS.
        power: of the cosine power annealing; 1 is plain cosine annealing.
        architecture_lr: the learning rate of the architecture.

    Raises:
        InvalidInput: the space has no supernet, or there is no task, as on a table.
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        seed: int,
        fidelity: Fidelity,
        task: Any = None,
        steps: Annotated[int, Ge(1)] = 1_000,
        mixture: Literal["softmax", "max-w"] = "max-w",
        power: Annotated[float, Ge(1)] = 10.0,
        architecture_lr: Annotated[float, Gt(0)] = 3e-4,
    ) -> None:
        super().__init__(space, objectives, seed, fidelity)
        if not isinstance(space, Relaxed):
            raise InvalidInput(
                f"strategy 'gradient' needs a space with a supernet, which {space.name!r} lacks; "
                "nasbench201, darts and sharpdarts have one"
            )
        if task is None:
            raise InvalidInput(
                "strategy 'gradient' trains a supernet on a task, which neither a table nor a function is"
            )
        self._relaxed, self._task = space, task
        self._relaxation: Relaxation | None = None
        self._options: dict[str, Any] = {
            "steps": steps,
            "mixture": mixture,
            "power": power,
            "architecture_lr": architecture_lr,
        }

    def propose(
        self, k: int, rng: np.random.Generator, taken: set[str], running: Sequence[Proposal]
    ) -> Proposal:
        if self._relaxation is None:
            from nas.training.supernet import relax  # imports torch

            self._relaxation = relax(
                self._relaxed,
                self._task,
                seed=self.seed,
                report=_told(self._options["steps"]),
                **self._options,
            )
        relaxation = self._relaxation
        if (found := relaxation.genome).digest not in taken:
            return self.proposal(k, found, "supernet")
        for _ in range(TRIES):
            genome = relaxation.sample(rng)
            if genome.digest not in taken:
                return self.proposal(k, genome, "draw from the supernet")
        raise Finished(f"{TRIES} draws in a row from the supernet repeat networks that were proposed")


def _told(steps: int) -> Callable[[int, float], None]:
    """Logs how far the supernet is, every few seconds, and at its end."""
    started = due = time.monotonic()

    def report(step: int, loss: float) -> None:
        nonlocal due
        now = time.monotonic()
        if now >= due or step == steps:
            due = now + SECONDS
            logger.info(
                "supernet: step %d of %d, training loss %.4f, %.0f s", step, steps, loss, now - started
            )

    return report
