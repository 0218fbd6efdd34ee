"""The space of recurrent cells, in the language model that the benchmark trained."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from annotated_types import Ge

from spaces.catalog.nasbench_nlp.cell import (
    COMMUTING,
    OPERATORS,
    STATES,
    Operator,
    RecurrentCell,
    Value,
    X,
    read_cell,
    renumbered,
    shifted,
    trimmed,
)
from spaces.cost import FLOAT_BYTES, Cost
from spaces.errors import InvalidGenome, InvalidSpace, suggest
from spaces.fields import Choice, Real
from spaces.genome import Genome, shorten
from spaces.graph import Graph
from spaces.io import IO, TokenIO, tokens
from spaces.mutations import Mutable, Mutation

if TYPE_CHECKING:
    from torch import nn

NAMED = {
    "rnn": "recurrent_cell(nodes=[linear(a=x, b=h0), activation_tanh(a=n0)], h0=n1)",
    "gru": "recurrent_cell(nodes=[linear(a=x, b=h0), activation_sigm(a=n0), linear(a=x, b=h0), activation_sigm(a=n2), "
    "elementwise_prod(a=n1, b=h0), linear(a=x, b=n4), activation_tanh(a=n5), blend(a=n3, b=h0, c=n6)], h0=n7)",
    "lstm": "recurrent_cell(nodes=[linear(a=x, b=h0), activation_tanh(a=n0), linear(a=x, b=h0), "
    "activation_sigm(a=n2), linear(a=x, b=h0), activation_sigm(a=n4), linear(a=x, b=h0), activation_tanh(a=n6), "
    "elementwise_prod(a=n5, b=h1), elementwise_prod(a=n1, b=n3), elementwise_sum(a=n8, b=n9), "
    "activation_tanh(a=n10), elementwise_prod(a=n11, b=n7)], h0=n12, h1=n10)",
}
"""The hand-made cells of the benchmark, as it has them: its LSTM has a tangent where others have a gate."""


class NASBenchNLP(Mutable):
    """The space of recurrent cells, in a language model whose last layer and embedding share their weights.

    Args:
        io: tokens; `width` is that of the embedding and of the last layer.
        nodes: the most operators that a draw or a mutant has.
        layers: of cells, each with weights of its own.
        hidden: the width of all layers but the last; default: one and a half times that of the embedding.

    Raises:
        InvalidSpace: the input and output are not tokens.
    """

    context = 1
    name = "nasbench_nlp"
    named = tuple(NAMED)
    size = None

    def __init__(
        self,
        io: IO | None = None,
        nodes: Annotated[int, Ge(3)] = 16,
        layers: Annotated[int, Ge(1)] = 3,
        hidden: Annotated[int, Ge(1)] | None = None,
    ) -> None:
        io = tokens() if io is None else io
        if not isinstance(io, TokenIO):
            raise InvalidSpace(f"space 'nasbench_nlp' reads tokens, but it was given {io}")
        for key, value, low in (("nodes", nodes, 3), ("layers", layers, 1), ("hidden", hidden or 1, 1)):
            if type(value) is not int or value < low:
                raise InvalidSpace(f"space 'nasbench_nlp': {key} = {value!r}, but it must be at least {low}")
        self.io: TokenIO = io
        self.nodes, self.layers, self.hidden = nodes, layers, hidden or io.width * 3 // 2
        self._limits = {"nodes": nodes, "layers": layers, "hidden": hidden}
        self.redrawn: Counter[str] = Counter()

    def __reduce__(self) -> tuple[Callable[..., NASBenchNLP], tuple[IO, int, int, int | None]]:
        return NASBenchNLP, (self.io, self.nodes, self.layers, self._limits["hidden"])

    def __repr__(self) -> str:
        return f"NASBenchNLP({self.io})"

    @property
    def operators(self) -> Mapping[str, Mapping[str, Choice | Real]]:
        return {name: {} for name in (*OPERATORS, "state")}

    @property
    def mutations(self) -> Mapping[str, Mutation]:
        return {
            "operator": self._exchange,
            "operand": self._rewire,
            "insert": self._insert,
            "remove": self._remove,
        }

    def at(self, io: IO) -> NASBenchNLP:
        return NASBenchNLP(io, self.nodes, self.layers, self._limits["hidden"])

    # Texts

    def parse(self, text: str) -> Genome:
        """The genome of a text.

        Raises:
            InvalidGenome: the text is no cell: where, what was found, what is allowed.
        """
        return self.recipe(_json(text)) if text.lstrip().startswith("{") else Genome(read_cell(text))

    def check(self, genome: Genome) -> None:
        """Raises InvalidGenome if the genome is not of this space."""
        read_cell(genome.text)

    def architecture(self, name: str) -> Genome:
        """A hand-made cell by name.

        Raises:
            InvalidSpace: the name is unknown.
        """
        if name not in NAMED:
            raise InvalidSpace(f"space {self.name!r} has no architecture {name!r}{suggest(name, NAMED)}")
        return self.parse(NAMED[name])

    def recipe(self, recipe: Mapping[str, Any]) -> Genome:
        """The genome of a cell as the benchmark publishes it: {node: {"op": ..., "input": [...]}}, in any order.

        Raises:
            InvalidGenome: it is no cell.
        """
        places: dict[str, int] = {}
        nodes: list[Operator] = []
        open_: list[str] = []

        def value(name: str) -> Value:
            if name == "x":
                return X
            if found := re.fullmatch(r"h_prev_(\d+)", name):
                return "h", int(found[1])
            if name not in recipe or name in open_:
                raise InvalidGenome(f"{name!r} is neither an input nor a node that comes before")
            if name not in places:
                open_.append(name)
                made = Operator(str(recipe[name]["op"]), tuple(map(value, recipe[name]["input"])))
                open_.pop()
                nodes.append(made)
                places[name] = len(nodes) - 1
            return "n", places[name]

        for name in recipe:
            value(name)
        states = sum(re.fullmatch(r"h_new_\d+", name) is not None for name in recipe)
        try:
            cell = RecurrentCell(nodes, [places[f"h_new_{k}"] for k in range(states)])
        except KeyError as error:
            raise InvalidGenome(f"the cell has {states} new states, but no {error}") from None
        return self.parse(cell.text)

    # Costs and networks

    def _cell(self, genome: Genome) -> RecurrentCell:
        if not isinstance(genome.tree, RecurrentCell):
            genome.remember(read_cell(genome.text))
        assert isinstance(genome.tree, RecurrentCell)
        return genome.tree

    @property
    def widths(self) -> list[tuple[int, int]]:
        """The width of the input and of the states of each layer."""
        ends = [self.io.width, *[self.hidden] * (self.layers - 1), self.io.width]
        return [*pairwise(ends)]

    def cost(self, genome: Genome, context: int | None = None) -> Cost:
        """What the whole model costs as the benchmark trained it, operators that do not count included."""
        cell, vocab, width = self._cell(genome), self.io.vocab, self.io.width
        matrices = biases = 0
        for inputs, hidden in self.widths:
            for name, operands in cell.nodes:
                if name == "linear":
                    matrices += sum(hidden * (inputs if value == X else hidden) for value in operands)
                    biases += hidden
        parameters = vocab * width + vocab + matrices + biases
        states = sum(hidden for _, hidden in self.widths) * len(cell.states)
        return Cost(parameters, parameters, 2 * (matrices + vocab * width), FLOAT_BYTES * states)

    def build(self, genome: Genome) -> nn.Module:
        from spaces.networks.recurrent import RecurrentModel

        cell = self._cell(genome)
        return RecurrentModel(cell.nodes, cell.states, self.io.vocab, self.widths)

    def graph(self, genome: Genome) -> Graph:
        """The canonical cell: last states are operators that follow the input, new ones lead to the output."""
        cell = self._cell(genome).canonical
        first = 1 + len(cell.states)
        edges = [(0, 1 + k, 0) for k in range(len(cell.states))]
        number = {"x": lambda k: 0, "h": lambda k: 1 + k, "n": lambda k: first + k}
        for place, (name, operands) in enumerate(cell.nodes):
            for port, (kind, k) in enumerate(operands):
                edges.append((number[kind](k), first + place, 0 if name in COMMUTING else port))
        end = first + len(cell.nodes)
        edges += [(first + place, end, k) for k, place in enumerate(cell.states)]
        names = ("input", *["state"] * len(cell.states), *(name for name, _ in cell.nodes), "output")
        sources, targets, ports = np.array(edges, dtype=np.int32).T
        return Graph(names, ({},) * len(names), sources, targets, ports)

    # Draws

    def sample(self, rng: np.random.Generator, size: int | None = None) -> Genome:
        """A random cell of 2 to `size` operators (default: `nodes`), each number equally likely.

        Each operator's first operand is the one before it, so that all count; the others are drawn evenly among the
        token, the states and all operators before. States that no operator reads are left out.
        """
        number = int(rng.integers(2, max(2, min(size or self.nodes, self.nodes)) + 1))
        states = int(rng.integers(1, STATES + 1))
        nodes = [Operator("linear", (X, ("h", 0)))]
        while len(nodes) < number:
            name = [*OPERATORS][int(rng.integers(len(OPERATORS)))]
            rest = int(rng.integers(*OPERATORS[name], endpoint=True)) - 1
            others = [self._drawn(rng, name, len(nodes), states) for _ in range(rest)]
            nodes.append(Operator(name, (("n", len(nodes) - 1), *others)))
        ends = [number - 1, *(int(rng.integers(number)) for _ in range(states - 1))]
        return Genome(trimmed(RecurrentCell(nodes, ends)))

    @staticmethod
    def _drawn(rng: np.random.Generator, name: str, before: int, states: int) -> Value:
        """A state, one of the operators before, or for linear ones the token, all equally likely."""
        place = int(rng.integers(states + before + (name == "linear")))
        return ("n", place) if place < before else ("h", place - before) if place < before + states else X

    def crossover(self, a: Genome, b: Genome, rng: np.random.Generator) -> Genome | None:
        """The operators of one parent behind some of the other; None where that is the first parent's network."""
        one, other = self._cell(a), self._cell(b)
        cut = int(rng.integers(1, len(one.nodes) + 1))
        states = len(one.states)
        nodes = list(one.nodes[:cut])
        for name, operands in other.nodes[cut : self.nodes]:
            kept = tuple(value if value[0] != "h" or value[1] < states else ("h", 0) for value in operands)
            nodes.append(Operator(name, kept))
        ends = [len(nodes) - 1, *(min(place, len(nodes) - 1) for place in one.states[1:])]
        return self._valid(nodes, ends, a)

    @staticmethod
    def _valid(
        nodes: Sequence[Operator], states: Sequence[int], parent: Genome | None = None
    ) -> Genome | None:
        """The genome of a cell, if it reads its input; None too where that is the parent's network."""
        cell = RecurrentCell(nodes, states)
        if not cell.reads_input:
            return None
        child = Genome(trimmed(cell))
        return None if parent is not None and child.digest == parent.digest else child

    def _exchange(self, genome: Genome, rng: np.random.Generator) -> Genome | None:
        """Another operator in place of one; operands are left out or drawn as it takes fewer or more."""
        cell = self._cell(genome)
        place = int(rng.integers(len(cell.nodes)))
        old = cell.nodes[place]
        name = [each for each in OPERATORS if each != old.name][int(rng.integers(len(OPERATORS) - 1))]
        low, high = OPERATORS[name]
        operands = [value for value in old.operands if value != X or name == "linear"][:high]
        while len(operands) < low:
            operands.append(self._drawn(rng, name, place, len(cell.states)))
        nodes = [*cell.nodes[:place], Operator(name, tuple(operands)), *cell.nodes[place + 1 :]]
        return self._valid(nodes, cell.states)

    def _rewire(self, genome: Genome, rng: np.random.Generator) -> Genome | None:
        """Another operand in place of one, or another operator as the source of a state."""
        cell = self._cell(genome)
        place = int(rng.integers(len(cell.nodes) + len(cell.states)))
        if place >= len(cell.nodes):
            states = list(cell.states)
            states[place - len(cell.nodes)] = int(rng.integers(len(cell.nodes)))
            return self._valid(cell.nodes, states)
        name, operands = cell.nodes[place]
        k = int(rng.integers(len(operands)))
        drawn = self._drawn(rng, name, place, len(cell.states))
        new = Operator(name, (*operands[:k], drawn, *operands[k + 1 :]))
        return self._valid([*cell.nodes[:place], new, *cell.nodes[place + 1 :]], cell.states)

    def _insert(self, genome: Genome, rng: np.random.Generator) -> Genome | None:
        """A new operator behind one, whose users take the new one."""
        cell = self._cell(genome)
        if len(cell.nodes) >= self.nodes:
            return None
        place = int(rng.integers(len(cell.nodes)))
        name = [*OPERATORS][int(rng.integers(len(OPERATORS)))]
        rest = int(rng.integers(*OPERATORS[name], endpoint=True)) - 1
        others = [self._drawn(rng, name, place + 1, len(cell.states)) for _ in range(rest)]
        new = Operator(name, (("n", place), *others))
        behind = partial(shifted, at=place, by=1)
        nodes = [*cell.nodes[: place + 1], new, *map(behind, cell.nodes[place + 1 :])]
        return self._valid(nodes, [end + (end >= place) for end in cell.states])

    def _remove(self, genome: Genome, rng: np.random.Generator) -> Genome | None:
        """One operator less, whose users take one of its operands that is an operator."""
        cell = self._cell(genome)
        places = [
            place for place, node in enumerate(cell.nodes) if any(kind == "n" for kind, _ in node.operands)
        ]
        if not places:
            return None
        place = places[int(rng.integers(len(places)))]
        known = [number for kind, number in cell.nodes[place].operands if kind == "n"]
        stand_in = known[int(rng.integers(len(known)))]
        numbers = [stand_in if k == place else k - (k > place) for k in range(len(cell.nodes))]
        nodes = [renumbered(node, numbers) for k, node in enumerate(cell.nodes) if k != place]
        return self._valid(nodes, [numbers[end] for end in cell.states])


def _json(text: str) -> Mapping[str, Any]:
    """A published cell."""
    try:
        recipe = json.loads(text)
        published = all(
            isinstance(node["op"], str) and isinstance(node["input"], list) for node in recipe.values()
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        published = False
    if not published:
        raise InvalidGenome(
            f"{shorten(text)} is no cell as the benchmark publishes it: {{node: {{'op': ..., 'input': [...]}}}}"
        )
    return recipe
