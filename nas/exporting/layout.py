"""Python expressions as trees that are written on one line where they fit, else one item a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LINE = 110


@dataclass(frozen=True, slots=True)
class Group:
    """`head`, items, `tail`; with commas between the items, or (in a comprehension) with blanks."""

    head: str
    items: Sequence[Expression]
    tail: str
    commas: bool = True


Expression = str | Group


def prefixed(prefix: str, expression: Expression) -> Expression:
    """The expression with something before it, such as a keyword."""
    if isinstance(expression, str):
        return prefix + expression
    return Group(prefix + expression.head, expression.items, expression.tail, expression.commas)


def render(expression: Expression, indent: int = 0) -> str:
    """The expression as code, its first line after `indent` columns that stand there already."""
    line = _flat(expression)
    if isinstance(expression, str) or indent + len(line) + 1 <= LINE:  # a comma may follow
        return line
    comma = "," if expression.commas else ""
    inside = " " * (indent + 4)
    items = [f"{inside}{render(item, indent + 4)}{comma}" for item in expression.items]
    return "\n".join([expression.head, *items, " " * indent + expression.tail])


def _flat(expression: Expression) -> str:
    if isinstance(expression, str):
        return expression
    between = ", " if expression.commas else " "
    return expression.head + between.join(map(_flat, expression.items)) + expression.tail
