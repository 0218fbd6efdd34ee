"""How many genomes a grammar holds, and which number each of them has.

Trees are counted by their number of nodes, smallest first: a production adds one node, so the trees of n nodes follow
from those of fewer. The same tables number the trees, and give the tree of a number (Hickey and Cohen 1983, "Uniform
random generation of strings in a context-free language"). What trees cost plays no part, and trees that differ only in
numbers (`real`) count as one.
"""

from __future__ import annotations

from bisect import bisect, bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from operator import mul
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from spaces.derivation import Attributes, Node, Table
from spaces.engine import Engine
from spaces.errors import InvalidGenome, InvalidSpace
from spaces.genome import Genome

MOST_REJECTED = 10_000
"""How many genomes in a row may break a limit in `draw_ranks`."""

State = tuple[str, Attributes]
"""A nonterminal under the attributes that it inherits."""


class Field(NamedTuple):
    """A list of children of a production, of one state; a single child is a list of one."""

    state: State
    low: int
    high: int


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """The assignments of one production whose children inherit the same, so that each has as many trees."""

    table: Table
    at: Attributes
    """What the children inherit; of the node itself where it has none."""
    indices: list[int]
    """Of the assignments, ascending."""
    fields: tuple[Field, ...]


def _kinds(engine: Engine) -> dict[State, list[Kind]]:
    """What may stand in each state, in the order of productions, then of what the children inherit."""
    found: dict[State, list[Kind]] = {state: [] for state in engine.tables}
    for state, tables in engine.tables.items():
        for table in tables:
            parts = table.production.children.values()
            alike: dict[Attributes, list[int]] = {}
            for index, at in enumerate(table.child_at):
                alike.setdefault(at if parts else table.at, []).append(index)
            for at, indices in alike.items():
                fields = tuple(Field((part.nonterminal, at), part.low, part.high) for part in parts)
                found[state].append(Kind(table, at, indices, fields))
    return found


T = TypeVar("T")


class Sums(Generic[T]):
    """For each state and number of nodes, the sum over all its trees of the product of what their nodes weigh.

    "Sum" and "product" are those of a semiring: + and × with a weight of 1 for each assignment count the trees; max
    and + find the tree that weighs the most.

    Args:
        weigh: the weight of a node of one kind in a state, all assignments together.
        total: the sum of any number of values.
        join: the product of two.
        zero, one: the sum and the product of nothing.
    """

    def __init__(
        self,
        engine: Engine,
        nodes: int,
        weigh: Callable[[State, Kind], T],
        total: Callable[[Iterable[T]], T],
        join: Callable[[T, T], T],
        zero: T,
        one: T,
    ) -> None:
        self.kinds = _kinds(engine)
        every = [kind for found in self.kinds.values() for kind in found]
        rests = sorted({kind.fields[i:] for kind in every for i in range(len(kind.fields))}, key=len)
        longest = dict.fromkeys(self.kinds, 0)
        for field in {fields[0] for fields in rests}:
            longest[field.state] = max(longest[field.state], min(field.high, nodes))
        self.trees: dict[State, list[T]] = {state: [zero] for state in self.kinds}
        """By number of nodes."""
        self.lists: dict[State, list[list[T]]] = {
            state: [[one]] + [[zero] for _ in range(length)] for state, length in longest.items()
        }
        """By length, then by the number of nodes of all children together."""
        self.fields: dict[Field, list[T]] = {fields[0]: [] for fields in rests}
        """Lists of all lengths that a field may have, by number of nodes."""
        self.forests: dict[tuple[Field, ...], list[T]] = {(): [one], **{fields: [] for fields in rests}}
        """Several fields together, by number of nodes."""
        weights = {
            state: [(weigh(state, kind), kind.fields) for kind in found]
            for state, found in self.kinds.items()
        }
        for n in range(1, nodes + 1):
            for field, sums in self.fields.items():
                lists = self.lists[field.state][field.low : field.high + 1]
                sums.append(total(by_nodes[n - 1] for by_nodes in lists))
            for fields in rests:
                first, others = self.fields[fields[0]], self.forests[fields[1:]]
                self.forests[fields].append(total(map(join, first, others[n - 1 :: -1])))
            self.forests[()].append(zero)
            for state, trees in self.trees.items():
                trees.append(
                    total(join(weight, self.forests[fields][n - 1]) for weight, fields in weights[state])
                )
            for state, lists in self.lists.items():
                lists[0].append(zero)
                for shorter, by_nodes in pairwise(lists):
                    by_nodes.append(total(map(join, self.trees[state][1:], shorter[n - 1 :: -1])))


