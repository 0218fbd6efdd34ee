"""Derivation trees of flow grammars: every node knows the shapes that go in and come out, its size and its costs."""

from __future__ import annotations

import math
from collections import Counter
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from spaces.blame import reason
from spaces.errors import InvalidGrammar
from spaces.flow.terminal import Scope, Shape, Terminal

Term = tuple[str, int]
"""A summand in canonical writing, and how often it is added."""
Item = str | tuple[Term, ...]
"""An operator or a sum of a canonical sequence."""


Price = tuple[float, float, float, float]
"""Parameters, FLOPs, activations and operators, all copies counted: what trees cost and what budgets hold.

FLOPs are of one sample; activations are the elements of all tensors that are made, those of views left out; operators
are terminals but for identities and clones.
"""


class Fit:
    """A terminal at a shape: what comes out, and its price. `scope` is the one that holds after it."""

    __slots__ = ("constant", "numel", "out", "price", "scope", "terminal")

    def __init__(self, terminal: Terminal, shape: Any, out: Shape, scope: Scope) -> None:
        self.terminal, self.out, self.scope = terminal, out, scope
        self.numel = math.prod(out)
        if self.numel < 1:
            raise InvalidGrammar(_no_shape(terminal, shape, out))
        parameters, flops = (0, 0) if terminal.cost is None else cost_of(terminal, shape, out)
        operator = 0 if terminal.neutral and terminal.kind != "join" else 1
        self.price: Price = (parameters, flops, 0 if terminal.view else self.numel, operator)
        self.constant = terminal.constant is not None and terminal.constant(shape)


def cost_of(terminal: Terminal, shape: Any, out: Shape) -> tuple[int, int]:
    """The parameters and FLOPs of a terminal that tells its cost, at a shape.

    Raises:
        InvalidGrammar: its cost fails, or is no pair of numbers that are finite and not negative.
    """
    assert terminal.cost is not None
    try:
        cost = terminal.cost(shape, out)
        valid = isinstance(cost, tuple) and len(cost) == 2 and min(cost) >= 0 and max(cost) < math.inf
    except Exception as error:
        raise InvalidGrammar(
            f"{terminal.kind} {terminal.name!r}: cost fails at {shape}: {reason(error)}"
        ) from error
    if not valid:
        raise InvalidGrammar(
            f"{terminal.kind} {terminal.name!r}: cost gives {cost!r} at {shape}, "
            "but must give a pair of parameters and FLOPs, neither negative"
        )
    return cost


def plus(one: Price, two: Price) -> Price:
    """Both prices."""
    return (one[0] + two[0], one[1] + two[1], one[2] + two[2], one[3] + two[3])


def minus(one: Price, two: Price) -> Price:
    """What is left of the first."""
    return (one[0] - two[0], one[1] - two[1], one[2] - two[2], one[3] - two[3])


def times(price: Price, number: float) -> Price:
    """So many times a price."""
    return (price[0] * number, price[1] * number, price[2] * number, price[3] * number)


def within(price: Price, budget: Price) -> bool:
    """Whether no part of a price is more than the budget has."""
    return price[0] <= budget[0] and price[1] <= budget[1] and price[2] <= budget[2] and price[3] <= budget[3]


def given(terminal: Terminal, shape: Any, scope: Scope) -> Shape | None:
    """The shape that a terminal gives (a join: from the shapes of the branches); None where it does not fit.

    Raises:
        InvalidGrammar: it gives something else, or fails.
    """
    try:
        out = terminal.gives(shape, scope) if terminal.scoped else terminal.gives(shape)
    except Exception as error:
        raise InvalidGrammar(
            f"{terminal.kind} {terminal.name!r}: gives fails at {shape}: {reason(error)}"
        ) from error
    if out is not None and type(out) is not tuple:
        raise InvalidGrammar(_no_shape(terminal, shape, out))
    return out


def _no_shape(terminal: Terminal, shape: Any, out: Any) -> str:
    return (
        f"{terminal.kind} {terminal.name!r}: gives {out!r} at {shape}, but must give a shape, a tuple of positive "
        "integers, or None"
    )


def fit(terminal: Terminal, shape: Any, scope: Scope) -> Fit | None:
    """A terminal at a shape; None where it does not fit."""
    out = given(terminal, shape, scope)
    if out is None:
        return None
    return Fit(terminal, shape, out, scope if terminal.opens is None else terminal.opens(shape))


