"""A user's own function as what a campaign measures: what it is given, and what it may return."""

from __future__ import annotations

import inspect
import logging
import math
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import nn

from nas.options import call_options
from nas.store.run_dir import KEPT
from nas.training.reproducible import reproducible
from nas.training.weights import save_weights
from nas.types import RESUMED, Context, Diverged, InvalidInput, Proposal, floats
from spaces.blocks.products import onednn_products, steps_by_token
from spaces.errors import suggest
from spaces.genome import Genome
from spaces.pairs import JointSpace
from spaces.protocol import Space

GIVEN = ("values", "model", "genome", "context")
"""What a function may ask for by the names of its parameters; all its other parameters are options of the task."""

logger = logging.getLogger(__name__)


def is_function(found: Any) -> bool:
    """Whether what a campaign names as its task is a function that measures; a class is a task to train on."""
    return callable(found) and not isinstance(found, type)


def options_of(function: Callable[..., Any], name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a function, validated, with its defaults filled in.

    Raises:
        InvalidInput: it takes nothing that differs from trial to trial, or what nobody gives; or an option is unknown
            or does not fit.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"function {name!r} does not say what it takes: {error}") from None
    for parameter in parameters:
        unnamed = parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL)
        required = parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        if unnamed or (required and parameter.name not in (*GIVEN, *given)):
            raise InvalidInput(
                f"function {name!r} takes {parameter.name!r}, which nobody gives{suggest(parameter.name, GIVEN)}; "
                "options of the task have a default or stand after a *"
            )
    taken = [parameter.name for parameter in parameters if parameter.name in GIVEN]
    if not set(taken) - {"context"}:
        raise InvalidInput(
            f"function {name!r} takes none of {', '.join(GIVEN[:-1])}, so that all that it measures is the same"
        )
    return call_options(function, given, "task", given=taken)


