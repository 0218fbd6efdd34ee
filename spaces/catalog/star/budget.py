"""Limits on what a backbone costs: which LIVs still fit, and what is over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import add, sub

from spaces.blocks.costs import frame
from spaces.blocks.operators import Layer, Operator, backbone_cost, cost_in_place
from spaces.catalog.star.backbone import GROUPS, Planner, Row
from spaces.errors import InvalidGenome, InvalidSpace
from spaces.io import TokenIO
from spaces.pareto import at_most, lowest

RESOURCES = ("parameters", "flops_per_token", "state_bytes")

Vector = tuple[int, ...]
"""Of parameters, FLOPs of a whole sequence and bytes of state, those that are limited."""
Front = dict[Vector, tuple[Row, ...]]
"""Backbones by what they cost, none of which another undercuts."""


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
        self.classes = classes
        self.numbers = list(classes)
        self._limited = [place for place, key in enumerate(RESOURCES) if limits[key] is not None]
        around = frame(io.width, io.vocab)
        left = [(limits[key] or 0) - getattr(around, key) for key in RESOURCES]
        self._left = self._those(left[0], left[1] * context, left[2])
        self.nothing = self._those(0, 0, 0)
        self.alone = {number: self.costs([alone(number)])[0] for number in classes}
        """What one LIV of a class costs that shares nothing."""
        self._cheapest = lowest(self.alone.values())
        self._floors: list[list[Vector]] = [[self.nothing]]
        self._rooms: dict[int, list[Vector]] = {}

    def _those(self, *resources: int) -> Vector:
        """Of all resources, those that are limited."""
        return tuple([resources[place] for place in self._limited])

    def cost(self, layer: Layer, number: int) -> Vector:
        """What the layer of a number costs beside those before it."""
        return self._those(*cost_in_place(layer, number, self.io.width, self.context))

    def costs(self, rows: Iterable[Row]) -> list[Vector]:
        """What each LIV costs beside those before it."""
        planner = Planner(self.classes)
        for row in rows:
            planner.add(row)
        return [self.cost(layer, number) for number, layer in enumerate(planner.layers)]

    def floor(self, number: int) -> list[Vector]:
        """The least that so many LIVs cost that share nothing: all sums of costs that none other undercuts."""
        while len(self._floors) <= number:
            self._floors.append(
                lowest(plus(below, own) for below in self._floors[-1] for own in self._cheapest)
            )
        return self._floors[number]

    def room(self, number: int, used: Vector) -> bool:
        """Whether so many LIVs that share nothing fit beside what is used."""
        rooms = self._rooms.get(number)
        if rooms is None:
            rooms = [tuple(map(sub, self._left, floor)) for floor in self.floor(number)]
            self._rooms[number] = rooms
        return any(at_most(used, room) for room in rooms)

    def shared(self, most: int) -> list[Front]:
        """For each number of LIVs up to the most, the cheapest backbones that meet the limits, however they share.

        Nothing is cheaper than to take all that is read from the first of a group and to have its weights, so that a
        class needs one group of each kind at most, where it does not stand alone.
        """
        # By how many groups are in use, then by number of LIVs.
        fronts: list[list[Front]] = [[{} for _ in range(most + 1)] for _ in range(GROUPS + 1)]
        fronts[0][0] = {self.nothing: ()}
        # A class that another undercuts, as the first of a group and after it, is in none of them.
        kinds: dict[Vector, int] = {}
        for kind in self.numbers:
            first, following = self.costs([member(kind, 1)] * 2)
            kinds.setdefault((*first, *following), kind)
        for kind in [kinds[costs] for costs in lowest(kinds)]:
            fronts = [
                self._with_class(kind, group, own, fronts[group - 1] if group else None)
                for group, own in enumerate(fronts)
            ]
        return [self._least([group[number] for group in fronts]) for number in range(most + 1)]

    def _with_class(
        self, kind: int, group: int, without: list[Front], fewer: list[Front] | None
    ) -> list[Front]:
        """The cheapest in so many groups, where the class may take part too: by itself, or as the last of the groups.

        Args:
            without: those of other classes alone, in as many groups.
            fewer: those of other classes alone, in one group less.
        """
        first, following = self.costs([member(kind, group)] * 2)
        found: list[Front] = []
        opened: Front = {}
        for number, front in enumerate(without):
            if fewer is not None and number:
                led = self._longer(fewer[number - 1], member(kind, group), first)
                opened = self._least([led, self._longer(opened, member(kind, group), following)])
            single = self._longer(found[-1], alone(kind), self.alone[kind]) if number else {}
            found.append(self._least([front, single, opened]))
        return found

    def _longer(self, front: Front, row: Row, cost: Vector) -> Front:
        """With one LIV more, what still meets the limits."""
        longer = {plus(used, cost): (*rows, row) for used, rows in front.items()}
        return {used: rows for used, rows in longer.items() if at_most(used, self._left)}

    def _least(self, fronts: Sequence[Front]) -> Front:
        """All that none other undercuts."""
        together = {used: rows for front in fronts for used, rows in front.items()}
        return {used: together[used] for used in lowest(together)}

    def fits(self, layers: Sequence[Layer]) -> bool:
        """Whether a backbone meets the limits, with all that it shares."""
        if not self._limited:
            return True
        costs = [cost_in_place(layer, k, self.io.width, self.context) for k, layer in enumerate(layers)]
        return at_most(self._those(*map(sum, zip(*costs, strict=True))), self._left)

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

    def refusal(self, least: int) -> InvalidSpace:
        """What to say where no backbone of so many LIVs meets the limits."""
        given = ", ".join([f"{key} = {limit:,}" for key, limit in self.limits.items() if limit is not None])
        return InvalidSpace(
            f"space 'star': no {least} LIVs of the pool, whatever they share, at width {self.io.width} and a "
            f"vocabulary of {self.io.vocab}, meet {given}"
        )


def plus(one: Vector, two: Vector) -> Vector:
    return tuple(map(add, one, two))


def alone(kind: int) -> Row:
    """A LIV that shares nothing."""
    return (kind, 1, 1, 1, 1)


def member(kind: int, group: int) -> Row:
    """A LIV that shares all there is with those of its class in a group."""
    return (kind, group, 2, group, 2)
