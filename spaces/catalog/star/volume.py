"""The decisions that derive a genome of STAR, and its box of a cube (see `spaces.volume`).

In the order of the text: how many LIVs, for each its class and what it shares, then for each class in use whether it
has a definition of its own, and which. Without limits, this is the law of `STAR.sample`; within limits it is that of a
draw LIV by LIV, where each leaves enough for the cheapest after it. Where only sharing meets the limits, one of the
cheapest backbones is chosen first, whose LIVs give way one after the other as long as all fits. A definition that does
not fit gives way to the pool's.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np

from spaces.catalog.star.backbone import GROUPS, SHARING, Backbone, Definitions, Planner, Row, plan
from spaces.catalog.star.budget import Budget, Front, Vector, alone, plus
from spaces.catalog.star.changes import MOST, Bound, bound_by
from spaces.catalog.star.pool import Definition
from spaces.catalog.star.sampling import Drawn, Planned
from spaces.decisions import Decide, Decision, Unmet, answered, evenly, unless_one
from spaces.errors import InvalidGenome
from spaces.volume import PRECISION, box_of, by_point

Share = tuple[int, int]
"""A group and a strategy."""
UNIT = math.lcm(*range(1, GROUPS + 1))
"""The weight of a strategy, which is shared out among groups."""


class StarVolumes:
    """The boxes of the genomes of a space.

    Args:
        least, most: how many LIVs a backbone may have.
        shared: where no backbone without sharing meets the limits, the cheapest that do, by number of LIVs.
        definitions: that a genome may give a class.
    """

    def __init__(
        self,
        budget: Budget,
        least: int,
        most: int,
        shared: Mapping[int, Front],
        definitions: Sequence[Definition],
    ) -> None:
        self._budget, self._definitions = budget, definitions
        self._places = {definition: place for place, definition in enumerate(definitions)}
        self._shared = {number: list(front.values()) for number, front in shared.items()}
        self._depths = list(shared) or [
            number for number in range(least, most + 1) if budget.room(number, budget.nothing)
        ]

    @cached_property
    def dimensions(self) -> int:
        """So many that they are sure to leave a point to every genome that has one.

        That is the most decisions of any, over how many of them fit in one coordinate if each is for the least likely
        option that there is.
        """
        most = self._depths[-1]
        cheapest = [len(rows) for rows in self._shared.values()]
        numbers = [len(self._depths), len(self._budget.numbers), GROUPS * max(MOST[2], MOST[4]), *cheapest]
        decisions = 2 + 3 * most
        if self._definitions:
            decisions += 2 * min(most, len(self._budget.numbers))
            numbers.append(len(self._definitions))
        bits = math.log2(max(numbers))
        return max(1, math.ceil(decisions / (PRECISION // bits)))

    def decode(self, point: Sequence[float]) -> Drawn:
        """The genome of a point."""
        return self.derive(by_point(point))

    def derive(self, decide: Decide) -> Drawn:
        """The genome of decisions; where there is one option only, nobody is asked."""
        return self._derive(unless_one(decide))

    def box(self, tree: Backbone, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
        """The box of a genome, [low, high).

        Raises:
            InvalidGenome: no point decodes to it, or none of so few dimensions.
        """
        return box_of(self.decisions(tree), dimensions, self.dimensions)

    def decisions(self, tree: Backbone) -> list[tuple[Decision, int]]:
        """The decisions on the way to a genome, each with the place of the option to take.

        Raises:
            InvalidGenome: none lead to it.
        """

        def derive(decide: Decide) -> None:
            _, defined, _ = self._derive(decide)
            if defined != tree.defined:  # one did not fit beside those before it
                raise Unmet

        for start in self._shared.get(len(tree.rows), [()]):
            try:
                return answered(derive, self._answers(tree, start))
            except Unmet:
                continue
        raise InvalidGenome(
            "no point decodes to this genome: it defines a class that the pool lacks at this width, or it is at the "
            "edge of the limits, where each LIV has to leave the least that those after it need"
        )

    def _answers(self, tree: Backbone, start: tuple[Row, ...]) -> Iterator[Hashable]:
        yield len(tree.rows)
        if start:
            yield start
        for kind, *sharing in tree.rows:
            yield kind
            yield tuple(sharing[:2])
            yield tuple(sharing[2:])
        if self._definitions:
            for kind in dict.fromkeys([row[0] for row in tree.rows]):
                yield kind in tree.defined
                if kind in tree.defined:
                    yield self._places.get(tree.defined[kind])

    def _derive(self, decide: Decide) -> Drawn:
        depth = _pick(decide, evenly("depth", self._depths))
        if self._shared:
            rows, layers = self._near(_pick(decide, evenly("start", self._shared[depth])), decide)
        else:
            rows, layers = self._one_by_one(depth, decide)
        defined: Definitions = {}
        if self._definitions:
            for kind in dict.fromkeys([row[0] for row in rows]):
                if _pick(decide, evenly("own", (False, True))):
                    own = self._definitions[
                        _pick(decide, evenly("definition", range(len(self._definitions))))
                    ]
                    tried = {**defined, kind: own}
                    planned = plan(rows, tried, self._budget.io.width)
                    if self._budget.fits(planned):
                        defined, layers = tried, planned
        return rows, defined, layers

    def _one_by_one(self, depth: int, decide: Decide) -> Planned:
        """A backbone whose LIVs leave enough for the cheapest after them that share nothing."""
        budget = self._budget
        rows: tuple[Row, ...] = ()
        planner, used = Planner(budget.classes), budget.nothing
        for left in range(depth - 1, -1, -1):
            bound, here = bound_by(rows), _After(budget, planner, used, left)
            row = _liv(bound, budget.numbers, here.fits_alone, here.fits, decide)
            used = here.used(row)
            rows = (*rows, row)
            planner.add(row)
        return rows, tuple(planner.layers)

    def _near(self, start: tuple[Row, ...], decide: Decide) -> Planned:
        """A backbone that begins as another, whose LIVs give way one after the other."""
        rows, width = start, self._budget.io.width
        for place in range(len(rows)):
            before, behind = rows[:place], rows[place + 1 :]
            bound = bound_by([*before, *behind])
            members = {kind for kind, _ in bound.values()}

            def fits(row: Row, before=before, behind=behind) -> bool:
                return self._budget.fits(plan((*before, row, *behind), {}, width))

            def fits_alone(kind: int, fits=fits, members=members) -> bool:
                return kind not in members and fits(alone(kind))

            row = _liv(bound, self._budget.numbers, fits_alone, fits, decide)
            rows = (*before, row, *behind)
        return rows, plan(rows, {}, width)


class _After:
    """What fits after some LIVs, if those that follow share nothing.

    Args:
        planner, used: of the LIVs so far, and what they cost.
        left: how many are to follow this one.
    """

    def __init__(self, budget: Budget, planner: Planner, used: Vector, left: int) -> None:
        self._budget, self._planner, self._used, self._left = budget, planner, used, left

    def used(self, row: Row) -> Vector:
        """What all cost with one LIV more."""
        planner = self._planner
        return plus(self._used, self._budget.cost(planner.following(row), len(planner.layers)))

    def fits(self, row: Row) -> bool:
        return self._budget.room(self._left, self.used(row))

    def fits_alone(self, kind: int) -> bool:
        """Whether a class fits that shares nothing, and so does whatever it shares."""
        return self._budget.room(self._left, plus(self._used, self._budget.alone[kind]))


def _liv(
    bound: Bound,
    kinds: Sequence[int],
    fits_alone: Callable[[int], bool],
    fits: Callable[[Row], bool],
    decide: Decide,
) -> Row:
    """A LIV among those that fit: its class, then what it shares.

    Args:
        bound: what the groups of the others are of.
        fits_alone: whether a class fits whatever it shares.
    """
    members = {kind for kind, _ in bound.values()}
    allowed: dict[int, list[tuple[Share, Share]] | None] = {}
    for kind in kinds:
        if fits_alone(kind):
            allowed[kind] = None
        elif kind in members:
            every = itertools.product(*[_shares(bound, place, kind) for place in range(len(SHARING))])
            if fitting := [(one, two) for one, two in every if fits((kind, *one, *two))]:
                allowed[kind] = fitting
    kind = _pick(decide, evenly("class", list(allowed)))
    pairs, row = allowed[kind], (kind,)
    for place, (group, _) in enumerate(SHARING):
        shares = _shares(bound, place, kind)
        if pairs is not None:
            shares = {
                share: weight
                for share, weight in shares.items()
                if any(pair[place] == share for pair in pairs)
            }
        share = _pick(
            decide, Decision((kind, group), list(shares), list(accumulate(shares.values(), initial=0)))
        )
        if pairs is not None:
            pairs = [pair for pair in pairs if pair[place] == share]
        row = (*row, *share)
    return row


def _shares(bound: Bound, place: int, kind: int) -> dict[Share, int]:
    """Every group and strategy that a class may have, and how likely: strategies evenly, then the groups that can
    hold it evenly; where none can, it shares nothing."""
    group_place, strategy_place = SHARING[place]
    groups = range(1, GROUPS + 1)
    found: dict[Share, int] = {}
    blocked = 0
    for strategy in range(2, MOST[strategy_place] + 1):
        here = (kind, strategy)
        free = [group for group in groups if bound.get((group_place, group), here) == here]
        blocked += not free
        found |= {(group, strategy): UNIT // len(free) for group in free}
    return {(group, 1): UNIT // GROUPS * (1 + blocked) for group in groups} | found


def _pick(decide: Decide, decision: Decision) -> Any:
    return decision.options[decide(decision)]