class Node:
    """A subtree. Never changed once made; mutations share what stays.

    Attributes:
        form: "sequential", "branching", "routing" or "computation".
        terminals: (fork, join), (pre, post), (computation,) or ().
        children: two of a sequential; the different branches of a branching; the inside of a routing.
        scope: the one that holds around it.
        shape, out: what goes in, what comes out.
        size: nodes of the derivation tree, terminals included.
        depth: forms that stand in one another.
        price: of the subtree.
        constant: whether its output does not depend on its input.
    """

    __slots__ = (
        "_items",
        "children",
        "constant",
        "depth",
        "form",
        "out",
        "price",
        "scope",
        "shape",
        "size",
        "terminals",
    )

    def __init__(
        self,
        form: str,
        terminals: tuple[Terminal, ...],
        children: tuple[Node, ...],
        scope: Scope,
        shape: Shape,
        out: Shape,
        size: int,
        depth: int,
        price: Price,
        constant: bool,
    ) -> None:
        self.form, self.terminals, self.children = form, terminals, children
        self.scope, self.shape, self.out = scope, shape, out
        self.size, self.depth, self.price, self.constant = size, depth, price, constant
        self._items: tuple[Item, ...] | None = None

    @property
    def copies(self) -> int:
        """How often each child is built."""
        return self.terminals[0].ways if self.form == "branching" and len(self.children) == 1 else 1

    @property
    def steps(self) -> list[Node]:
        """What stands one after the other: nested sequentials spliced, anything else by itself."""
        if self.form != "sequential":
            return [self]
        return [step for child in self.children for step in child.steps]

    @property
    def text(self) -> str:
        parts: list[str] = []
        _write(self, parts)
        return "".join(parts)

    @property
    def items(self) -> tuple[Item, ...]:
        """The canonical sequence of operators: sequentials and routings spliced, identities gone, sums sorted."""
        if self._items is None:
            self._items = _items(self)
        return self._items

    @property
    def digest(self) -> str:
        return blake2b(rendered(self.items).encode(), digest_size=16).hexdigest()


@lru_cache(maxsize=4096)
def _together(*terminals: Terminal) -> tuple[Terminal, ...]:
    """One tuple for all nodes that have these terminals: what lives long is walked by every garbage collection."""
    return terminals


def leaf(found: Fit, shape: Shape, scope: Scope) -> Node:
    """A computation."""
    terminals = _together(found.terminal)
    return Node("computation", terminals, (), scope, shape, found.out, 2, 1, found.price, found.constant)


def chained(first: Node, second: Node) -> Node:
    """One tree after another."""
    return Node(
        "sequential",
        (),
        (first, second),
        first.scope,
        first.shape,
        second.out,
        1 + first.size + second.size,
        1 + max(first.depth, second.depth),
        plus(first.price, second.price),
        first.constant or second.constant,
    )


def routed(pre: Fit, inner: Node, post: Fit, shape: Shape, scope: Scope) -> Node:
    """A routing around a tree."""
    terminals = _together(pre.terminal, post.terminal)
    price = plus(plus(inner.price, pre.price), post.price)
    return Node(
        "routing",
        terminals,
        (inner,),
        scope,
        shape,
        post.out,
        3 + inner.size,
        1 + inner.depth,
        price,
        inner.constant,
    )


def branched(fork: Fit, branches: tuple[Node, ...], join: Fit, shape: Shape, scope: Scope) -> Node:
    """A branching: of two trees, or of one that is built as many times as the fork has ways."""
    first, last = branches[0], branches[-1]
    size, price = first.size, first.price
    if len(branches) == 1:
        price = times(price, fork.terminal.ways)
    else:
        size, price = size + last.size, plus(price, last.price)
    return Node(
        "branching",
        _together(fork.terminal, join.terminal),
        branches,
        scope,
        shape,
        join.out,
        3 + size,
        1 + max(first.depth, last.depth),
        plus(plus(price, fork.price), join.price),
        first.constant and last.constant,
    )


def _write(node: Node, parts: list[str]) -> None:
    form, children = node.form, node.children
    if form == "computation":
        parts.append(f"computation(op={node.terminals[0].name})")
    elif form == "sequential":
        parts.append("sequential(first=")
        _write(children[0], parts)
        parts.append(", second=")
        _write(children[1], parts)
        parts.append(")")
    elif form == "routing":
        parts.append(f"routing(pre={node.terminals[0].name}, inner=")
        _write(children[0], parts)
        parts.append(f", post={node.terminals[1].name})")
    else:
        parts.append(f"branching(fork={node.terminals[0].name}, branches=[")
        for place, child in enumerate(children):
            if place:
                parts.append(", ")
            _write(child, parts)
        parts.append(f"], join={node.terminals[1].name})")


def _items(node: Node) -> tuple[Item, ...]:
    if node.form == "sequential":
        return node.children[0].items + node.children[1].items
    if node.form == "computation":
        op = node.terminals[0]
        return () if op.neutral else (f"{op.name}()",)
    if node.form == "routing":
        pre, post = node.terminals
        before = () if pre.neutral else (pre.name,)
        after = () if post.neutral else (post.name + (str(node.out) if post.scoped else ""),)
        return (*before, *node.children[0].items, *after)
    fork, join = node.terminals
    if fork.neutral and join.neutral:
        summands: Counter[str] = Counter()
        for term, number in terms(node):
            summands[term] += number
        return (tuple(sorted(summands.items())),)
    branches = "|".join([rendered(child.items) for child in node.children])
    return (f"{fork.name}[{branches}]{join.name}",)


def terms(node: Node) -> list[Term]:
    """The summands of a sum, those of a branch that is nothing but a sum among them."""
    found: list[Term] = []
    for child in node.children:
        items = child.items
        if len(items) == 1 and not isinstance(items[0], str):
            found += [(term, node.copies * number) for term, number in items[0]]
        else:
            found.append((rendered(items), node.copies))
    return found


def rendered(items: tuple[Item, ...]) -> str:
    """A canonical sequence as one string."""
    return " ".join(
        [
            item
            if isinstance(item, str)
            else f"sum[{'|'.join([f'{number}*{term}' for term, number in item])}]"
            for item in items
        ]
    )
