"""The tree of the decisions that derived what was measured: it grows by trials, and is valued anew for each ask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

Options = dict[Hashable, Counter[Hashable]]
"""How often the best trials took each option, for each thing to decide."""


class Made(NamedTuple):
    """A decision that was made: what it was about, what it came to, and the place of that."""

    what: Hashable
    option: Hashable
    place: int


@dataclass(slots=True)
class Node:
    """What is known of the genomes that begin with the same decisions: how many there are, and how good."""

    visits: float = 0.0
    merit: float = 0.0
    """Sum over the visits, each between 0, the worst, and 1, the best of the trials."""
    read: Callable[[], dict[int, Node]] = dict
    """Gives the children, which most nodes are never asked for."""
    _children: dict[int, Node] | None = None

    @property
    def children(self) -> dict[int, Node]:
        """By the place of the option that leads to each, in the order in which they were first reached."""
        if self._children is None:
            self._children = self.read()
        return self._children

    @property
    def mean(self) -> float:
        """The mean merit of the visits; half where there were none."""
        return self.merit / self.visits if self.visits else 0.5

    def below(self, place: int) -> Node:
        """The node that an option leads to, which is new where nothing has come there."""
        return self.children.setdefault(place, Node())

    def way(self, made: Iterable[Made]) -> list[Node]:
        """The nodes on the way of these decisions, from this one on."""
        nodes = [self]
        for decision in made:
            nodes.append(nodes[-1].below(decision.place))
        return nodes


class DecisionTree:
    """The ways of the trials that have ended through the decisions that derived them.

    Nodes and options are numbered as they are first met, so that a further trial costs its own way only; what they are
    worth, which every trial changes, is summed over all ways at once, in the order of the trials.
    """

    def __init__(self) -> None:
        self._children: list[dict[int, int]] = [{}]
        self._ways: list[np.ndarray] = []
        self._numbers: dict[tuple[Hashable, Hashable], int] = {}
        self._options: list[tuple[Hashable, Hashable]] = []
        self._taken: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self._ways)

    def add(self, made: Sequence[Made]) -> None:
        """Takes the decisions of the next trial."""
        way, taken = [0], []
        for what, option, place in made:
            children = self._children[way[-1]]
            if place not in children:
                children[place] = len(self._children)
                self._children.append({})
            way.append(children[place])
            number = self._numbers.setdefault((what, option), len(self._options))
            if number == len(self._options):
                self._options.append((what, option))
            taken.append(number)
        self._ways.append(np.array(way, dtype=np.intp))
        self._taken.append(np.array(taken, dtype=np.intp))

    def valued(self, merits: np.ndarray) -> Node:
        """The root, where the trials are of these merits, [n]."""
        if not self._ways:
            return Node()
        ways = np.concatenate(self._ways)
        each = np.repeat(merits, [len(way) for way in self._ways])
        visits, sums = np.bincount(ways), np.bincount(ways, each)
        return self._node(0, visits, sums)

    def _node(self, number: int, visits: np.ndarray, sums: np.ndarray) -> Node:
        below = partial(self._below, number, visits, sums)
        return Node(float(visits[number]), float(sums[number]), below)

    def _below(self, number: int, visits: np.ndarray, sums: np.ndarray) -> dict[int, Node]:
        return {place: self._node(child, visits, sums) for place, child in self._children[number].items()}

    def options(self, trials: Sequence[int]) -> Options:
        """What trials decided, and how often, in the order in which they are given."""
        options: Options = {}
        if trials:
            numbers = np.concatenate([self._taken[trial] for trial in trials])
            found, first, counts = np.unique(numbers, return_index=True, return_counts=True)
            order = np.argsort(first)
            for number, count in zip(found[order].tolist(), counts[order].tolist(), strict=True):
                what, option = self._options[number]
                options.setdefault(what, Counter())[option] = count
        return options
