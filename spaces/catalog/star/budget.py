"""Limits on what a backbone costs: which LIVs still fit, and what is over."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from spaces.blocks.costs import frame
from spaces.blocks.operators import Layer, Operator, backbone_cost
from spaces.catalog.star.backbone import plan_of
from spaces.errors import InvalidGenome, InvalidSpace
from spaces.io import TokenIO

RESOURCES = ("parameters", "flops_per_token", "state_bytes")

Vector = tuple[int, int, int]
"""Parameters, FLOPs of a whole sequence, bytes of state."""


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
        self.limited = any(limit is not None for limit in limits.values())
        around = frame(io.width, io.vocab)
        self._left = tuple(
            [
                math.inf
                if limit is None
                else (limit - getattr(around, key)) * (context if key == "flops_per_token" else 1)
                for key, limit in limits.items()
            ]
        )
        if self.limited:
            self._each = {number: self._vector(plan_of([operator])) for number, operator in classes.items()}
            self._cheapest = _front(set(self._each.values()))
            self._floors: list[list[Vector]] = [[(0, 0, 0)]]

    def _vector(self, layers: Sequence[Layer]) -> Vector:
        cost = backbone_cost(tuple(layers), self.io.width, self.context)
        return cost.parameters, round(cost.flops_per_token * self.context), int(cost.state_bytes)

    def floor(self, number: int) -> list[Vector]:
        """The least that so many LIVs cost that share nothing: all sums of costs that none other undercuts."""
        while len(self._floors) <= number:
            sums = {
                (below[0] + own[0], below[1] + own[1], below[2] + own[2])
                for below in self._floors[-1]
                for own in self._cheapest
            }
            self._floors.append(_front(sums))
        return self._floors[number]

    def demand(self, least: int) -> None:
        """Raises InvalidSpace if no backbone of so many LIVs that share nothing meets the limits."""
        if self.limited and not self._room(least, (0, 0, 0)):
            given = ", ".join(
                [f"{key} = {limit:,}" for key, limit in self.limits.items() if limit is not None]
            )
            raise InvalidSpace(
                f"space 'star': no {least} LIVs that share nothing, at width {self.io.width} and a vocabulary of "
                f"{self.io.vocab}, meet {given}"
            )

    def _room(self, number: int, used: Sequence[float]) -> bool:
        """Whether so many LIVs fit beside what is used."""
        free = [limit - taken for limit, taken in zip(self._left, used, strict=True)]
        return any(
            floor[0] <= free[0] and floor[1] <= free[1] and floor[2] <= free[2]
            for floor in self.floor(number)
        )

    def draw(self, least: int, most: int, rng: np.random.Generator) -> list[int]:
        """Classes of a backbone that fits: its depth drawn evenly among those that can, each class likewise."""
        if self.limited:
            most = next(depth for depth in range(most, least - 1, -1) if self._room(depth, (0, 0, 0)))
        depth = least + int(rng.random() * (most - least + 1))
        if not self.limited:
            return [self.numbers[int(chance * len(self.numbers))] for chance in rng.random(depth).tolist()]
        drawn: list[int] = []
        used: Vector = (0, 0, 0)
        for left in range(depth - 1, -1, -1):
            fitting = [
                (number, spent)
                for number, (parameters, flops, state) in self._each.items()
                if self._room(left, spent := (used[0] + parameters, used[1] + flops, used[2] + state))
            ]
            number, used = fitting[int(rng.random() * len(fitting))]
            drawn.append(number)
        order = rng.permutation(depth).tolist()  # where room is short, the last are the cheapest
        return [drawn[place] for place in order]

    def fits(self, layers: Sequence[Layer]) -> bool:
        """Whether a backbone meets the limits, with all that it shares."""
        if not self.limited:
            return True
        return all(used <= limit for used, limit in zip(self._vector(layers), self._left, strict=True))

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


def _front(vectors: set[Vector]) -> list[Vector]:
    """Those that no other is at most equal to in everything; sorted, so that those kept have fewer parameters."""
    kept: list[Vector] = []
    for vector in sorted(vectors):
        if not any(other[1] <= vector[1] and other[2] <= vector[2] for other in kept):
            kept.append(vector)
    return kept
