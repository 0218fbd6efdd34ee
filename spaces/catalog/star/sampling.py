"""Random backbones: whatever they cost, or within limits."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from spaces.blocks.operators import Layer
from spaces.catalog.star.backbone import Definitions, Planner, Row, plan
from spaces.catalog.star.budget import Budget, Front, plus
from spaces.catalog.star.changes import Bound, bound_by, row_of, share
from spaces.catalog.star.pool import Definition, definitions
from spaces.mutations import shuffled

Planned = tuple[tuple[Row, ...], tuple[Layer, ...]]
"""The LIVs of a backbone, and its plan."""
Drawn = tuple[tuple[Row, ...], Definitions, tuple[Layer, ...]]
"""The LIVs of a genome, what it defines, and its plan."""


class Sampler:
    """Draws the genomes of a space, by the law of `STAR.sample`.

    Args:
        levels: which the space searches.
        least, most: how many LIVs a backbone may have.

    Raises:
        InvalidSpace: no backbone meets the limits.
    """

    def __init__(self, budget: Budget, levels: str, least: int, most: int) -> None:
        self._budget, self._levels, self._least = budget, levels, least
        self._width = budget.io.width
        self.shared: dict[int, Front] = {}
        """Where no backbone without sharing meets the limits: the cheapest that do, by number of LIVs."""
        if not budget.room(least, budget.nothing):
            fronts = enumerate(budget.shared(most))
            self.shared = {number: front for number, front in fronts if front and number >= least}
            if least not in self.shared:
                raise budget.refusal(least)

    @cached_property
    def _definitions(self) -> list[Definition]:
        """What a genome may define a class as."""
        return list(definitions(self._width, featurizers=self._levels == "featurizers"))

    def draw(self, most: int, rng: np.random.Generator) -> Drawn:
        """A genome of at most so many LIVs."""
        rows = self._free(most, rng)
        drawn = self._defined(rows, plan(rows, {}, self._width), rng, within=False)
        if self._budget.fits(drawn[2]):
            return drawn
        rows, layers = (self._near_cheapest if self.shared else self._fitting)(most, rng)
        return self._defined(rows, layers, rng, within=True)

    def _free(self, most: int, rng: np.random.Generator) -> tuple[Row, ...]:
        """The LIVs of a backbone whatever it costs."""
        depth = self._least + int(rng.random() * (most - self._least + 1))
        kinds = self._budget.numbers
        return share([kinds[int(chance * len(kinds))] for chance in rng.random(depth).tolist()], rng)

    def _fitting(self, most: int, rng: np.random.Generator) -> Planned:
        """A backbone that meets the limits: each LIV leaves enough for those after it, if these share nothing."""
        budget = self._budget
        while not budget.room(most, budget.nothing):
            most -= 1
        depth = self._least + int(rng.random() * (most - self._least + 1))
        rows: list[Row] = []
        planner, bound, used = Planner(budget.classes), Bound(), budget.nothing
        for left in range(depth - 1, -1, -1):
            sharing = {kind for kind, _ in bound.values()}
            for kind in shuffled(budget.numbers, rng):
                fits = budget.room(left, plus(used, budget.alone[kind]))
                if fits or kind in sharing:
                    tried = dict(bound)
                    row = row_of(kind, tried, iter(rng.random(4).tolist()))
                    after = plus(used, budget.cost(planner.following(row), len(rows)))
                    if fits or budget.room(left, after):
                        break  # as some class always does: room was kept for the cheapest
            rows.append(row)
            planner.add(row)
            bound, used = tried, after
        mixed = tuple([rows[place] for place in rng.permutation(depth).tolist()])
        layers = plan(mixed, {}, self._width)
        # Where room is short, the last LIVs are the cheapest; which of them lead a group may matter.
        return (mixed, layers) if budget.fits(layers) else (tuple(rows), tuple(planner.layers))

    def _near_cheapest(self, most: int, rng: np.random.Generator) -> Planned:
        """A backbone that meets limits which none does without sharing.

        One of the cheapest, whose LIVs are drawn anew one after the other, each of the first class that fits.
        """
        depths = [number for number in self.shared if number <= most]
        depth = depths[int(rng.random() * len(depths))]
        fronts = list(self.shared[depth].values())
        rows = fronts[int(rng.random() * len(fronts))]
        rows = tuple([rows[place] for place in rng.permutation(depth).tolist()])
        layers = plan(rows, {}, self._width)
        for place in rng.permutation(depth).tolist():
            bound = bound_by([*rows[:place], *rows[place + 1 :]])
            for kind in shuffled(self._budget.numbers, rng):
                row = row_of(kind, dict(bound), iter(rng.random(4).tolist()))
                changed = (*rows[:place], row, *rows[place + 1 :])
                planned = plan(changed, {}, self._width)
                if self._budget.fits(planned):
                    rows, layers = changed, planned
                    break
        return rows, layers

    def _defined(
        self, rows: tuple[Row, ...], layers: tuple[Layer, ...], rng: np.random.Generator, within: bool
    ) -> Drawn:
        """The backbone with definitions for some of its classes; where that is asked for, those that fit."""
        defined: dict[int, Definition] = {}
        if self._levels == "backbone":
            return rows, defined, layers
        for number in dict.fromkeys([row[0] for row in rows]):
            if rng.random() < 0.5:
                own = self._definitions[int(rng.random() * len(self._definitions))]
                tried = {**defined, number: own}
                planned = plan(rows, tried, self._width)
                if not within or self._budget.fits(planned):
                    defined, layers = tried, planned
        return rows, defined, layers
