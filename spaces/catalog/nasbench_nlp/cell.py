"""What recurrent cells are: operators on states and on one another, their canonical form, and their texts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from spaces.errors import InvalidGenome, suggest
from spaces.genome import Term, read

if TYPE_CHECKING:
    pass

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


def _spelled(value: Value) -> str:
    return "x" if value == X else f"{value[0]}{value[1]}"


def renumbered(node: Operator, numbers: Sequence[int]) -> Operator:
    """An operator with other numbers of those before."""
    return Operator(node.name, tuple([(k, numbers[n]) if k == "n" else (k, n) for k, n in node.operands]))


def shifted(node: Operator, at: int, by: int) -> Operator:
    """An operator whose operands from a number on are further back."""
    return Operator(
        node.name, tuple([(k, n + by) if k == "n" and n >= at else (k, n) for k, n in node.operands])
    )


def trimmed(cell: RecurrentCell) -> RecurrentCell:
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
    cell = trimmed(cell)
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


def read_cell(text: str) -> RecurrentCell:
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
