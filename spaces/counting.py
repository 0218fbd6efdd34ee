"""How many genomes a grammar holds."""

from __future__ import annotations

from spaces.engine import Engine
from spaces.grammar import Children


def count(engine: Engine, nodes: int) -> int | None:
    """The exact number of genomes of at most `nodes` nodes, whatever they cost; None where numbers make it infinite.

    Derivations are counted by their number of nodes, smallest first: a production adds one node, so the number of
    trees of n nodes follows from those of fewer.
    """
    states = list(engine.tables)
    if any(table.production.reals for tables in engine.tables.values() for table in tables):
        return None
    number: dict[tuple[str, object], list[int]] = {state: [0] * (nodes + 1) for state in states}
    # Sums over assignments that give their children the same attributes are shared.
    groups = {
        state: [
            (list(table.production.children.values()), at, table.child_at.count(at))
            for table in tables
            for at in dict.fromkeys(table.child_at)
        ]
        for state, tables in engine.tables.items()
    }
    for n in range(1, nodes + 1):
        for state in states:
            total = 0
            for parts, at, ways in groups[state]:
                total += ways * _arrangements(parts, at, n - 1, number)
            number[state][n] = total
    return sum(number[engine.grammar.start, engine.root_at])


def _arrangements(
    parts: list[Children], at: object, nodes: int, number: dict[tuple[str, object], list[int]]
) -> int:
    """In how many ways the fields of children take `nodes` nodes together."""
    ways = [1] + [0] * nodes
    for part in parts:
        one = number[part.nonterminal, at][: nodes + 1]
        power, listed = [1] + [0] * nodes, [0] * (nodes + 1)
        for length in range(min(part.high, nodes) + 1):
            if length:
                power = _product(power, one, nodes)
            if length >= part.low:
                listed = [a + b for a, b in zip(listed, power, strict=True)]
        ways = _product(ways, listed, nodes)
    return ways[nodes]


def _product(a: list[int], b: list[int], degree: int) -> list[int]:
    """The product of two generating functions, up to a degree."""
    result = [0] * (degree + 1)
    for i, x in enumerate(a):
        if x:
            for j in range(min(len(b), degree + 1 - i)):
                if b[j]:
                    result[i + j] += x * b[j]
    return result
