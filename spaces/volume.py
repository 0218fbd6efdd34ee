"""Volume coding: every point of a cube is a genome, and a genome is a box of the cube.

After AriEL (Celotti, Brodeur and Rouat 2020, "AriEL: volume coding for sentence generation", arXiv 2001.11296), which
codes sentences arithmetically along the axes of a k-d tree. Here a genome is derived in the order of its text:
production, choices, numbers, lengths of lists, children. Each such decision takes the next dimension of the cube in
turn and cuts what is left of it into one part for each option that fits in what is left of the limits, as wide as the
option is likely; a point decides for the part that it lies in. A decision with one option takes no turn.

Random points give genomes by the law of `GrammarSpace.sample`, but for the order: `sample` fills siblings in random
order, so that no place has more of what the limits leave than another, and a point fills them in the order of the text.
Where no limit is near, both laws are the same.

Intervals are exact, as ratios of whole numbers, but a point is made of float64. Where decisions have cut a dimension so
narrow that no float64 is left in the box, no point decodes to the genome. `Volumes.dimensions` are enough for all.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect, bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import cached_property, partial
from itertools import accumulate
from operator import add
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from spaces.counting import Kind, State, Sums
from spaces.decisions import Bounds, Decide, Decision, Unmet, answered, evenly, unless_one
from spaces.derivation import Attributes, Node, Vector, plus
from spaces.engine import Engine, real_at
from spaces.errors import InvalidGenome, InvalidSpace
from spaces.fields import Real
from spaces.genome import DEEPEST, Genome

PRECISION = 53
"""Bits of a coordinate: how finely float64 divides the range from 0 to 1 where it is coarsest."""
STEPS = range(2**PRECISION)
"""Into as many equal parts a number (`real`) cuts an interval; as many numbers `sample` knows."""


class Place:
    """Where a coordinate lies in what is left of its dimension."""

    def __init__(self, coordinate: float) -> None:
        self._over, self._under = coordinate.as_integer_ratio()

    def cut(self, bounds: Bounds) -> int:
        """The part that it lies in, which is left from then on."""
        total = bounds[-1]
        part = bisect(bounds, self._over * total // self._under) - 1
        self._over = self._over * total - self._under * bounds[part]
        self._under *= bounds[part + 1] - bounds[part]
        return part


class Interval:
    """What is left of a dimension."""

    def __init__(self) -> None:
        self._low, self._width, self._under = 0, 1, 1

    def cut(self, bounds: Bounds, part: int) -> None:
        """Leaves one part."""
        self._low = self._low * bounds[-1] + self._width * bounds[part]
        self._width *= bounds[part + 1] - bounds[part]
        self._under *= bounds[-1]

    @property
    def ends(self) -> tuple[float, float]:
        """The float64 from the first of these to less than the second lie within; if equal, there are none."""
        return _round_up(self._low, self._under), _round_up(self._low + self._width, self._under)


def _round_up(over: int, under: int) -> float:
    """The smallest float64 that is not below a ratio."""
    near = over / under
    a, b = near.as_integer_ratio()
    return near if a * under >= over * b else math.nextafter(near, math.inf)


def by_point(point: Sequence[float]) -> Decide:
    """The coordinates of a point decide, in turn."""
    places = itertools.cycle([Place(x) for x in point])
    return lambda decision: next(places).cut(decision.bounds)


def box_of(
    decisions: Iterable[tuple[Decision, int]], dimensions: int, enough: int
) -> tuple[np.ndarray, np.ndarray]:
    """The points that decide so, [low, high).

    Args:
        decisions: with the place of the option to take.
        dimensions: of the cube.
        enough: how many dimensions are enough for every genome.

    Raises:
        InvalidGenome: no float64 is left in a dimension.
    """
    intervals = [Interval() for _ in range(dimensions)]
    for turn, (decision, part) in enumerate(decisions):
        intervals[turn % dimensions].cut(decision.bounds, part)
    low, high = np.array([interval.ends for interval in intervals]).T
    (empty,) = np.nonzero(low == high)
    if len(empty):
        raise InvalidGenome(
            f"the box of this genome is too narrow for float64 in dimension {empty[0]} of {dimensions}; "
            f"{enough} dimensions are enough for all genomes"
        )
    return low, high


def centre(box: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The middle of a box, which lies within even where the box holds one point only."""
    low, high = box
    return np.minimum((low + high) / 2, np.nextafter(high, 0))


