"""Derivation trees, and the tables that say in which ways a production can stand in them."""

from __future__ import annotations

import itertools
from bisect import bisect
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import Any

import numpy as np

from spaces.cost import Cost
from spaces.fields import Children, spell
from spaces.pareto import lowest
from spaces.production import Production

Vector = tuple[float, float, float, float, float]
"""Resources: nodes of the tree, and of the model that it builds, repeats unrolled: operators, parameters, FLOPs
per token, decode-state bytes. All are whole numbers below 2^53, so that sums and differences are exact."""

RESOURCES = ("nodes", "operators", "parameters", "flops_per_token", "state_bytes")
UNLIMITED = 2.0**52
NOTHING: Vector = (0, 0, 0, 0, 0)
ONCE: Vector = (1, 1, 1, 1, 1)
NEVER: Vector = (float("inf"),) * 5


class Attributes:
    """What a node inherits, read as `at.width`; interned by the engine, so compared by identity.

    `shape` says where the attributes of the input and output differ from those of the root, and is "" where they do
    not: an operator elsewhere in a network is another operator if its width is.
    """

    __slots__ = ("_values", "shape")

    def __init__(self, values: Mapping[str, Any], shape: str = "") -> None:
        self._values = dict(values)
        self.shape = shape

    def __getattr__(self, name: str) -> Any:
        if name in self.__slots__:
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(
                f"no inherited attribute {name!r}; there are: {', '.join(self._values)}"
            ) from None

    def as_dict(self) -> dict[str, Any]:
        return dict(self._values)


class Node:
    """One node of a derivation tree, with the size and cost of the subtree below it. Never changed once made.

    `values` are the choices and numbers in the order of the production's choices, then reals; `children` hold
    one tuple of nodes for each field of children. `cost` is that of the whole subtree.
    """

    __slots__ = ("_canonical", "_text", "children", "cost", "index", "priced", "table", "values")

    _canonical: tuple[str, ...] | None
    _text: str | None
    priced: tuple[int, Cost] | None
    """Over how many tokens `spaces.pricing` last priced the subtree, and what it costs: trees share subtrees."""

    def __init__(
        self, table: Table, index: int, reals: tuple[float, ...], children: tuple[tuple[Node, ...], ...]
    ) -> None:
        self.table = table
        self.index = index
        self.values: tuple[Any, ...] = table.assignments[index] + reals
        self.children = children
        self._canonical = self._text = self.priced = None
        own = table.own[index]
        if not children:
            self.cost: Vector = own
            return
        nodes, operators, parameters, flops, state = 0.0, 0.0, 0.0, 0.0, 0.0
        for group in children:
            for node in group:
                n, o, p, f, s = node.cost
                nodes += n
                operators += o
                parameters += p
                flops += f
                state += s
        self.cost = around(own, table.times[index], (nodes, operators, parameters, flops, state))

    @property
    def production(self) -> Production:
        return self.table.production

    @property
    def reals(self) -> tuple[float, ...]:
        return self.values[len(self.production.choices) :]

    @property
    def repeat(self) -> int:
        """How many times the children are built, one after the other."""
        return self.table.repeat[self.index]

    def choices(self) -> dict[str, Any]:
        """The choices and numbers by name."""
        return dict(zip(self.table.names, self.values, strict=True))

    @property
    def nesting(self) -> int:
        """How many productions stand in one another."""
        level, depth = [self], 0
        while level:
            level, depth = [child for node in level for group in node.children for child in group], depth + 1
        return depth

    @property
    def text(self) -> str:
        if self._text is None:
            parts: list[str] = []
            values, children = iter(self.values), iter(self.children)
            spelled = {name: spell(value) for name, value in zip(self.table.names, values, strict=True)}
            for key, part in self.production.fields.items():
                if isinstance(part, Children):
                    nodes = ", ".join([node.text for node in next(children)])
                    parts.append(f"{key}=[{nodes}]" if part.listed else f"{key}={nodes}")
                else:
                    parts.append(f"{key}={spelled[key]}")
            self._text = f"{self.production.name}({', '.join(parts)})"
        return self._text

    @property
    def canonical(self) -> tuple[str, ...]:
        """The canonical graph below this node, as a sequence of operators.

        Nested sequences and repeats are spliced, identities vanish, commuting branches are sorted; unless the
        production says otherwise.
        """
        if self._canonical is None:
            form = self.production.form
            if self.production.canonical is not None:
                self._canonical = self.production.canonical(self)
            elif form == "sequence":
                parts = tuple([op for group in self.children for node in group for op in node.canonical])
                self._canonical = parts * self.repeat
            elif form == "residual":
                branches = [written(node) for group in self.children for node in group]
                self._canonical = (f"+({','.join(sorted(branches))})",)
            elif form == "identity":
                self._canonical = ()
            else:
                label = self.table.label(self.index)
                reals = self.reals
                if reals:
                    label += f"({','.join(map(repr, reals))})"
                for group in self.children:
                    label += f"[{','.join(map(written, group))}]"
                self._canonical = (label,)
        return self._canonical

    @property
    def digest(self) -> str:
        return blake2b(" ".join(self.canonical).encode(), digest_size=16).hexdigest()


