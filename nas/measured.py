"""What a campaign measures: a task that networks are trained on, or a user's own function."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import spaces
from nas.config import Config, refuse_units
from nas.options import call_options
from nas.training import hyperparameters
from nas.training.evaluator import TrainingEvaluator
from nas.training.function import FunctionEvaluator, is_function, options_of
from nas.training.recipe import Recipe
from nas.training.tasks import TASKS
from nas.types import Direction, Evaluator, InvalidInput
from nas.user_code import demand, made
from spaces import IO, Space
from spaces.cost import COST_NAMES
from spaces.io import TokenIO, from_plain
from spaces.lookup import resolve


def measured(config: Config) -> Trained | Called:
    """What a campaign names as its task, with its options validated.

    Raises:
        InvalidInput: the name, an option or a key that goes with it cannot be had.
    """
    found = resolve(config.task.name, TASKS, "task", InvalidInput)
    return Called(config, found) if is_function(found) else Trained(config, found)


class Trained:
    """A task, on which the network of each genome is trained by the recipe.

    Attributes:
        task: with its data.
        options, recipe: of the task and the training, with all defaults.
    """

    def __init__(self, config: Config, make: Any) -> None:
        name = config.task.name
        self.options = call_options(make, config.task.options, "task")
        self.task = made("task", name, lambda: make(**self.options))
        needed = ("io", "metrics", "tokens_per_step", "train_batches", "loss", "evaluate")
        demand("task", name, self.task, needed)
        self.recipe = call_options(Recipe, config.recipe, "recipe")
        self._budget = config.budget
        if not config.budget.units:
            refuse_units(config.budget)
        if "io" in config.space.options:
            raise InvalidInput(f"'space.io' is said by task {name!r}: leave it out")

    def io(self, make: Any, said: Any, width: int) -> IO | None:
        """What the space is bound to."""
        io: IO = self.task.io(width)
        return io

    def metrics(self, costed: bool) -> Mapping[str, Direction]:
        """What is measured, and which way each is better."""
        metrics: Mapping[str, Direction] = self.task.metrics
        return metrics

    def evaluator(self, space: Space, metrics: Mapping[str, Direction]) -> Evaluator:
        """What measures genomes of a space.

        Raises:
            InvalidInput: genomes say what the recipe has not, or the task does not count in the unit of the budget.
        """
        hyperparameters.check(space, self.recipe)
        full = self._budget.fidelity
        evaluator = TrainingEvaluator(
            space, self.task, Recipe(**self.recipe), full if self._budget.rungs else None
        )
        evaluator.steps(full)
        return evaluator


class Called:
    """A function of a user's own, which is called for each genome; attributes as of `Trained`, without a task."""

    def __init__(self, config: Config, function: Any) -> None:
        self.task, self.recipe = None, dict[str, Any]()
        self._name, self._function, self._config = config.task.name, function, config
        if config.recipe:
            raise InvalidInput(
                f"'recipe' is of tasks to train on, but {self._name!r} is a function: leave it out"
            )
        self.options = options_of(function, self._name, config.task.options)

    def io(self, make: Any, said: Any, width: int) -> IO | None:
        """What the space is bound to: what is said, else the default of the space; None where it takes none.

        Raises:
            InvalidInput: nothing is said and the space has no default; or something is and the space takes nothing.
        """
        parameter = inspect.signature(make).parameters.get("io")
        if parameter is None:
            if said is not None:
                raise InvalidInput(f"'space.io' cannot be set: space {self._config.space.name!r} takes none")
            return None
        if said is not None:
            if isinstance(said, dict) and isinstance(said.get("tokens"), dict):
                said = {"tokens": {"width": width, **said["tokens"]}}
            try:
                return from_plain(said)
            except spaces.InvalidSpace as error:
                raise InvalidInput(f"'space.io': {error}") from None
        if parameter.default is parameter.empty:
            raise InvalidInput(
                "missing key 'space.io': what goes into networks and comes out, such as "
                "{image = {channels = 3, height = 32, width = 32, classes = 10}} or {tokens = {vocab = 256}}"
            )
        default: IO | None = parameter.default
        return replace(default, width=width) if isinstance(default, TokenIO) else default

    def metrics(self, costed: bool) -> Mapping[str, Direction]:
        """What the objectives want of the function, and which way they say it is better.

        Raises:
            InvalidInput: one does not say.
        """
        found: dict[str, Direction] = {}
        for i, objective in enumerate(self._config.objectives):
            if costed and objective.metric in COST_NAMES:
                continue
            if objective.direction is None:
                raise InvalidInput(
                    f'missing key \'objectives[{i}].direction\', it must be "min" or "max": function {self._name!r} '
                    f"does not say which way {objective.metric} is better"
                )
            if objective.bound is None or objective.metric not in found:
                found[objective.metric] = objective.direction
        return found

    def evaluator(self, space: Space, metrics: Mapping[str, Direction]) -> Evaluator:
        """What measures genomes of a space.

        Raises:
            InvalidInput: the space does not give what the function takes.
        """
        rungs = self._config.budget.rungs or ()
        evaluator = FunctionEvaluator(self._function, space, tuple(metrics), self.options, rungs)
        made("space", self._config.space.name, evaluator.check)
        return evaluator
