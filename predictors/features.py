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

from predictors.labels import COLUMNS, label_counts
from predictors.types import InvalidPredictor
from spaces import Genome, Space
from spaces.cost import COST_NAMES
from spaces.fields import Choice, Real, spell
from spaces.graph import Graph, union
from spaces.protocol import tells_costs

REMEMBERED = 16_384
"""Rows kept, as a search asks for the same genomes again and again; beyond that, all are forgotten."""

TOGETHER = 512
"""Genomes whose rows are made at once, so that memory is bounded."""

SPANS = 8
"""Choices whose largest number is at least so many times the smallest are taken on a logarithmic scale."""


WHOLE = ("paths", "operators", "joins", "degree.mean", "in.max", "out.max", "longest", "shortest")
"""Features of the whole graph."""

LABEL = "label"
"""What the columns of label counts are called."""

COUNTED = 0
"""The weight of paths that counts operators."""

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

    Args:
        space: what the genomes are from.
        labels: whether rows end with the counts of Weisfeiler-Lehman labels, see `label_counts`.

    Attributes:
        names: the columns, [d].

    Raises:
        InvalidPredictor: the space does not say what stands in its graphs.
    """

    def __init__(self, space: Space, labels: bool = False) -> None:
        if not hasattr(space, "operators") or not hasattr(space, "graph"):
            raise InvalidPredictor(
                f"features need a space with 'operators' and 'graph', which {space.name!r}, a "
                f"{type(space).__name__}, lacks"
            )
        self.space = space
        self._rows: dict[str, np.ndarray] = {}
        operators = space.operators
        self._labels = labels
        self._kinds = _Kinds({name: kind for kind, name in enumerate([*operators, "output"])})
        self._costs = tells_costs(space)

        # One row for each operator and one for all other nodes, which are joins, the input and the output.
        one = np.eye(len(operators) + 1, len(operators), dtype=np.float32)
        counted = one.sum(axis=1, keepdims=True)
        barred = np.where(one, np.float32(np.inf), np.float32(0))
        # Every column weighs the nodes; its feature is the greatest weight of a path. Shortest: of negated weights.
        self._weights = np.hstack([counted, -counted, one, -one, counted - barred, -counted - barred])
        self._signs = np.repeat([1, -1, 1, -1, 1, -1], [1, 1, *[len(operators)] * 4])

        self._codes = [code for name, choices in operators.items() for code in _codes(name, choices)]
        self._numeric = np.array([code.numeric for code in self._codes], dtype=bool)
        self._owners = np.array([self._kinds[code.operator] for code in self._codes], dtype=np.intp)
        self._codes_of: list[list[tuple[int, _Code]]] = [[] for _ in self._kinds]
        for column, code in enumerate(self._codes):
            self._codes_of[self._kinds[code.operator]].append((column, code))

        self.names: tuple[str, ...] = (
            *(COST_NAMES if self._costs else ()),
            *WHOLE,
            *(f"{operator}.{name}" for name in ALONG for operator in operators),
            *(f"{code.name}.mean" if code.numeric else code.name for code in self._codes),
            *(f"{code.name}.max" for code in self._codes if code.numeric),
            *(f"{LABEL}.{column}" for column in range(COLUMNS if labels else 0)),
        )

    def __reduce__(self) -> Any:
        return Features, (self.space, self._labels)

    def __call__(self, genomes: Sequence[Genome]) -> np.ndarray:
        """The rows of genomes, [n, d] float64."""
        missing = {genome.text: genome for genome in genomes if genome.text not in self._rows}
        new = list(missing.items())
        made: dict[str, np.ndarray] = {}
        for start in range(0, len(new), TOGETHER):
            texts, some = zip(*new[start : start + TOGETHER], strict=True)
            made.update(zip(texts, self._made(some), strict=True))
        rows = np.empty((len(genomes), len(self.names)))
        for place, genome in enumerate(genomes):
            row = made.get(genome.text)
            rows[place] = self._rows[genome.text] if row is None else row
        if len(self._rows) + len(made) > REMEMBERED:
            self._rows.clear()
        self._rows.update(list(made.items())[-REMEMBERED:])
        return rows

    def _made(self, genomes: Sequence[Genome]) -> np.ndarray:
        """The features of genomes in the order of `names`, [n, d]. None depends on the others."""
        graphs = [self.space.graph(genome) for genome in genomes]
        sizes = np.array([len(graph.operators) for graph in graphs])
        whole = union(graphs)
        first = np.cumsum(sizes) - sizes
        owner = np.repeat(np.arange(len(graphs)), sizes)
        kinds = np.array(list(map(self._kinds.__getitem__, whole.operators)))
        paths, greatest, lengths = self._paths(
            whole, kinds, np.arange(len(kinds)) - first[owner], first + sizes - 1
        )
        most = greatest * self._signs
        into = np.bincount(whole.targets, minlength=len(kinds))
        out = np.bincount(whole.sources, minlength=len(kinds))

        # All sums but those of choices are of whole numbers, and so the same in whatever order.
        names = len(self.space.operators)
        place = owner * (names + 1) + kinds
        count, before, entering, leaving = (
            np.bincount(place, weights, len(graphs) * (names + 1)).reshape(-1, names + 1)[:, :names]
            for weights in (None, np.maximum(lengths, 0), into, out)
        )
        present = np.maximum(count, 1)
        reach = np.maximum(most[:, :1], 1)
        chosen, times, starts = self._chosen(whole, kinds, owner)
        operators = count.sum(axis=1)
        columns = [
            np.log2(1 + paths),
            operators,
            sizes - 2 - operators,
            np.add.reduceat(into, first) / sizes,
            np.maximum.reduceat(into, first),
            np.maximum.reduceat(out, first),
            np.where(np.isfinite(most), most, -1),
            count,
            before / reach / present,
            entering / present,
            leaving / present,
            np.add.reduceat(chosen * times, starts) / present[:, self._owners],
            np.maximum.reduceat(chosen, starts)[:, self._numeric],
        ]
        if self._costs:
            costs = [self.space.cost(genome) for genome in genomes]
            told = np.array(
                [[getattr(cost, name) for name in COST_NAMES] for cost in costs], dtype=np.float64
            )
            # Rounded, because equal networks may add up equal costs in another order.
            columns.insert(0, np.log2(1 + told).round(6))
        if self._labels:
            columns.append(label_counts(whole, owner, len(graphs)))
        return np.column_stack(columns)

    def _chosen(
        self, graph: Graph, kinds: np.ndarray, owner: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What nodes chose, [different, choices], how many did, [different, 1], and where the rows of each graph start.

        Most nodes of a graph are copies of a few, which stand in the order in which they come first.
        """
        # Equal operators mostly share one mapping, so that who it is tells what was chosen.
        keys = np.array(list(map(id, graph.choices)), dtype=np.int64) * len(self._codes_of) + kinds
        _, example, place = np.unique(keys, return_index=True, return_inverse=True)
        rows = np.zeros((len(example), len(self._codes)))
        for row, node in zip(rows, example.tolist(), strict=True):
            for column, code in self._codes_of[kinds[node]]:
                row[column] = code.encode(graph.choices[node][code.choice])
        _, node, times = np.unique(owner * len(rows) + place, return_index=True, return_counts=True)
        order = np.argsort(node)
        node, times = node[order], times[order]
        starts = np.flatnonzero(np.diff(owner[node], prepend=-1))
        return rows[place[node]], times[:, None], starts

    def _paths(
        self, graph: Graph, kinds: np.ndarray, position: np.ndarray, outputs: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the paths that lead to each output, their number, [graphs], and the greatest weights, [graphs, weights].

        And how many operators the longest path to each node counts, [nodes].

        Args:
            position: of each node within its graph, 0 for the input; edges lead from a lower to a higher one.
            outputs: the last node of each graph.
        """
        # Nodes are numbered by position, so that all of one position are followed at once, as a slice.
        order = np.argsort(position, kind="stable")
        number = np.empty_like(order)
        number[order] = np.arange(len(order))
        targets = number[graph.targets]
        by_target = np.argsort(targets, kind="stable")
        into = np.bincount(targets, minlength=len(order))
        nth = np.arange(len(targets)) - np.repeat(np.cumsum(into) - into, into)
        # Where a node has fewer edges than others, the rest lead from one more node, to which there is no path.
        sources = np.full((into.max(initial=1), len(order)), len(order), dtype=np.int32)
        sources[nth, targets[by_target]] = number[graph.sources[by_target]]

        own = self._weights[kinds[order]]
        greatest = np.full((len(order) + 1, own.shape[1]), -np.inf, dtype=own.dtype)
        ways = np.zeros(len(order) + 1)
        greatest[: len(outputs)], ways[: len(outputs)] = own[: len(outputs)], 1
        begins = np.flatnonzero(np.diff(position[order], prepend=-1))
        widest = np.maximum.reduceat(into, begins)
        for begin, end, edges in zip(begins[1:], [*begins[2:], len(order)], widest[1:], strict=True):
            reach = greatest[sources[0, begin:end]]
            for source in sources[1:edges, begin:end]:
                np.maximum(reach, greatest[source], out=reach)
            greatest[begin:end] = reach + own[begin:end]
            ways[begin:end] = ways[sources[:edges, begin:end]].sum(axis=0)
        return ways[number[outputs]], greatest[number[outputs]], greatest[number, COUNTED]


class _Kinds(dict[str, int]):
    """The numbers of operators, at whatever width they stand; all other nodes have the last."""

    def __missing__(self, operator: str) -> int:
        name, width, _ = operator.partition("@")
        self[operator] = kind = self[name] if width else self["output"]
        return kind


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
