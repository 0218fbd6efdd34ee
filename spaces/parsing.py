"""From the text of a genome to its derivation tree under a grammar."""

from __future__ import annotations

from typing import Any

from spaces.derivation import Node, Table
from spaces.engine import Engine
from spaces.errors import InvalidGenome, suggest
from spaces.fields import spell
from spaces.genome import Term, read


def parsed(engine: Engine, text: str) -> Node:
    """The derivation tree of a text, whatever it costs; fields may stand in any order.

    Raises:
        InvalidGenome: the grammar does not derive the text: where, what was found, what is allowed.
    """
    return _derive(engine, read(text), engine.grammar.start, engine.root_at, "")


def _derive(engine: Engine, term: Term, nonterminal: str, at: Any, where: str) -> Node:
    place = where or "the root"
    tables = {table.production.name: table for table in engine.tables[nonterminal, at]}
    table = tables.get(term.name)
    if table is None:
        raise InvalidGenome(f"{place}: {term.name!r} is no {nonterminal} here{suggest(term.name, tables)}")
    production = table.production
    for key in term.fields:
        if key not in production.fields:
            raise InvalidGenome(
                f"{place}: {term.name!r} has no field {key!r}{suggest(key, production.fields)}"
            )
    for key in production.fields:
        if key not in term.fields:
            raise InvalidGenome(f"{place}: {term.name!r} lacks its field {key!r}")
    prefix = f"{where}." if where else ""
    index = _assignment(table, term, prefix)
    reals = tuple(_number(table, term, key, prefix) for key in production.reals)
    children: list[tuple[Node, ...]] = []
    for key, part in production.children.items():
        value = term.fields[key]
        if part.listed != isinstance(value, list) or isinstance(value, str):
            wanted = "a list of productions in [ ]" if part.listed else "one production"
            raise InvalidGenome(f"{prefix}{key}: expected {wanted}")
        terms = value if isinstance(value, list) else [value]
        if not part.low <= len(terms) <= part.high:
            raise InvalidGenome(
                f"{prefix}{key}: {len(terms)} children, but {part.low} to {part.high} are allowed"
            )
        child_at = table.child_at[index]
        children.append(
            tuple(
                _derive(
                    engine,
                    below,
                    part.nonterminal,
                    child_at,
                    f"{prefix}{key}" + (f"[{i}]" if part.listed else ""),
                )
                for i, below in enumerate(terms)
            )
        )
    return Node(table, index, reals, tuple(children))


def _assignment(table: Table, term: Term, prefix: str) -> int:
    production = table.production
    for key, option in production.choices.items():
        token = term.fields[key]
        if not isinstance(token, str) or token not in option.index:
            found = token if isinstance(token, str) else "a production"
            raise InvalidGenome(f"{prefix}{key}: {found} is not allowed{suggest(str(found), option.index)}")
    tokens = tuple(str(term.fields[key]) for key in production.choices)
    code = tuple(
        option.index[token] for option, token in zip(production.choices.values(), tokens, strict=True)
    )
    index = table.index.get(code)
    if index is None:
        chosen = ", ".join(f"{key}={token}" for key, token in zip(production.choices, tokens, strict=True))
        near = max(table.codes, key=lambda other: sum(a == b for a, b in zip(other, code, strict=True)))
        values = table.assignments[table.index[near]]
        nearest = ", ".join(f"{key}={spell(v)}" for key, v in zip(production.choices, values, strict=True))
        raise InvalidGenome(
            f"{prefix.rstrip('.') or 'the root'}: the guard of {production.name!r} does not allow {chosen} "
            f"under {table.at.as_dict()}; the nearest that it allows: {nearest}"
        )
    return index


def _number(table: Table, term: Term, key: str, prefix: str) -> float:
    rule, token = table.production.reals[key], term.fields[key]
    try:
        value = float(token)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InvalidGenome(f"{prefix}{key}: expected a number, found {token}") from None
    if not rule.low <= value <= rule.high:
        raise InvalidGenome(f"{prefix}{key}: {spell(value)} is not within [{rule.low}, {rule.high}]")
    return value