class Ranks:
    """The trees of at most so many nodes, numbered.

    They are ordered by number of nodes, then by production, by what the children inherit, by choices, and by the
    children: field by field the nodes of the field and the length of the list, and child by child its nodes and its
    own number. The number of a tree does not depend on how many nodes are allowed.
    """

    def __init__(self, engine: Engine, nodes: int) -> None:
        self._root = (engine.grammar.start, engine.root_at)
        self._sums = Sums(engine, nodes, lambda _, kind: len(kind.indices), sum, mul, 0, 1)
        self._kinds = self._sums.kinds
        self._places = {
            state: {(kind.table, kind.at): k for k, kind in enumerate(found)}
            for state, found in self._kinds.items()
        }
        self._before = {
            state: [
                list(accumulate((len(k.indices) * self._sums.forests[k.fields][m] for k in found), initial=0))
                for m in range(nodes)
            ]
            for state, found in self._kinds.items()
        }
        """How many trees stand before those of each kind, by the number of nodes below the root."""
        self.sizes = self._sums.trees[self._root]
        """How many trees have exactly n nodes, for n from 0."""
        self._smaller = list(accumulate(self.sizes))

    @property
    def total(self) -> int:
        return self._smaller[-1]

    def of_nodes(self, nodes: int | None) -> tuple[int, int]:
        """The first rank of the trees of exactly so many nodes, and how many they are; of all trees if None."""
        if nodes is None:
            return 0, self.total
        if not 0 <= nodes < len(self.sizes):
            return self.total, 0
        return self._smaller[nodes] - self.sizes[nodes], self.sizes[nodes]

    def rank(self, tree: Node) -> int:
        """The number of a tree, from 0 to `total` - 1."""
        return self._smaller[int(tree.cost[0]) - 1] + self._rank(self._root, tree)

    def unrank(self, rank: int) -> Node:
        """The tree of a number."""
        nodes = bisect(self._smaller, rank)
        return self._unrank(self._root, nodes, rank - self._smaller[nodes - 1])

    def _rank(self, state: State, node: Node) -> int:
        """The number of a tree among those of its state that have as many nodes."""
        below = int(node.cost[0]) - 1
        table = node.table
        k = self._places[state][table, table.child_at[node.index] if node.children else table.at]
        kind = self._kinds[state][k]
        fields = kind.fields
        rank = self._before[state][below][k]
        rank += bisect_left(kind.indices, node.index) * self._sums.forests[fields][below]
        for f, (field, children) in enumerate(zip(fields, node.children, strict=True)):
            others = self._sums.forests[fields[f + 1 :]]
            inside = sum(int(child.cost[0]) for child in children)
            rank += _before(self._sums.fields[field], others, below, inside)
            below -= inside
            rank += self._rank_list(field, children, inside) * others[below]
        return rank

    def _unrank(self, state: State, nodes: int, rank: int) -> Node:
        below = nodes - 1
        before = self._before[state][below]
        k = bisect(before, rank) - 1
        kind = self._kinds[state][k]
        i, rank = divmod(rank - before[k], self._sums.forests[kind.fields][below])
        if kind.table.leaves:
            return kind.table.leaf(kind.indices[i])
        groups: list[tuple[Node, ...]] = []
        for f, field in enumerate(kind.fields):
            others = self._sums.forests[kind.fields[f + 1 :]]
            inside, first, rank = _divided(self._sums.fields[field], others, below, rank)
            below -= inside
            groups.append(self._unrank_list(field, inside, first))
        return Node(kind.table, kind.indices[i], (), tuple(groups))

    def _rank_list(self, field: Field, children: tuple[Node, ...], nodes: int) -> int:
        trees, lists = self._sums.trees[field.state], self._sums.lists[field.state]
        rank = sum(by_nodes[nodes] for by_nodes in lists[field.low : len(children)])
        for after, child in zip(range(len(children) - 1, -1, -1), children, strict=True):
            size = int(child.cost[0])
            rank += _before(trees, lists[after], nodes, size)
            nodes -= size
            rank += self._rank(field.state, child) * lists[after][nodes]
        return rank

    def _unrank_list(self, field: Field, nodes: int, rank: int) -> tuple[Node, ...]:
        trees, lists = self._sums.trees[field.state], self._sums.lists[field.state]
        length = field.low
        while rank >= lists[length][nodes]:
            rank -= lists[length][nodes]
            length += 1
        children: list[Node] = []
        for after in range(length - 1, -1, -1):
            size, first, rank = _divided(trees, lists[after], nodes, rank)
            nodes -= size
            children.append(self._unrank(field.state, size, first))
        return tuple(children)