@dataclass(frozen=True)
class FunctionEvaluator:
    """Calls a function of a user's own for each proposal; an `Evaluator`.

    The function is given what its parameters name: "values", the value of each field of a product space, and of each
    hyperparameter of a joint one; "model", the torch module of the genome on the trial's device; "genome"; "context",
    a `nas.Context`. It returns its metrics by name, or the number alone where objectives speak of one.

    Args:
        metrics: what the objectives want measured.
        options: what else the function is called with.
        rungs: the amounts, ascending, from which trials may go on; without any nothing that they write is kept.
    """

    function: Callable[..., Any]
    space: Space
    metrics: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    rungs: tuple[int, ...] = ()

    @property
    def takes(self) -> list[str]:
        """What of `GIVEN` the function asks for."""
        return [name for name in GIVEN if name in inspect.signature(self.function).parameters]

    def check(self) -> None:
        """Raises InvalidInput where the function takes values and the space has none."""
        if "values" in self.takes:
            values(self.space, self.space.sample(np.random.default_rng(0)))

    def evaluate(self, proposal: Proposal, context: Context) -> dict[str, float]:
        """Calls the function, on OMP_NUM_THREADS threads (else 1), with the global random numbers of Python, NumPy and
        torch seeded by the proposal. Of what is measured on "test" the weights of the model are kept.

        Returns:
            What the function measured; of a proposal that resumes another "resumed_steps" too, the amount of that one,
            or 0 where it left no checkpoint, or none that is at hand.

        Raises:
            Diverged: a metric is infinite or no number.
            TooSlow, TrialStopped: as the context says, which a report asks too.
            TypeError: what the function returned is no number or mapping of numbers, or lacks a metric.
        """
        with self._context(proposal, context) as told:
            returned, model = self._call(proposal, told)
            metrics = self._measured(returned)
            if model is not None and "test" in context.splits and context.folder is not None:
                save_weights(context.folder, proposal.genome, model)
        if proposal.resume_from is None:
            return metrics
        resumed = 0 if told.previous is None else max(n for n in self.rungs if n < told.amount)
        return {**metrics, RESUMED: resumed}

    def train(self, proposal: Proposal, context: Context) -> nn.Module:
        """The model of a proposal as the function leaves it; raises what `evaluate` does.

        Raises:
            InvalidInput: the function takes none.
        """
        if "model" not in self.takes:
            raise InvalidInput(
                "the task is a function that takes no model, so that there is none to be had of it"
            )
        with self._context(proposal, context) as told:
            returned, model = self._call(proposal, told)
        self._measured(returned)
        assert model is not None
        return model

    def _call(self, proposal: Proposal, context: Context) -> tuple[Any, nn.Module | None]:
        """What the function returns, and the model that it was given."""
        genome, model = proposal.genome, None
        given: dict[str, Any] = {"genome": genome, "context": context}
        with reproducible(proposal.seed, context.device), _seeded(proposal.seed):
            if "values" in self.takes:
                given["values"] = values(self.space, genome)
            if "model" in self.takes:
                given["model"] = model = self.space.build(genome).to(context.device)
            here = context.device == "cpu" and model is not None and not steps_by_token(model)
            with onednn_products(here):
                return self.function(**{name: given[name] for name in self.takes}, **self.options), model

    def _measured(self, returned: Any) -> dict[str, float]:
        """What a function returned as metrics by name."""
        wanted = ", ".join(self.metrics)
        if not isinstance(returned, Mapping):
            if len(self.metrics) != 1:
                raise TypeError(
                    f"the function returned {returned!r}, but must return a mapping with {wanted}"
                )
            returned = {self.metrics[0]: returned}
        found = floats(returned)
        for name in self.metrics:
            if name not in found:
                raise TypeError(f"the function did not measure {name!r}{suggest(name, list(found))}")
        for name, value in found.items():
            if not math.isfinite(value):
                raise Diverged(f"{name} is {value}")
        return found

    @contextmanager
    def _context(self, proposal: Proposal, context: Context) -> Iterator[Context]:
        """The context as the function sees it, with its folders made; those that stay empty are taken away again."""

        def report(step: int, metrics: Mapping[str, float]) -> None:
            context.check_deadline()
            context.report(step, metrics)

        folder = context.folder
        if folder is None or "context" not in self.takes:
            yield replace(context, report=report)
            return
        checkpoint, previous = folder / KEPT, None
        shutil.rmtree(checkpoint, ignore_errors=True)  # of a run that was killed
        checkpoint.mkdir(parents=True)
        if proposal.resume_from is not None:
            previous = folder.parent / str(proposal.resume_from) / KEPT
            if not previous.is_dir():
                logger.warning(
                    "trial %d begins anew: the function left nothing in the context.checkpoint of trial %d, %s",
                    proposal.id,
                    proposal.resume_from,
                    previous,
                )
                previous = None
        try:
            yield replace(context, report=report, checkpoint=checkpoint, previous=previous)
        finally:
            if not self.rungs or "test" in context.splits:
                shutil.rmtree(checkpoint, ignore_errors=True)
            for made in (checkpoint, folder):
                if made.is_dir() and not any(made.iterdir()):
                    made.rmdir()


def values(space: Space, genome: Genome) -> dict[str, Any]:
    """The value of each field of a product space, and of each hyperparameter of a joint one, by name.

    Raises:
        InvalidInput: the space has neither.
    """
    if isinstance(space, JointSpace):
        inner = space.architectures
        more = values(inner, space.pair(genome).architecture) if hasattr(inner, "values") else {}
        return {**more, **space.values(genome)}
    if not hasattr(space, "values"):
        raise InvalidInput(f"space {space.name!r} has no values by name for a function: take model or genome")
    found: dict[str, Any] = space.values(genome)
    return found


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Python's and NumPy's global random numbers seeded, and restored afterwards."""
    python, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)  # noqa: NPY002
