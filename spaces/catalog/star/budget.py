"""Limits on what a backbone costs: which LIVs still fit, and what is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import add

import numpy as np

from spaces.blocks.costs import frame
from spaces.blocks.operators import Layer, Operator, backbone_cost
from spaces.catalog.star.backbone import plan_of
from spaces.errors import InvalidGenome, InvalidSpace
from spaces.io import TokenIO
from spaces.pareto import at_most, lowest

RESOURCES = ("parameters", "flops_per_token", "state_bytes")

Vector = tuple[int, ...]
"""Of parameters, FLOPs of a whole sequence and bytes of state, those that are limited."""


class Budget:
    """What a backbone may cost, and what each class of the pool costs alone; sharing only makes it cheaper.

    Args:
        classes: by number.
        limits: on a whole model by resource; None: no limit.
    """

    def __init__(
        self, classes: Mapping[int, Operator], io: TokenIO, context: int, limits: Mapping[str, int | None]
    ) -> None:
        self.io, self.context, self.limits = io, context, limits
        self.numbers = list(classes)
        self._limited = [place for place, key in enumerate(RESOURCES) if limits[key] is not None]
        around = frame(io.width, io.vocab)
        left = [(limits[key] or 0) - getattr(around, key) for key in RESOURCES]
        self._left = self._those(left[0], left[1] * context, left[2])
        self._each = {number: self.vector(plan_of([operator])) for number, operator in classes.items()}
        self._cheapest = lowest(self._each.values())
        self._floors: list[list[Vector]] = [[self._those(0, 0, 0)]]

    def _those(self, *resources: int) -> Vector:
        """Of all resources, those that are limited."""
        return tuple([resources[place] for place in self._limited])

    @property
    def nothing(self) -> Vector:
        return self._those(0, 0, 0)

    def with_one(self, used: Vector, number: int) -> Vector:
        """What is used with one more LIV of a class that shares nothing."""
        return _plus(used, self._each[number])

    def vector(self, layers: Sequence[Layer]) -> Vector:
        """What layers cost with all that they share."""
        cost = backbone_cost(tuple(layers), self.io.width, self.context)
        return self._those(cost.parameters, round(cost.flops_per_token * self.context), int(cost.state_bytes))

    def floor(self, number: int) -> list[Vector]:
        """The least that so many LIVs cost that share nothing: all sums of costs that none other undercuts."""
        while len(self._floors) <= number:
            self._floors.append(
                lowest(_plus(below, own) for below in self._floors[-1] for own in self._cheapest)
            )
        return self._floors[number]

    def demand(self, least: int) -> None:
        """Raises InvalidSpace if no backbone of so many LIVs that share nothing meets the limits."""
        if not self.room(least, self.nothing):
            given = ", ".join(
                [f"{key} = {limit:,}" for key, limit in self.limits.items() if limit is not None]
            )
            raise InvalidSpace(
                f"space 'star': no {least} LIVs that share nothing, at width {self.io.width} and a vocabulary of "
                f"{self.io.vocab}, meet {given}"
            )

    def room(self, number: int, used: Vector) -> bool:
        """Whether so many LIVs that share nothing fit beside what is used."""
        return any(at_most(_plus(floor, used), self._left) for floor in self.floor(number))

    def depth(self, least: int, most: int, rng: np.random.Generator) -> int:
        """How many LIVs to draw, evenly among the numbers of LIVs that fit even if nothing is shared."""
        while not self.room(most, self.nothing):
            most -= 1
        return least + int(rng.random() * (most - least + 1))

    def fits(self, layers: Sequence[Layer]) -> bool:
        """Whether a backbone meets the limits, with all that it shares."""
        return not self._limited or at_most(self.vector(layers), self._left)

    def check(self, layers: Sequence[Layer]) -> None:
        """Raises InvalidGenome, which names the limit, if a backbone does not meet it."""
        if self.fits(layers):
            return
        whole = frame(self.io.width, self.io.vocab) + backbone_cost(
            tuple(layers), self.io.width, self.context
        )
        for key, limit in self.limits.items():
            if limit is not None and getattr(whole, key) > limit:
                raise InvalidGenome(
                    f"the genome has {getattr(whole, key):,.0f} {key}, more than the limit of {limit:,}"
                )


def _plus(one: Vector, two: Vector) -> Vector:
    return tuple(map(add, one, two))
