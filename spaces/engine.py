"""The engine that draws derivation trees valid by construction.

A grammar bound to attributes and limits is turned into tables: for each production under each set of inherited
attributes, every assignment of its choices that its guard allows, with what it costs and the least that it needs
for its children. Drawing looks up what fits in what is left, so that no draw is ever thrown away.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from spaces.derivation import (
    NOTHING,
    RESOURCES,
    Attributes,
    Node,
    Pool,
    Table,
    Vector,
    any_within,
    around,
    plus,
    within,
)
from spaces.errors import InvalidGrammar, InvalidSpace
from spaces.fields import Children, Real
from spaces.grammar import Grammar
from spaces.pareto import lowest
from spaces.production import MOST_ASSIGNMENTS, Production

MOST_STATES = 20_000
"""Pairs of a nonterminal and its inherited attributes."""
MOST_FLOORS = 512
"""Pareto-minimal needs of the children of one production."""


class Engine:
    """A grammar under the attributes of its root, with the cost of each production and a limit on the whole.

    Args:
        cost: (production, attributes, choices) to the Vector of the node alone, nodes = 1.
        limit: the most that a whole tree may take.
        around: what the model has besides, told in messages.
    """

    def __init__(
        self,
        grammar: Grammar,
        root: Mapping[str, Any],
        cost: Callable[[Production, Attributes, Mapping[str, Any]], Vector],
        limit: Vector,
        around: Vector,
    ) -> None:
        grammar.validate()
        self.grammar = grammar
        self.limit = limit
        self.around = around
        self._cost = cost
        self._interned: dict[tuple[tuple[str, str, Any], ...], Attributes] = {}
        self._root = dict(root)
        self.root_at = self.intern({**grammar.attributes, **root})
        self.tables: dict[tuple[str, Attributes], list[Table]] = {}
        self.pools: dict[tuple[str, Attributes], Pool] = {}
        self._by_production: dict[tuple[str, Attributes], Table] = {}
        self._floors: dict[tuple[str, Attributes], list[Vector]] = {}
        self._tabulate()

    def intern(self, values: Mapping[str, Any]) -> Attributes:
        key = tuple(sorted((name, type(value).__name__, value) for name, value in values.items()))
        at = self._interned.get(key)
        if at is None:
            changed = {name: values[name] for name, value in self._root.items() if values[name] != value}
            shape = "".join(f"@{name}={value}" for name, value in changed.items())
            at = self._interned[key] = Attributes(values, shape)
        return at

    def owns(self, node: Node) -> bool:
        """Whether a tree was made by this engine."""
        return self._by_production.get((node.production.name, node.table.at)) is node.table

    def _tabulate(self) -> None:
        """Lists every assignment under every reachable set of attributes, then settles what each needs."""
        root = (self.grammar.start, self.root_at)
        front, seen = [root], {root}
        used: set[str] = set()
        while front:
            nonterminal, at = front.pop()
            tables = self.tables[nonterminal, at] = []
            for production in self.grammar.of(nonterminal):
                table = self._by_production.get((production.name, at))
                if table is None:
                    table = self._by_production[production.name, at] = self._assignments(production, at)
                if not table.assignments:
                    continue
                used.add(production.name)
                tables.append(table)
                table.weight = production.weighed(at)
                for child_at in dict.fromkeys(table.child_at):
                    for part in production.children.values():
                        state = (part.nonterminal, child_at)
                        if state not in seen:
                            seen.add(state)
                            front.append(state)
                if len(seen) > MOST_STATES:
                    raise InvalidGrammar(
                        f"grammar {self.grammar.name!r}: more than {MOST_STATES} pairs of a nonterminal and its "
                        f"attributes can be reached, the last by {production.name!r}; let them take fewer values"
                    )
        self.unavailable = tuple(name for name in self.grammar.productions if name not in used)
        self._floors = {state: [] for state in self.tables}
        changed = True
        while changed:
            changed = False
            for state, tables in self.tables.items():
                for table in tables:
                    changed |= table.settle([self._needs(table, i) for i in range(len(table.assignments))])
                self._floors[state] = lowest([floor for table in tables for floor in table.floors], within)
        self.pools = {state: Pool(tables) for state, tables in self.tables.items()}
        self._varied = self._find_varied()
        floors = self._floors[root]
        if not floors:
            raise InvalidSpace(
                f"space {self.grammar.name!r}: with {', '.join(f'{k}={v}' for k, v in self.root_at.as_dict().items())} "
                f"no derivation of {self.grammar.start!r} ends, as guards leave out "
                f"{', '.join(self.unavailable) or 'what would end it'}"
            )
        if not any(within(floor, self.limit) for floor in floors):
            least = self.least
            wrong = [k for k in range(len(RESOURCES)) if least[k] > self.limit[k]] or list(
                range(len(RESOURCES))
            )
            told = [
                f"{RESOURCES[k]} <= {self.limit[k] + around:,.0f} (the least is {least[k] + around:,.0f})"
                for k, around in enumerate(self.around)
                if k in wrong
            ]
            raise InvalidSpace(f"space {self.grammar.name!r}: no genome fits {', '.join(told)}")

    @property
    def least(self) -> list[float]:
        """What any tree takes of each resource at least; of several, maybe no tree does at a time."""
        return [min(column) for column in zip(*self._floors[self.grammar.start, self.root_at], strict=True)]

    def _assignments(self, production: Production, at: Attributes) -> Table:
        table = Table(production, at)
        number = 1
        for option in production.choices.values():
            number *= len(option.values)
        if number > MOST_ASSIGNMENTS:
            raise InvalidGrammar(
                f"grammar {self.grammar.name!r}, production {production.name!r}: its choices combine in "
                f"{number:,} ways, more than {MOST_ASSIGNMENTS:,}; move some of them to a child"
            )
        options = list(production.choices.values())
        for code in itertools.product(*(range(len(option.values)) for option in options)):
            values = tuple([option.values[place] for option, place in zip(options, code, strict=True)])
            chosen = dict(zip(production.choices, values, strict=True))
            if not production.holds(at, chosen):
                continue
            table.index[code] = len(table.assignments)
            table.codes.append(code)
            table.assignments.append(values)
            table.own.append(self._cost(production, at, chosen))
            repeat, passes = chosen.get("repeat", 1), production.passes(chosen)
            table.repeat.append(repeat)
            kept = repeat * production.templates(chosen)
            table.times.append((1, repeat, kept, repeat * passes, repeat * passes))
            changes = production.inherited(at, chosen)
            table.child_at.append(self.intern({**at.as_dict(), **changes}) if changes else at)
        return table

    def _needs(self, table: Table, index: int) -> list[Vector]:
        """The least that an assignment can do with: its own cost and its children at their floors."""
        sums: list[Vector] = [NOTHING]
        for part in table.production.children.values():
            floors = self._floors[part.nonterminal, table.child_at[index]]
            for _ in range(part.low):
                sums = lowest((plus(total, floor) for total in sums for floor in floors), within)
                if len(sums) > MOST_FLOORS:
                    raise InvalidGrammar(
                        f"grammar {self.grammar.name!r}, production {table.production.name!r}: its children trade "
                        f"the limits against each other in more than {MOST_FLOORS} ways; offer fewer values"
                    )
        return [around(table.own[index], table.times[index], total) for total in sums]

    def draw(self, nonterminal: str, at: Attributes, budget: Vector, rng: np.random.Generator) -> Node:
        """A subtree within a budget that some subtree fits, which the caller has made sure of."""
        return self._draw(nonterminal, at, budget, uniforms(rng))

    def fill(
        self, table: Table, index: int, budget: Vector, rng: np.random.Generator, reals: tuple[float, ...]
    ) -> Node:
        """Completes an assignment that fits, and numbers, with children drawn within the budget."""
        return self._fill(table, index, budget, uniforms(rng), reals)

    def _draw(self, nonterminal: str, at: Attributes, budget: Vector, random: Uniforms) -> Node:
        pool = self.pools[nonterminal, at]
        table = pool.draw(random)
        index = int(random() * len(table.assignments))
        if not within(table.ceiling, budget):
            # What was drawn from all mostly fits; where it does not, drawing from what fits gives the same law.
            if not any_within(table.floors, budget):
                table = Pool([table for table in pool.tables if any_within(table.floors, budget)]).draw(
                    random
                )
                index = int(random() * len(table.assignments))
            if not any_within(table.needs[index], budget):
                indices = table.fitting(budget)
                index = indices[int(random() * len(indices))]
        return self._fill(table, index, budget, random)

    def _fill(
        self,
        table: Table,
        index: int,
        budget: Vector,
        random: Uniforms,
        reals: tuple[float, ...] | None = None,
    ) -> Node:
        if table.leaves:
            return table.leaf(index)
        if reals is None:
            reals = tuple([real_at(rule, random()) for rule in table.production.reals.values()])
        parts = table.parts
        if not parts:
            return Node(table, index, reals, ())
        left = table.left_for_children(index, budget)
        at = table.child_at[index]
        if len(parts) == 1 and not parts[0].listed:
            return table.above(index, reals, self._draw(parts[0].nonterminal, at, left, random))
        counts = [part.low for part in parts]
        # In random order, here and below: whoever draws first has the most room, and no place should be favoured.
        for k in _shuffled([k for k, part in enumerate(parts) if part.high > part.low], random):
            counts[k] += int(random() * (self.most(parts, counts, k, at, left) - parts[k].low + 1))
        reserved = self.reserve(parts, counts, at, left)
        assert reserved is not None
        spare = left
        for _, floor in reserved:
            spare = plus(spare, floor, -1)
        groups: list[list[Node]] = [[] for _ in parts]
        for k, floor in _shuffled(reserved, random):
            allowed = plus(spare, floor)
            node = self._draw(parts[k].nonterminal, at, allowed, random)
            groups[k].append(node)
            spare = plus(allowed, node.cost, -1)
        return Node(table, index, reals, tuple([tuple(_shuffled(group, random)) for group in groups]))

    def most(self, parts: Sequence[Children], counts: list[int], k: int, at: Attributes, left: Vector) -> int:
        """The most children that field k can have beside the others, if the list is of like ones beyond its least."""
        most = parts[k].low
        if len(parts) == 1:
            for floor in self._floors[parts[0].nonterminal, at]:
                if within(plus(NOTHING, floor, parts[0].high), left):
                    return parts[0].high
                number = min([room // need for room, need in zip(left, floor, strict=True) if need])
                most = max(most, int(number))
            return most
        while most < parts[k].high and self.reserve(
            parts, [*counts[:k], most + 1, *counts[k + 1 :]], at, left
        ):
            most += 1
        return most

    def reserve(
        self, parts: Sequence[Children], counts: list[int], at: Attributes, left: Vector
    ) -> list[tuple[int, Vector]] | None:
        """For each child the number of its field and a floor, such that all of them together fit, or None."""
        if len(parts) == 1 and len(floors := self._floors[parts[0].nonterminal, at]) == 1:
            fits = within(plus(NOTHING, floors[0], counts[0]), left)
            return [(0, floors[0])] * counts[0] if fits else None
        fronts = [
            self._floors[part.nonterminal, at] if n else [NOTHING]
            for part, n in zip(parts, counts, strict=True)
        ]
        for picks in itertools.islice(itertools.product(*fronts), 16):  # mostly like children fit, by far
            total = NOTHING
            for count, pick in zip(counts, picks, strict=True):
                total = plus(total, pick, count)
            if within(total, left):
                return [(k, pick) for k, pick in enumerate(picks) for _ in range(counts[k])]
        reached: dict[Vector, list[tuple[int, Vector]]] = {NOTHING: []}
        for k, (front, count) in enumerate(zip(fronts, counts, strict=True)):
            for _ in range(count):
                sums = {
                    total: [*picks, (k, floor)]
                    for before, picks in reached.items()
                    for floor in front
                    if within(total := plus(before, floor), left)
                }
                reached = {total: sums[total] for total in lowest(sums, within)}
        return next(iter(reached.values()), None)

    def _find_varied(self) -> set[tuple[str, Attributes]]:
        """The pairs of nonterminal and attributes that have more than one derivation, whatever the limits."""
        varied: set[tuple[str, Attributes]] = set()
        while True:
            more = {state for state, tables in self.tables.items() if self._varies(tables, varied)}
            if more == varied:
                return varied
            varied = more

    @staticmethod
    def _varies(tables: list[Table], varied: set[tuple[str, Attributes]]) -> bool:
        if len(tables) != 1 or len(tables[0].assignments) > 1 or tables[0].production.reals:
            return bool(tables)
        parts = tables[0].production.children.values()
        at = tables[0].child_at[0]
        return any(
            part.low < part.high or (part.high > 0 and (part.nonterminal, at) in varied) for part in parts
        )

    def varies(self, nonterminal: str, at: Attributes) -> bool:
        """Whether there is more than one subtree of the nonterminal, whatever the limits."""
        return (nonterminal, at) in self._varied

    def fits(self, nonterminal: str, at: Attributes, budget: Vector) -> bool:
        """Whether some subtree of the nonterminal fits."""
        return any_within(self._floors[nonterminal, at], budget)


Uniforms = Callable[[], float]
"""Gives another number from 0 to 1, evenly drawn, at each call."""


def uniforms(rng: np.random.Generator) -> Uniforms:
    """Numbers drawn in blocks: one at a time they would take four times as long."""

    def numbers() -> Iterator[float]:
        while True:
            yield from rng.random(32).tolist()

    return numbers().__next__


def real_at(rule: Real, point: float) -> float:
    """The number at a point from 0 to 1 of its range, on a logarithmic scale if the rule says so."""
    if rule.log:
        value = math.exp((1 - point) * math.log(rule.low) + point * math.log(rule.high))
    else:
        value = (1 - point) * rule.low + point * rule.high
    return min(max(value, rule.low), rule.high)


def _shuffled(items: list[Any], random: Uniforms) -> list[Any]:
    """The items in random order; the list itself is shuffled."""
    for i in range(len(items) - 1, 0, -1):
        j = int(random() * (i + 1))
        items[i], items[j] = items[j], items[i]
    return items
