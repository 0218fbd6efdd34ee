"""Recurrent cells as those of NAS-Bench-NLP (Klyuchnikov et al. 2020, arXiv 2006.07116), in a language model of layers.

A cell makes new states h0, h1, ... of the token's features x and of its last states: a list of operators, each applied
to states and operators before it, and linear ones to x; h0 is what the layer above is given. Genomes are written

    recurrent_cell(nodes=[linear(a=x, b=h0), activation_tanh(a=n0)], h0=n1)

where n0 is the first operator, or as the benchmark publishes them, {"n0": {"op": "linear", "input": ["x", "h_prev_0"]},
"h_new_0": ...}, in JSON. Equal digests compute equal functions: operators and states that do not reach h0, in no
step, are cut; the others stand in the one order that every writing of the cell has, as do operands that commute.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn

import numpy as np
from annotated_types import Ge

from spaces.blocks.costs import FLOAT_BYTES, Cost
from spaces.errors import InvalidGenome, InvalidSpace, suggest
from spaces.fields import Choice, Real
from spaces.genome import Genome, Term, read, shorten
from spaces.graph import Graph
from spaces.io import IO, TokenIO, tokens
from spaces.mutations import Mutable, Mutation

if TYPE_CHECKING:
    from torch import nn

OPERATORS: Mapping[str, tuple[int, int]] = {
    "linear": (2, 3),
    "activation_tanh": (1, 1),
    "activation_sigm": (1, 1),
    "activation_leaky_relu": (1, 1),
    "elementwise_sum": (2, 2),
    "elementwise_prod": (2, 2),
    "blend": (3, 3),
}
"""The least and the greatest number of operands. A linear operator has a matrix for each, and one bias."""

COMMUTING = ("linear", "elementwise_sum", "elementwise_prod")
OPERANDS = ("a", "b", "c")
STATES = 3
"""The most states that a cell has."""


class Operator(NamedTuple):
    """An operator and its operands: "x", ("h", state) or ("n", place of an operator before it)."""

    name: str
    operands: tuple[Value, ...]


Value = tuple[str, int]
X: Value = ("x", 0)

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


class RecurrentCell:
    """What stands behind a genome: its operators, and the operator that gives each new state. Never changed."""

    def __init__(self, nodes: Sequence[Operator], states: Sequence[int]) -> None:
        self.nodes, self.states = tuple(nodes), tuple(states)

    @property
    def text(self) -> str:
        nodes = ", ".join(
            f"{name}({', '.join(f'{key}={_spelled(value)}' for key, value in zip(OPERANDS, operands, strict=False))})"
            for name, operands in self.nodes
        )
        states = ", ".join(f"h{k}=n{place}" for k, place in enumerate(self.states))
        return f"recurrent_cell(nodes=[{nodes}], {states})"

    @cached_property
    def canonical(self) -> RecurrentCell:
        """The cell of the same function that all its writings have."""
        return _canonical(self)

    @property
    def digest(self) -> str:
        return blake2b(self.canonical.text.encode(), digest_size=16).hexdigest()

    @property
    def live(self) -> tuple[set[int], set[int]]:
        """The operators and states that reach h0, in this step or a later one."""
        nodes: set[int] = set()
        states, front = {0}, [self.states[0]]
        while front:
            place = front.pop()
            if place in nodes:
                continue
            nodes.add(place)
            for kind, number in self.nodes[place].operands:
                if kind == "n":
                    front.append(number)
                elif kind == "h" and number not in states:
                    states.add(number)
                    front.append(self.states[number])
        return nodes, states

    @property
    def reads_input(self) -> bool:
        return any(X in self.nodes[place].operands for place in self.live[0])


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
        return self.recipe(_json(text)) if text.lstrip().startswith("{") else Genome(_read(text))

    def check(self, genome: Genome) -> None:
        """Raises InvalidGenome if the genome is not of this space."""
        _read(genome.text)

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
            genome.remember(_read(genome.text))
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
        from spaces.blocks.recurrent import RecurrentModel

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
        return Genome(_trimmed(RecurrentCell(nodes, ends)))

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
        child = Genome(_trimmed(cell))
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
        behind = partial(_shifted, at=place, by=1)
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
        nodes = [_renumbered(node, numbers) for k, node in enumerate(cell.nodes) if k != place]
        return self._valid(nodes, [numbers[end] for end in cell.states])


def _json(text: str) -> Mapping[str, Any]:
    """A published cell."""
    try:
        recipe = json.loads(text)
        assert all(
            isinstance(node["op"], str) and isinstance(node["input"], list) for node in recipe.values()
        )
    except (ValueError, TypeError, KeyError, AssertionError, AttributeError):
        raise InvalidGenome(
            f"{shorten(text)} is no cell as the benchmark publishes it: {{node: {{'op': ..., 'input': [...]}}}}"
        ) from None
    return recipe


def _spelled(value: Value) -> str:
    return "x" if value == X else f"{value[0]}{value[1]}"


def _renumbered(node: Operator, numbers: Sequence[int]) -> Operator:
    """An operator with other numbers of those before."""
    return Operator(node.name, tuple([(k, numbers[n]) if k == "n" else (k, n) for k, n in node.operands]))


def _shifted(node: Operator, at: int, by: int) -> Operator:
    """An operator whose operands from a number on are further back."""
    return Operator(
        node.name, tuple([(k, n + by) if k == "n" and n >= at else (k, n) for k, n in node.operands])
    )


def _trimmed(cell: RecurrentCell) -> RecurrentCell:
    """A cell without what does not reach its output, in the same order."""
    nodes, states = cell.live
    kept, held = sorted(nodes), sorted(states)
    number = {("n", old): ("n", new) for new, old in enumerate(kept)}
    number |= {("h", old): ("h", new) for new, old in enumerate(held)} | {X: X}
    return RecurrentCell(
        [
            Operator(cell.nodes[k].name, tuple(number[value] for value in cell.nodes[k].operands))
            for k in kept
        ],
        [number["n", cell.states[k]][1] for k in held],
    )


def _canonical(cell: RecurrentCell) -> RecurrentCell:
    """The least writing of a cell among the orders that its colours leave (McKay 1981, Practical graph isomorphism).

    Operators and states are coloured by what they are and by what they take and give; where several are alike, each
    in turn is told apart, and the colours are refined again.
    """
    cell = _trimmed(cell)
    nodes = range(len(cell.nodes))
    items: list[Value] = [*(("n", k) for k in nodes), *(("h", k) for k in range(len(cell.states)))]
    names = [*OPERATORS]
    uses: dict[Value, list[tuple[Value, int]]] = {item: [] for item in [*items, X]}
    for k in nodes:
        name, operands = cell.nodes[k]
        for port, value in enumerate(operands):
            uses[value].append((("n", k), 0 if name in COMMUTING else port))

    def refined(colours: dict[Value, int]) -> dict[Value, int]:
        while True:
            looks: dict[Value, tuple[Any, ...]] = {}
            for item in items:
                kind, k = item
                users = sorted((colours[user], port) for user, port in uses[item])
                if kind == "h":
                    looks[item] = (colours[item], [colours["n", cell.states[k]]], users, [])
                else:
                    taken = [-1 if value == X else colours[value] for value in cell.nodes[k].operands]
                    taken = sorted(taken) if cell.nodes[k].name in COMMUTING else taken
                    ends = sorted(colours["h", h] for h, end in enumerate(cell.states) if end == k)
                    looks[item] = (colours[item], taken, users, ends)
            order = {look: place for place, look in enumerate(sorted(map(repr, looks.values())))}
            new = {item: order[repr(look)] for item, look in looks.items()}
            if len(set(new.values())) == len(set(colours.values())):
                return new
            colours = new

    def least(colours: dict[Value, int]) -> RecurrentCell:
        colours = refined(colours)
        alike: dict[int, list[Value]] = {}
        for item, colour in colours.items():
            alike.setdefault(colour, []).append(item)
        several = [group for _, group in sorted(alike.items()) if len(group) > 1]
        if not several:
            return _ordered(cell, colours)
        told = ({**colours, item: len(items)} for item in several[0])
        return min(map(least, told), key=lambda found: found.text)

    first = {("n", k): names.index(cell.nodes[k].name) for k in nodes}
    first |= {("h", k): len(names) + min(k, 1) for k in range(len(cell.states))}
    return least(first)


def _ordered(cell: RecurrentCell, colours: Mapping[Value, int]) -> RecurrentCell:
    """A cell in the order of its colours, all different, each operator after those that it takes."""
    states = [0, *sorted(range(1, len(cell.states)), key=lambda k: colours["h", k])]
    renamed: dict[Value, Value] = {X: X, **{("h", old): ("h", new) for new, old in enumerate(states)}}
    waiting = sorted(range(len(cell.nodes)), key=lambda k: colours["n", k])
    made: list[Operator] = []
    while waiting:
        place = next(k for k in waiting if all(value in renamed for value in cell.nodes[k].operands))
        waiting.remove(place)
        name, operands = cell.nodes[place]
        taken = [renamed[value] for value in operands]
        made.append(Operator(name, tuple(sorted(taken, reverse=True) if name in COMMUTING else taken)))
        renamed["n", place] = ("n", len(made) - 1)
    return RecurrentCell(made, [renamed["n", cell.states[old]][1] for old in states])


def _read(text: str) -> RecurrentCell:
    """The cell of a text.

    Raises:
        InvalidGenome: where, what was found, what is allowed.
    """
    term = read(text)

    def wrong(place: str, found: object, expected: str) -> NoReturn:
        raise InvalidGenome(f"{place}: found {found}, expected {expected}")

    if term.name != "recurrent_cell":
        wrong("the genome", repr(term.name), "recurrent_cell(nodes=[...], h0=...)")
    fields = dict(term.fields)
    listed = fields.pop("nodes", None)
    if not isinstance(listed, list) or not listed:
        wrong("nodes", listed, "a list of operators")
    states = [f"h{k}" for k in range(len(fields))]
    if list(fields) != states or not 1 <= len(states) <= STATES:
        wrong("states", ", ".join(fields) or "none", f"h0, and up to {STATES - 1} more in order")
    nodes = [_operator(node, place, len(states)) for place, node in enumerate(listed)]
    ends = []
    for key, value in fields.items():
        found = re.fullmatch(r"n(\d+)", value) if isinstance(value, str) else None
        if found is None or int(found[1]) >= len(nodes):
            wrong(key, value, f"an operator from n0 to n{len(nodes) - 1}")
        ends.append(int(found[1]))
    cell = RecurrentCell(nodes, ends)
    if not cell.reads_input:
        raise InvalidGenome(f"h0 of {text} never depends on x, the input")
    return cell


def _operator(node: Term, place: int, states: int) -> Operator:
    """An operator as it is written."""
    here = f"operator n{place}"
    if node.name not in OPERATORS:
        raise InvalidGenome(f"{here}: unknown {node.name!r}{suggest(node.name, OPERATORS)}")
    low, high = OPERATORS[node.name]
    number = len(node.fields)
    if not low <= number <= high or list(node.fields) != list(OPERANDS[:number]):
        raise InvalidGenome(
            f"{here}: {node.name} takes {low if low == high else f'{low} to {high}'} operands, "
            f"{', '.join(OPERANDS[:high])}; found {', '.join(node.fields) or 'none'}"
        )
    operands: list[Value] = []
    for key, value in node.fields.items():
        found = re.fullmatch(r"x|([hn])(\d+)", value) if isinstance(value, str) else None
        known = {"h": states, "n": place}
        if found is None or (int(found[2]) >= known[found[1]] if found[1] else node.name != "linear"):
            x = "x, " if node.name == "linear" else ""
            raise InvalidGenome(
                f"{here}, {key}: found {value}, expected {x}a state below h{states} or an operator before n{place}"
            )
        operands.append((found[1], int(found[2])) if found[1] else X)
    return Operator(node.name, tuple(operands))
