"""The engine that draws derivation trees valid by construction.

A grammar bound to attributes and limits is turned into tables: for each production under each set of inherited
attributes, every assignment of its choices that its guard allows, with what it costs and the least that it needs
for its children. Drawing looks up what fits in what is left, so that no draw is ever thrown away.
"""

from __future__ import annotations

import itertools
from bisect import bisect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from spaces.derivation import (
    NOTHING,
    RESOURCES,
    Attributes,
    Node,
    Options,
    Table,
    Vector,
    lowest,
    plus,
    within,
)
from spaces.errors import InvalidGrammar, InvalidSpace
from spaces.grammar import Children, Grammar, Production, spell

MOST_ASSIGNMENTS = 65_536
MOST_STATES = 20_000


class Engine:
    """A grammar under the attributes of its root, with the cost of each production and a limit on the whole.

    Args:
        cost: (production, attributes, choices) to the Vector of the node alone, nodes = 1.
        limit: the most that a whole tree may take.
    """

    def __init__(
        self,
        grammar: Grammar,
        root: Mapping[str, Any],
        cost: Callable[[Production, Attributes, Mapping[str, Any]], Vector],
        limit: Vector,
    ) -> None:
        grammar.validate()
        self.grammar = grammar
        self.limit = limit
        self._cost = cost
        self._interned: dict[tuple[tuple[str, Any], ...], Attributes] = {}
        self.root_at = self.intern({**grammar.attributes, **root})
        self.tables: dict[tuple[str, Attributes], list[Table]] = {}
        self.options: dict[tuple[str, Attributes], Options] = {}
        self._by_production: dict[tuple[str, Attributes], Table] = {}
        self._floors: dict[tuple[str, Attributes], list[Vector]] = {}
        self._tabulate()

    def intern(self, values: Mapping[str, Any]) -> Attributes:
        key = tuple(sorted(values.items()))
        at = self._interned.get(key)
        if at is None:
            at = self._interned[key] = Attributes(values)
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
                self._floors[state] = lowest([floor for table in tables for floor in table.floors])
        self.options = {state: Options(tables) for state, tables in self.tables.items()}
        floors = self._floors[root]
        if not any(within(floor, self.limit) for floor in floors):
            least = [min((floor[k] for floor in floors), default=float("inf")) for k in range(5)]
            wrong = [k for k in range(5) if least[k] > self.limit[k]] or list(range(5))
            raise InvalidSpace(
                f"space {self.grammar.name!r}: no genome fits "
                + ", ".join(
                    f"{RESOURCES[k]} <= {self.limit[k]:,.0f} (the least is {least[k]:,.0f})" for k in wrong
                )
                + "; these are what is left beside the embedding and the head"
            )

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
        for values in itertools.product(*(option.values for option in production.choices.values())):
            chosen = dict(zip(production.choices, values, strict=True))
            if not production.holds(at, chosen):
                continue
            table.index[tuple(map(spell, values))] = len(table.assignments)
            table.assignments.append(values)
            table.own.append(self._cost(production, at, chosen))
            table.repeat.append(chosen.get("repeat", 1))
            changes = production.inherited(at, chosen)
            table.child_at.append(self.intern({**at.as_dict(), **changes}) if changes else at)
        return table

    def _needs(self, table: Table, index: int) -> list[Vector]:
        """The least that an assignment can do with: its own cost and its children at their floors."""
        sums: list[Vector] = [NOTHING]
        for part in table.production.children.values():
            if part.low:
                floors = self._floors[part.nonterminal, table.child_at[index]]
                sums = lowest([plus(total, floor, part.low) for total in sums for floor in floors])
        _, o, p, f, s = table.own[index]
        times = table.repeat[index]
        return [
            (1 + x[0], o + times * x[1], p + times * x[2], f + times * x[3], s + times * x[4]) for x in sums
        ]

    def draw(self, nonterminal: str, at: Attributes, budget: Vector, rng: np.random.Generator) -> Node:
        """A subtree within a budget that some subtree fits, which the caller has made sure of."""
        options = self.options[nonterminal, at]
        if within(options.ceiling, budget):
            table = options.tables[bisect(options.cumulative, rng.random() * options.total)]
            return self.fill(table, int(rng.random() * len(table.assignments)), budget, rng)
        fitting = [table for table in options.tables if table.fits(budget)]
        table = fitting[0]
        if len(fitting) > 1:
            point = rng.random() * sum([t.production.weight for t in fitting])
            for table in fitting:
                point -= table.production.weight
                if point < 0:
                    break
        indices = table.fitting(budget)
        return self.fill(table, indices[int(rng.random() * len(indices))], budget, rng)

    def fill(self, table: Table, index: int, budget: Vector, rng: np.random.Generator) -> Node:
        """Completes an assignment that fits with numbers and children drawn within the budget."""
        if table.leaves:
            return table.leaf(index)
        production = table.production
        reals = tuple([draw_real(r.low, r.high, r.log, rng) for r in production.reals.values()])
        if not production.children:
            return Node(table, index, reals, ())
        left = self._left_for_children(table, index, budget)
        at = table.child_at[index]
        parts = list(production.children.values())
        if len(parts) == 1 and not parts[0].listed:
            return Node(table, index, reals, ((self.draw(parts[0].nonterminal, at, left, rng),),))
        counts = [part.low for part in parts]
        for k, part in enumerate(parts):
            if part.high > part.low:
                counts[k] += int(rng.random() * (self._most(parts, counts, k, at, left) - part.low + 1))
        reserved = self._reserve(parts, counts, at, left)
        assert reserved is not None
        spare = left
        for floor, count in zip(reserved, counts, strict=True):
            spare = plus(spare, floor, -count)
        slots = [(k, i) for k, count in enumerate(counts) for i in range(count)]
        if len(slots) > 1:
            # In random order: whoever draws first has the most room, and no place should be favoured.
            for i in range(len(slots) - 1, 0, -1):
                j = int(rng.random() * (i + 1))
                slots[i], slots[j] = slots[j], slots[i]
        children: list[list[Any]] = [[None] * count for count in counts]
        for k, i in slots:
            allowed = plus(spare, reserved[k])
            node = children[k][i] = self.draw(parts[k].nonterminal, at, allowed, rng)
            spare = plus(allowed, node.cost, -1)
        return Node(table, index, reals, tuple([tuple(group) for group in children]))

    def _left_for_children(self, table: Table, index: int, budget: Vector) -> Vector:
        _, o, p, f, s = table.own[index]
        times = table.repeat[index]
        return (
            budget[0] - 1,
            (budget[1] - o) // times,
            (budget[2] - p) // times,
            (budget[3] - f) // times,
            (budget[4] - s) // times,
        )

    def _most(self, parts: list[Children], counts: list[int], k: int, at: Attributes, left: Vector) -> int:
        """The most children that field k can have beside the others."""
        if len(parts) == 1:
            most = parts[0].low
            for floor in self._floors[parts[0].nonterminal, at]:
                number = min([room // need for room, need in zip(left, floor, strict=True) if need])
                most = max(most, int(min(number, parts[0].high)))
            return most
        most = parts[k].low
        while most < parts[k].high and self._reserve(
            parts, [*counts[:k], most + 1, *counts[k + 1 :]], at, left
        ):
            most += 1
        return most

    def _reserve(
        self, parts: list[Children], counts: list[int], at: Attributes, left: Vector
    ) -> list[Vector] | None:
        """A floor for a child of each field such that all of them together fit, or None."""
        options = [
            self._floors[part.nonterminal, at] if count else [NOTHING]
            for part, count in zip(parts, counts, strict=True)
        ]
        for picks in itertools.product(*options):
            total = NOTHING
            for count, pick in zip(counts, picks, strict=True):
                total = plus(total, pick, count)
            if within(total, left):
                return list(picks)
        return None

    def fits(self, nonterminal: str, at: Attributes, budget: Vector) -> bool:
        """Whether some subtree of the nonterminal fits."""
        return any(within(floor, budget) for floor in self._floors[nonterminal, at])


def draw_real(low: float, high: float, log: bool, rng: np.random.Generator) -> float:
    """A number evenly from [low, high), on a logarithmic scale if asked."""
    if log:
        return float(low * (high / low) ** rng.random())
    return float(low + (high - low) * rng.random())
