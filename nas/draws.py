"""What some draws tell of a campaign before it starts: whether networks can be built, and constraints be met."""

from __future__ import annotations

import logging
import math
import time
from typing import Any

import numpy as np

from nas.display import constraint
from nas.setup import Setup
from nas.types import InvalidInput, Objective
from spaces import InvalidGenome, JointSpace, Space
from spaces.blame import reason
from spaces.cost import COST_NAMES, Cost
from spaces.protocol import Ranked

BUILT, DRAWN, SECONDS = 8, 500, 2.0
"""How many draws are built and costed at most, and after how long no more are."""

RARE = 0.05
"""A warning is logged where a smaller share of draws meets the constraints."""

logger = logging.getLogger(__name__)


def check_draws(setup: Setup) -> None:
    """Tells what would only be seen when trials fail, or in the end.

    Raises:
        InvalidInput: no network that was drawn can be built, of a user's own space or for their function, or no genome
            meets a constraint.
    """
    from nas.training.function import FunctionEvaluator

    config, space = setup.config, setup.space
    bounds = {
        f"objectives[{i}].bound": each
        for i, each in enumerate(config.objectives)
        if each.bound is not None and each.metric in COST_NAMES and each.metric not in setup.metrics
    }
    if bounds and setup.tells_costs:
        check_constraints(space, bounds)
    tried = hasattr(_architectures(space), "check_modules")  # part by part, when the space was made
    own = ":" in config.space.name and not tried
    if isinstance(setup.evaluator, FunctionEvaluator):
        own = "model" in setup.evaluator.takes
    if own and not config.workers.gpus:
        check_networks(space)


def check_networks(space: Space) -> None:
    """Builds some draws on the CPU; a warning tells of those that fail.

    Raises:
        InvalidInput: all do.
    """
    import torch

    rng, until = np.random.default_rng(0), time.monotonic() + SECONDS
    built, failures = 0, []
    with torch.random.fork_rng(devices=[]):
        while built < BUILT and (not built or time.monotonic() < until):
            built += 1
            genome = space.sample(rng)
            try:
                network = space.build(genome)
            except Exception as error:
                failures.append(f"of {genome}: {reason(error)}")
                continue
            if not isinstance(network, torch.nn.Module):
                failures.append(f"of {genome}: gave a {type(network).__name__}, not a torch.nn.Module")
    if failures:
        said = f"space {space.name!r}: build fails for {len(failures)} of {built} draws, as {failures[0]}"
        if len(failures) == built:
            raise InvalidInput(said)
        logger.warning("%s", said)


def check_constraints(space: Space, bounds: dict[str, Objective]) -> None:
    """Holds bounds on costs, by the keys that say them, to what genomes cost; a warning tells where few meet them.

    Raises:
        InvalidInput: none does, which the space's `least_cost` tells, or its genomes where they are few.
    """
    architectures = _architectures(space)
    least = getattr(architectures, "least_cost", {})
    for key, each in bounds.items():
        lowest = least.get(each.metric, -math.inf)
        if each.direction == "min" and each.bound is not None and lowest > each.bound:
            raise InvalidInput(
                f"'{key}' is {each.bound:,.12g}, but no genome of space {space.name!r} has less {each.metric} than "
                f"{lowest:,.12g}"
            )
    costs, complete = _costs(space)
    met = {each: np.array([_meets(each, cost) for cost in costs], dtype=bool) for each in bounds.values()}
    number = int(np.all([*met.values()], axis=0).sum())
    if number >= RARE * len(costs):
        return
    told = []
    for each, meets in met.items():
        seen = [getattr(cost, each.metric) for cost in costs]
        told.append(f"{constraint(each)} (met by {meets.sum()}, of {min(seen):,.12g} to {max(seen):,.12g})")
    every = "all " if complete else ""
    said = f"{number} of {every}{len(costs)} genomes of space {space.name!r} meet the constraints: {', '.join(told)}"
    if complete and not number:
        raise InvalidInput(said)
    limits = getattr(architectures, "limits", {})
    options = [f"'space.{each.metric}'" for each in met if each.direction == "min" and each.metric in limits]
    advice = f"; {' and '.join(options)} would keep every draw within" if options else ""
    logger.warning("%s%s", said, advice)


def _meets(bound: Objective, cost: Cost) -> bool:
    return bound.violation({bound.metric: getattr(cost, bound.metric)}) == 0


def _costs(space: Space) -> tuple[list[Cost], bool]:
    """What some draws cost, or all genomes where they are few, and whether these are all."""
    rng, until = np.random.default_rng(0), time.monotonic() + SECONDS
    costs: list[Cost] = []
    size = getattr(space, "size", None)
    few = size is not None and size <= DRAWN and isinstance(_architectures(space), Ranked)
    for number in range(size if few and size else DRAWN):
        if costs and time.monotonic() > until:
            return costs, False
        try:
            genome = space.unrank(number) if few and isinstance(space, Ranked) else space.sample(rng)
            costs.append(space.cost(genome))
        except InvalidGenome:  # of a rank that breaks a limit
            continue
    return costs, few


def _architectures(space: Space) -> Any:
    """The space that says networks and costs, of which a joint space is one half."""
    return space.architectures if isinstance(space, JointSpace) else space