def _before(first: list[int], second: list[int], nodes: int, size: int) -> int:
    """How many pairs of `nodes` nodes have a first part of fewer than `size`."""
    return sum(first[i] * second[nodes - i] for i in range(size) if first[i])


def _divided(first: list[int], second: list[int], nodes: int, rank: int) -> tuple[int, int, int]:
    """The nodes of the first part of a pair of `nodes` nodes, and the numbers of both parts."""
    size = 0
    while rank >= (pairs := first[size] * second[nodes - size]):
        rank -= pairs
        size += 1
    return size, *divmod(rank, second[nodes - size])


def check_number(name: str, number: int, size: int, nodes: int | None = None) -> None:
    """Raises InvalidSpace if a space does not have so many different genomes (of so many nodes)."""
    if not isinstance(number, int) or number < 0:
        raise InvalidSpace(
            f"space {name!r}: {number!r} genomes cannot be drawn; give an integer of at least 0"
        )
    if number > size:
        kind = "" if nodes is None else f" of {nodes} nodes"
        raise InvalidSpace(
            f"space {name!r} has {size} genomes{kind}, so {number} different ones cannot be drawn"
        )


def draw_ranks(
    name: str,
    unrank: Callable[[int], Genome],
    ranks: range,
    number: int,
    rng: np.random.Generator,
    *,
    nodes: int | None = None,
    advice: str = "raise the limits",
) -> tuple[list[Genome], int]:
    """Different genomes of some ranks, all equally likely among those that meet the limits; how many did not.

    Args:
        name: of the space.
        unrank: raises InvalidGenome where a genome breaks a limit.
        nodes: of all these genomes, if they have as many.
        advice: what to do if genomes break a limit all the time.

    Raises:
        InvalidSpace: there are fewer, or 10,000 in a row break a limit.
    """
    size = ranks.stop - ranks.start  # len() would stop at 2^63
    check_number(name, number, size, nodes)
    order = shuffled(rng, size)
    genomes: list[Genome] = []
    rejected = in_row = 0
    while len(genomes) < number:
        place = next(order, None)
        if place is None:
            raise InvalidSpace(
                f"space {name!r}: {len(genomes)} of its {size} genomes meet the limits, so {number} different ones "
                "cannot be drawn"
            )
        try:
            genomes.append(unrank(ranks.start + place))
            in_row = 0
        except InvalidGenome as error:
            rejected += 1
            in_row += 1
            if in_row == MOST_REJECTED:
                raise InvalidSpace(
                    f"space {name!r}: {in_row:,} genomes in a row break a limit, the last as {error}; {advice}"
                ) from None
    return genomes, rejected


def draw_below(rng: np.random.Generator, number: int) -> int:
    """A whole number from 0 to `number` - 1, all exactly equally likely, however long."""
    bits = (number - 1).bit_length()
    while True:
        drawn = int.from_bytes(rng.bytes((bits + 7) // 8)) >> (-bits % 8)
        if drawn < number:
            return drawn


def shuffled(rng: np.random.Generator, number: int) -> Iterator[int]:
    """The numbers from 0 to `number` - 1 in random order, each drawn when it is asked for."""
    moved: dict[
        int, int
    ] = {}  # a shuffle from the end (Fisher and Yates) of a list that is never written out
    for last in range(number - 1, -1, -1):
        place = draw_below(rng, last + 1)
        yield moved.get(place, place)
        moved[place] = moved.pop(last, last)