def coordinates(point: ArrayLike) -> list[float]:
    """The coordinates of a point of a cube.

    Raises:
        InvalidGenome: it is no row of numbers from 0 to less than 1.
    """
    try:
        row = np.asarray(point, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidGenome(f"a point is a row of numbers, but this is {point!r}") from None
    if row.ndim != 1 or not len(row):
        raise InvalidGenome(f"a point is a row of numbers, but this has the shape {row.shape}")
    for k, x in enumerate(row):
        if not 0 <= x < 1:
            raise InvalidGenome(f"coordinate {k} of the point is {x}, but must be from 0 to less than 1")
    return row.tolist()


class Boxes(Protocol):
    """The trees of a space as boxes of a cube."""

    @property
    def dimensions(self) -> int:
        """So many that they are sure to leave a point to every tree that has one."""
        ...

    def decode(self, point: Sequence[float]) -> Any:
        """The tree of a point."""
        ...

    def box(self, root: Any, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
        """The box of a tree, [low, high)."""
        ...

    def derive(self, decide: Decide) -> Any:
        """The tree of decisions; where there is one option only, nobody is asked."""
        ...

    def decisions(self, root: Any) -> list[tuple[Decision, int]]:
        """The decisions that `derive` asks for on the way to a tree, each with the place of the option to take."""
        ...


class VolumeCoded:
    """What a space of trees does with their boxes."""

    name: str
    nodes: int

    @property
    def _volumes(self) -> Boxes:
        raise NotImplementedError

    def tree(self, genome: Genome) -> Any:
        """What stands behind a genome."""
        raise NotImplementedError

    def _genome(self, root: Any) -> Genome:
        raise NotImplementedError

    def derive(self, decide: Decide) -> Genome:
        """The genome of decisions, in the order of its text; valid whatever they are."""
        with self._following():
            return self._genome(self._volumes.derive(decide))

    def decisions(self, genome: Genome) -> list[tuple[Decision, int]]:
        """The decisions that `derive` asks for on the way to a genome, each with the place of the option to take.

        Raises:
            InvalidGenome: none lead to it, as to one at the edge of the limits.
        """
        tree = self.tree(genome)
        with self._following():
            return self._volumes.decisions(tree)

    @property
    def dimensions(self) -> int:
        """How many coordinates `encode` gives a genome unless told: so many that float64 can tell all genomes apart."""
        return self._volumes.dimensions

    def decode(self, point: ArrayLike) -> Genome:
        """The genome of a point of the cube [0, 1)^d, of any d; valid whatever the point.

        Raises:
            InvalidGenome: the point is outside the cube.
        """
        place = coordinates(point)
        with self._following():
            return self._genome(self._volumes.decode(place))

    def box(self, genome: Genome, dimensions: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The lower and the upper corner of a genome's box: the points from the one to below the other decode to it.

        A number (`real`) that no point gives, as one written by hand may be, has the box of the nearest that one does.

        Raises:
            InvalidGenome: no point of that many coordinates decodes to the genome.
        """
        if dimensions is not None and (not isinstance(dimensions, int) or dimensions < 1):
            raise InvalidSpace(f"dimensions = {dimensions}, but there must be at least 1")
        tree = self.tree(genome)
        with self._following():
            return self._volumes.box(tree, self.dimensions if dimensions is None else dimensions)

    def encode(self, genome: Genome, dimensions: int | None = None) -> np.ndarray:
        """A point that decodes to the genome: the centre of its box.

        Raises:
            InvalidGenome: no point of that many coordinates decodes to the genome.
        """
        return centre(self.box(genome, dimensions))

    @contextmanager
    def _following(self) -> Iterator[None]:
        """Says it in the space's words where a tree is too deep to be followed."""
        try:
            yield
        except RecursionError:
            raise self._too_deep() from None

    def _too_deep(self) -> InvalidSpace:
        return InvalidSpace(
            f"space {self.name!r}: a genome nests more than {DEEPEST} productions in one another, too deep to be read; "
            f"lower 'nodes' ({self.nodes})"
        )


def _answers(node: Node) -> Iterator[Any]:
    """What every decision came to, in the order in which `Volumes` makes them."""
    yield node.table
    yield node.index
    production = node.production
    yield from map(_step, production.reals.values(), node.reals)
    for part, group in zip(production.children.values(), node.children, strict=True):
        if part.low < part.high:
            yield len(group)
    for group in node.children:
        for child in group:
            yield from _answers(child)


class Volumes:
    """The boxes of the genomes of a grammar, in cubes of any number of dimensions."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        weights = {table: Fraction(table.weight) for tables in engine.tables.values() for table in tables}
        unit = math.lcm(*(weight.denominator for weight in weights.values()))
        self._shares = {table: int(weight * unit) for table, weight in weights.items()}

    @cached_property
    def dimensions(self) -> int:
        """So many that they are sure to leave a point to every genome.

        That is the most decisions of any genome, over how many of them fit in one coordinate if each is for the
        least likely option that the grammar has; a number (`real`) fills a coordinate by itself. Less likely than
        2^-53 an option may still be lost, as it is to `sample`.
        """
        engine, nodes = self._engine, int(self._engine.limit[0])

        def options(state: State, kind: Kind) -> list[float]:
            """Of each decision at a node: how many there are, or would be if all were as unlikely as the least."""
            shares = [self._shares[table] for table in engine.tables[state]]
            lengths = [min(field.high, nodes) - min(field.low, nodes) + 1 for field in kind.fields]
            reals = [len(STEPS) for _ in kind.table.production.reals]
            every = [sum(shares) / min(shares), len(kind.table.assignments), *lengths, *reals]
            return [number for number in every if number > 1]

        def decisions(state: State, kind: Kind) -> float:
            return len(options(state, kind))

        most = Sums(engine, nodes, decisions, partial(max, default=-math.inf), add, -math.inf, 0)
        found = [options(state, kind) for state, found in most.kinds.items() for kind in found]
        bits = max((math.log2(number) for numbers in found for number in numbers), default=1)
        needed = max(most.trees[engine.grammar.start, engine.root_at])
        return max(1, math.ceil(needed / max(1, PRECISION // bits)))

    def decode(self, point: Sequence[float]) -> Node:
        """The tree of a point."""
        return self.derive(by_point(point))

    def derive(self, decide: Decide) -> Node:
        """The tree of decisions; where there is one option only, nobody is asked."""
        return self._root(unless_one(decide))

    def decisions(self, root: Node) -> list[tuple[Decision, int]]:
        """The decisions that `derive` would ask for, with the places of those options that lead to a tree.

        Raises:
            InvalidGenome: none lead to it.
        """
        try:
            return answered(self._root, _answers(root))
        except Unmet:
            raise InvalidGenome(
                "no point decodes to this genome, which is at the edge of the limits: in the order of its text, each "
                "child has to leave the least that those after it need"
            ) from None

    def box(self, root: Node, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
        """The box of a tree, [low, high).

        Raises:
            InvalidGenome: no point decodes to the tree, or none of so few dimensions.
        """
        return box_of(self.decisions(root), dimensions, self.dimensions)

    def _root(self, decide: Decide) -> Node:
        engine = self._engine
        return self._derive(engine.grammar.start, engine.root_at, engine.limit, decide)

    def _derive(self, nonterminal: str, at: Attributes, budget: Vector, decide: Decide) -> Node:
        """A subtree that fits, as `Engine.draw` derives it but for who decides, and in the order of the text."""
        engine = self._engine
        tables = [table for table in engine.pools[nonterminal, at].tables if table.fits(budget)]
        shares = [self._shares[table] for table in tables]
        table = tables[decide(Decision((nonterminal, at), tables, list(accumulate(shares, initial=0))))]
        fitting = table.fitting(budget)
        index = fitting[decide(evenly(table, fitting))]
        if table.leaves:
            return table.leaf(index)
        production, at = table.production, table.child_at[index]
        reals = tuple(
            [
                real_at(rule, decide(evenly((table, name), STEPS)) / len(STEPS))
                for name, rule in production.reals.items()
            ]
        )
        left = table.left_for_children(index, budget)
        parts = table.parts
        counts = [part.low for part in parts]
        for k, part in enumerate(parts):
            if part.low < part.high:
                most = engine.most(parts, counts, k, at, left)
                lengths = range(part.low, most + 1)
                counts[k] = lengths[decide(evenly((table, k), lengths))]
        reserved = engine.reserve(parts, counts, at, left)
        assert reserved is not None
        for _, floor in reserved:
            left = plus(left, floor, -1)
        groups: list[list[Node]] = [[] for _ in parts]
        for k, floor in reserved:
            left = plus(left, floor)
            node = self._derive(parts[k].nonterminal, at, left, decide)
            groups[k].append(node)
            left = plus(left, node.cost, -1)
        return Node(table, index, reals, tuple([tuple(group) for group in groups]))


def _step(rule: Real, value: float) -> int:
    """The step of a range at which a number stands, or the nearest to it."""

    def number(step: int) -> float:
        return real_at(rule, step / len(STEPS))

    step = bisect_left(STEPS, value, key=number)
    near = STEPS[max(0, step - 8) : step + 8]  # rounding does not quite keep numbers in order
    return min(near, key=lambda step: abs(number(step) - value))
