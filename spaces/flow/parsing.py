"""From the text of a genome to its tree under a flow grammar, and from a tree to the same one at another shape."""

from __future__ import annotations

from collections.abc import Mapping

from spaces.errors import InvalidGenome, suggest
from spaces.flow.grammar import FORMS, FlowGrammar
from spaces.flow.terminal import Scope, Shape, Terminal
from spaces.flow.tree import Fit, Node, branched, chained, fit, leaf, routed
from spaces.genome import Term, read

FIELDS = {
    "sequential": ("first", "second"),
    "branching": ("fork", "branches", "join"),
    "routing": ("pre", "inner", "post"),
    "computation": ("op",),
}


def parsed(grammar: FlowGrammar, text: str, shape: Shape) -> Node:
    """The tree of a text, whatever it costs; fields may stand in any order.

    Raises:
        InvalidGenome: the grammar does not derive the text from that shape: where, what was found, what is allowed.
    """
    term = read(text)
    if term.name == "computation":
        raise InvalidGenome(
            "the root: 'computation' may not stand alone; allowed: sequential, branching, routing"
        )
    return _derive(grammar, term, shape, None, "")


def _derive(grammar: FlowGrammar, term: Term, shape: Shape, scope: Scope, where: str) -> Node:
    place, prefix = where or "the root", f"{where}." if where else ""
    fields = FIELDS.get(term.name)
    if fields is None:
        raise InvalidGenome(f"{place}: {term.name!r} is no form{suggest(term.name, FORMS)}")
    for key in term.fields:
        if key not in fields:
            raise InvalidGenome(f"{place}: {term.name!r} has no field {key!r}{suggest(key, fields)}")
    for key in fields:
        if key not in term.fields:
            raise InvalidGenome(f"{place}: {term.name!r} lacks its field {key!r}")

    def inside(key: str, at: Shape, around: Scope) -> Node:
        value = term.fields[key]
        if not isinstance(value, Term):
            raise InvalidGenome(f"{prefix}{key}: expected one of the forms {', '.join(FORMS)}")
        return _derive(grammar, value, at, around, prefix + key)

    def terminal(kind: str, key: str, at: object, around: Scope) -> Fit:
        return _fitting(grammar.terminals[kind], kind, term.fields[key], at, around, prefix + key)

    if term.name == "sequential":
        first = inside("first", shape, scope)
        return chained(first, inside("second", first.out, scope))
    if term.name == "computation":
        return leaf(terminal("computation", "op", shape, scope), shape, scope)
    if term.name == "routing":
        pre = terminal("pre", "pre", shape, scope)
        inner = inside("inner", pre.out, pre.scope)
        return routed(pre, inner, terminal("post", "post", inner.out, pre.scope), shape, scope)
    fork = terminal("fork", "fork", shape, scope)
    terms, ways = term.fields["branches"], fork.terminal.ways
    number = 2 if ways == 2 else 1
    if not isinstance(terms, list) or len(terms) != number:
        what = "two branches" if number == 2 else f"one branch, which is built {ways} times,"
        raise InvalidGenome(f"{prefix}branches: {fork.terminal.name!r} takes a list of {what} in [ ]")
    branches = tuple(
        [_derive(grammar, below, fork.out, scope, f"{prefix}branches[{i}]") for i, below in enumerate(terms)]
    )
    outs = tuple([branch.out for branch in branches]) if number == 2 else (branches[0].out,) * ways
    joins = {key: each for key, each in grammar.terminals["join"].items() if each.ways in (1, ways)}
    join = _fitting(joins, f"join of {ways}", term.fields["join"], outs, scope, f"{prefix}join")
    return branched(fork, branches, join, shape, scope)


def _fitting(
    terminals: Mapping[str, Terminal], kind: str, name: object, shape: object, scope: Scope, where: str
) -> Fit:
    if not isinstance(name, str):
        raise InvalidGenome(f"{where}: expected the name of a {kind}{suggest('', terminals)}")
    if name not in terminals:
        raise InvalidGenome(f"{where}: {name!r} is no {kind}{suggest(name, terminals)}")
    found = fit(terminals[name], shape, scope)
    if found is None:
        fits = [other for other, each in terminals.items() if fit(each, shape, scope)]
        what = f"of the branches {shape}" if kind.startswith("join") else f"{shape}"
        raise InvalidGenome(f"{where}: {name!r} does not fit the shape {what}; allowed: {', '.join(fits)}")
    return found


def refitted(node: Node, shape: Shape, scope: Scope) -> Node | None:
    """The same terms from another shape or in another scope; None where one of them does not fit there."""
    if node.shape == shape and node.scope == scope:
        return node
    if node.form == "computation":
        found = fit(node.terminals[0], shape, scope)
        return None if found is None else leaf(found, shape, scope)
    if node.form == "sequential":
        first = refitted(node.children[0], shape, scope)
        second = None if first is None else refitted(node.children[1], first.out, scope)
        return None if first is None or second is None else chained(first, second)
    before = fit(node.terminals[0], shape, scope)
    if before is None:
        return None
    children = []
    for child in node.children:
        new = refitted(child, before.out, before.scope)
        if new is None:
            return None
        children.append(new)
    return closed(node.form, before, tuple(children), node.terminals[1], shape, scope)


def closed(
    form: str, before: Fit, children: tuple[Node, ...], after: Terminal, shape: Shape, scope: Scope
) -> Node | None:
    """A routing or branching of these parts; None where the last of them does not fit."""
    if form == "routing":
        post = fit(after, children[0].out, before.scope)
        return None if post is None else routed(before, children[0], post, shape, scope)
    ways = before.terminal.ways
    if after.ways not in (1, ways):
        return None
    outs = (children[0].out,) * ways if len(children) == 1 else tuple([child.out for child in children])
    join = fit(after, outs, scope)
    return None if join is None else branched(before, children, join, shape, scope)