def written(node: Node) -> str:
    """A branch of the canonical graph; "=" where nothing is on it."""
    return " ".join(node.canonical) or "="


class Table:
    """Every way that one production can stand under one set of attributes."""

    __slots__ = (
        "_above",
        "_chosen",
        "_labels",
        "_leaf",
        "_matrix",
        "assignments",
        "at",
        "ceiling",
        "child_at",
        "codes",
        "floors",
        "index",
        "leaves",
        "names",
        "needs",
        "operator",
        "own",
        "parts",
        "priced",
        "production",
        "repeat",
        "times",
        "weight",
    )

    def __init__(self, production: Production, at: Attributes) -> None:
        self.production = production
        self.at = at
        self.weight = production.weight
        self.operator = production.name + at.shape
        """What it is called in the graph."""
        self.parts = tuple(production.children.values())
        self.names = (*production.choices, *production.reals)
        self.assignments: list[tuple[Any, ...]] = []
        self.codes: list[tuple[int, ...]] = []
        """The same as places in the values of each choice, which tell True from 1."""
        self.index: dict[tuple[int, ...], int] = {}
        self.own: list[Vector] = []
        self.repeat: list[int] = []
        self.times: list[Vector] = []
        """How often each resource of the children counts, for each assignment."""
        self.child_at: list[Attributes] = []
        self.needs: list[list[Vector]] = []
        self.floors: list[Vector] = []
        self.ceiling: Vector = NEVER
        self.leaves = not production.children and not production.reals
        self.priced: tuple[int, dict[int, tuple[Cost, int, int]]] | None = None
        """Over how many tokens `spaces.pricing` last priced, and what it found each assignment to cost alone."""
        self._leaf: dict[int, Node] = {}
        self._above: dict[Node, Node] = {}
        self._chosen: dict[int, Mapping[str, Any]] = {}
        self._labels: dict[int, str] = {}
        self._matrix: np.ndarray | None = None

    def chosen(self, index: int) -> Mapping[str, Any]:
        """The choices of an assignment by name: one mapping for all graphs."""
        chosen = self._chosen.get(index)
        if chosen is None:
            values = self.assignments[index]
            chosen = self._chosen[index] = dict(zip(self.production.choices, values, strict=True))
        return chosen

    def label(self, index: int) -> str:
        """The production with its choices, without children: what an operator is called in the digest."""
        label = self._labels.get(index)
        if label is None:
            chosen = ",".join(map(spell, self.assignments[index]))
            label = self.operator + (f":{chosen}" if chosen else "")
            self._labels[index] = label
        return label

    def leaf(self, index: int) -> Node:
        """The node of an assignment that has neither children nor numbers; there is one, shared by all trees."""
        node = self._leaf.get(index)
        if node is None:
            node = self._leaf[index] = Node(self, index, (), ())
        return node

    def above(self, index: int, reals: tuple[float, ...], child: Node) -> Node:
        """The node of an assignment with one child; shared by all trees, too, where it is the only way to stand there.

        So the nodes that are kept are at most as many as the leaves.
        """
        if not child.table.leaves or len(self.assignments) > 1 or reals:
            return Node(self, index, reals, ((child,),))
        node = self._above.get(child)
        if node is None:
            node = self._above[child] = Node(self, index, (), ((child,),))
        return node

    def left_for_children(self, index: int, budget: Vector) -> Vector:
        """What an assignment leaves of a budget, divided by how often the children count."""
        own, times = self.own[index], self.times[index]
        return (
            (budget[0] - own[0]) // times[0],
            (budget[1] - own[1]) // times[1],
            (budget[2] - own[2]) // times[2],
            (budget[3] - own[3]) // times[3],
            (budget[4] - own[4]) // times[4],
        )

    def settle(self, needs: list[list[Vector]]) -> bool:
        """Takes what each assignment needs at the least; whether the floors changed."""
        self.needs = needs
        floors = lowest([need for needed in needs for need in needed], within)
        changed = floors != self.floors
        self.floors = floors
        every = [need for needed in needs for need in needed]
        open_ended = not every or any(not needed for needed in needs)
        self.ceiling = NEVER if open_ended else tuple(map(max, zip(*every, strict=True)))
        self._matrix = None
        return changed

    def fits(self, budget: Vector) -> bool:
        """Whether some assignment fits."""
        return any_within(self.floors, budget)

    def fitting(self, budget: Vector) -> range | list[int]:
        """The indices of the assignments that fit."""
        if within(self.ceiling, budget):
            return range(len(self.assignments))
        if not self.production.children and len(self.needs) > 16:
            if self._matrix is None:
                self._matrix = np.array([needed[0] for needed in self.needs])
            fits: list[int] = np.flatnonzero((self._matrix <= np.array(budget)).all(axis=1)).tolist()
            return fits
        return [i for i, needed in enumerate(self.needs) if any_within(needed, budget)]


