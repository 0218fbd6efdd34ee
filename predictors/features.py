"""Genomes as rows of numbers: what they are made of, how their canonical graph hangs together, what they cost.

The columns follow from the grammar alone. Paths and degrees of the graph, also for each operator alone, are
the features of GRAF (Kadlecová et al. 2024, Surprisingly Strong Performance Prediction with Neural Graph
Features), which has columns for every subset of the operators of a small cell. Here the operators are more,
so that the subsets are each operator alone and all but it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from predictors.types import InvalidPredictor
from spaces import Genome, Space
from spaces.cost import COST_NAMES, tells_costs
from spaces.fields import Choice, Real, spell
from spaces.graph import Graph

REMEMBERED = 16_384
"""Rows kept, as a search asks for the same genomes again and again; beyond that, all are forgotten."""

SPANS = 8
"""Choices whose largest number is at least so many times the smallest are taken on a logarithmic scale."""


WHOLE = ("paths", "operators", "joins", "degree.mean", "in.max", "out.max", "longest", "shortest")
"""Features of the whole graph."""

ALONG = ("most", "least", "around.longest", "around.shortest", "count", "position", "in", "out")
"""Features of each operator."""


class Features:
    """Rows of features of the genomes of a space; equal networks differ at most in what dead parts cost.

    Of the whole graph: operators, joins, the longest and the shortest path from input to output (counting
    operators), the number of paths (log2), degrees, and costs (log2) where the space tells them. Of every operator
    of the space, at whatever width it stands:

    - `count`, with repeats unrolled; `most` and `least`: the same on any one path
    - `around.longest`, `around.shortest`: paths that avoid it, counting the other operators; -1 if there is none
    - `position`: the mean of how many operators the longest path to it counts, relative to the longest of all
    - `in`, `out`: mean degrees
    - each of its choices: numbers by `mean` and `max`, any other value by the share of operators that chose it.
      Numbers are scaled to lie between 1, the smallest allowed, and 2, the largest; 0 where there is none

    Attributes:
        names: the columns, [d].

    Raises:
        InvalidPredictor: the space does not say what stands in its graphs.
    """

    def __init__(self, space: Space) -> None:
        if not hasattr(space, "operators") or not hasattr(space, "graph"):
            raise InvalidPredictor(
                f"features need a space with 'operators' and 'graph', which {space.name!r}, a "
                f"{type(space).__name__}, lacks"
            )
        self.space = space
        self._rows: dict[str, np.ndarray] = {}
        operators = space.operators
        self._kinds = {name: kind for kind, name in enumerate(operators)}
        self._costs = tells_costs(space)

        # One row for each operator and one for all other nodes, which are joins, the input and the output.
        self._is = np.eye(len(operators) + 1, len(operators))
        counted = self._is.sum(axis=1, keepdims=True)
        barred = np.where(self._is, np.inf, 0.0)
        # Every column weighs the nodes; its feature is the greatest weight of a path. Shortest: of negated weights.
        self._weights = np.hstack(
            [counted, -counted, self._is, -self._is, counted - barred, -counted - barred]
        )
        self._signs = np.repeat([1, -1, 1, -1, 1, -1], [1, 1, *[len(operators)] * 4])

        self._codes = [code for name, choices in operators.items() for code in _codes(name, choices)]
        self._numeric = np.array([code.numeric for code in self._codes], dtype=bool)
        self._owners = np.array([self._kinds[code.operator] for code in self._codes], dtype=np.intp)
        self._codes_of: dict[str, list[tuple[int, _Code]]] = {name: [] for name in self._kinds}
        for column, code in enumerate(self._codes):
            self._codes_of[code.operator].append((column, code))

        self.names: tuple[str, ...] = (
            *(COST_NAMES if self._costs else ()),
            *WHOLE,
            *(f"{operator}.{name}" for name in ALONG for operator in self._kinds),
            *(f"{code.name}.mean" if code.numeric else code.name for code in self._codes),
            *(f"{code.name}.max" for code in self._codes if code.numeric),
        )

    def __reduce__(self) -> Any:
        return Features, (self.space,)

    def __call__(self, genomes: Sequence[Genome]) -> np.ndarray:
        """The rows of genomes, [n, d] float64."""
        rows = np.empty((len(genomes), len(self.names)))
        for place, genome in enumerate(genomes):
            row = self._rows.get(genome.text)
            if row is None:
                if len(self._rows) >= REMEMBERED:
                    self._rows.clear()
                row = self._rows[genome.text] = self._row(genome)
            rows[place] = row
        return rows

    def _row(self, genome: Genome) -> np.ndarray:
        """The features of one genome, [d], in the order of `names`."""
        cost = self.space.cost(genome) if self._costs else None
        sizes = [] if cost is None else [getattr(cost, name) for name in COST_NAMES]
        graph = self.space.graph(genome)
        nodes = len(graph.operators)
        names = [operator.partition("@")[0] for operator in graph.operators]
        kinds = np.array([self._kinds.get(name, len(self._kinds)) for name in names])
        paths, lengths = self._paths(graph, kinds)
        most = lengths[-1] * self._signs
        into = np.bincount(graph.targets, minlength=nodes)
        out = np.bincount(graph.sources, minlength=nodes)

        is_NK = self._is[kinds]
        count = is_NK.sum(axis=0)
        present = np.maximum(count, 1)
        position = np.maximum(lengths[:, 0], 0) / max(1.0, most[0])
        means = np.stack([position, into, out]) @ is_NK / present

        chosen = np.zeros((nodes, len(self._codes)))
        for node, (name, choices) in enumerate(zip(names, graph.choices, strict=True)):
            for column, code in self._codes_of.get(name, ()):
                chosen[node, column] = code.encode(choices[code.choice])
        return np.concatenate(
            [
                # Rounded, because equal networks may add up equal costs in another order.
                [round(math.log2(1 + size), 6) for size in sizes],
                [
                    math.log2(1 + paths),
                    count.sum(),
                    nodes - 2 - count.sum(),
                    len(graph.sources) / nodes,
                    into.max(),
                    out.max(),
                ],
                np.where(np.isfinite(most), most, -1),
                count,
                means.ravel(),
                chosen.sum(axis=0) / present[self._owners],
                chosen[:, self._numeric].max(axis=0),
            ]
        )

    def _paths(self, graph: Graph, kinds: np.ndarray) -> tuple[int, np.ndarray]:
        """How many paths lead to the output, and the greatest weight of a path to each node, [nodes, weights]."""
        before: list[list[int]] = [[] for _ in graph.operators]
        for source, target in zip(graph.sources.tolist(), graph.targets.tolist(), strict=True):
            before[target].append(source)
        lengths = self._weights[kinds]
        rows = list(lengths)
        ways = [1]
        for node in range(1, len(rows)):
            # Nothing leads to the output of a cell that is cut in two.
            rows[node] += functools.reduce(np.maximum, [rows[source] for source in before[node]], -np.inf)
            ways.append(sum([ways[source] for source in before[node]]))
        return ways[-1], lengths


class _Code(NamedTuple):
    """One column of a choice of an operator."""

    operator: str
    choice: str
    name: str
    numeric: bool
    encode: Callable[[Any], float]


def _codes(operator: str, choices: Mapping[str, Choice | Real]) -> Iterator[_Code]:
    """The columns of the choices of an operator: one for all numbers, and one for each other value."""
    encode: Callable[[Any], float]
    for key, option in choices.items():
        name = f"{operator}.{key}"
        if isinstance(option, Real):
            yield _Code(operator, key, name, True, _scale(option.low, option.high, option.log))
            continue
        numbers = [value for value in option.values if type(value) in (int, float)]
        words = [value for value in option.values if type(value) not in (int, float)]
        if len(numbers) < 2:
            numbers, words = [], list(option.values)
        if numbers:
            low, high = min(numbers), max(numbers)
            scale = _scale(low, high, log=low > 0 and high >= SPANS * low)
            encode = functools.partial(_look_up, {(type(value), value): scale(value) for value in numbers})
            yield _Code(operator, key, name, True, encode)
        for word in words if len(option.values) > 1 else ():
            encode = functools.partial(_look_up, {(type(word), word): 1.0})
            yield _Code(operator, key, f"{name}={spell(word)}", False, encode)


def _look_up(codes: dict[tuple[type, Any], float], value: Any) -> float:
    return codes.get((type(value), value), 0.0)


def _scale(low: float, high: float, log: bool) -> Callable[[float], float]:
    """Maps [low, high] to [1, 2]."""
    if log:
        return lambda value: 1 + math.log(value / low) / math.log(high / low)
    return lambda value: 1 + (value - low) / (high - low)