class Pool:
    """Tables to draw from by weight."""

    __slots__ = ("cumulative", "tables", "total")

    def __init__(self, tables: list[Table]) -> None:
        self.tables = tables
        self.cumulative = list(itertools.accumulate([table.weight for table in tables]))
        self.total = self.cumulative[-1] if tables else 0.0

    def draw(self, random: Callable[[], float]) -> Table:
        return self.tables[bisect(self.cumulative, random() * self.total)]


def within(need: Vector, budget: Vector) -> bool:
    """Whether a need fits in a budget, in every resource."""
    return (
        need[0] <= budget[0]
        and need[1] <= budget[1]
        and need[2] <= budget[2]
        and need[3] <= budget[3]
        and need[4] <= budget[4]
    )


def any_within(needs: Iterable[Vector], budget: Vector) -> bool:
    """Whether any of some needs fits in a budget."""
    for need in needs:  # noqa: SIM110 - a generator would take longer than the question
        if within(need, budget):
            return True
    return False


def around(own: Vector, times: Vector, below: Vector) -> Vector:
    """What a node costs with its children, as often as each of their resources counts."""
    return (
        own[0] + times[0] * below[0],
        own[1] + times[1] * below[1],
        own[2] + times[2] * below[2],
        own[3] + times[3] * below[3],
        own[4] + times[4] * below[4],
    )


def divided(left: Vector, times: Vector) -> Vector:
    """The most that children may cost so that `times` of it is left."""
    return (
        left[0] // times[0],
        left[1] // times[1],
        left[2] // times[2],
        left[3] // times[3],
        left[4] // times[4],
    )


def multiplied(a: Vector, b: Vector) -> Vector:
    """Resource by resource."""
    return (a[0] * b[0], a[1] * b[1], a[2] * b[2], a[3] * b[3], a[4] * b[4])


def plus(a: Vector, b: Vector, times: float = 1) -> Vector:
    """a + times b."""
    return (
        a[0] + times * b[0],
        a[1] + times * b[1],
        a[2] + times * b[2],
        a[3] + times * b[3],
        a[4] + times * b[4],
    )
