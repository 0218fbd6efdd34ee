"""Genomes: immutable architectures with a text form that parses back and a digest of what they compute.

The text is a term, `stack(layers=[residual(body=swiglu(mult=3))], repeat=2)`: a production, and in brackets
its fields; a field holds a choice, a production or a list of productions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from typing import Protocol

from spaces.errors import InvalidGenome


class Tree(Protocol):
    """What a genome needs of the derivation tree behind it."""

    @property
    def text(self) -> str: ...

    @property
    def digest(self) -> str: ...


class Genome:
    """One architecture of a space. Equality and hash go by `text`; equal networks share a `digest`.

    `text` parses back to an equal genome; `digest` is 32 hexadecimal digits (128 bits) over the canonical
    graph, so that one network written in two ways has one digest. A genome pickles as these two strings.
    """

    __slots__ = ("_digest", "_text", "_tree")

    _text: str | None
    _digest: str | None
    _tree: Tree | None

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._text = None
        self._digest = None

    @classmethod
    def restore(cls, text: str, digest: str) -> Genome:
        """A genome from its text and digest as a space once gave them; the space parses it when it must."""
        genome = cls.__new__(cls)
        genome._tree, genome._text, genome._digest = None, text, digest
        return genome

    @property
    def text(self) -> str:
        """As its space writes it, and parses it."""
        if self._text is None:
            assert self._tree is not None
            self._text = self._tree.text
        return self._text

    @property
    def digest(self) -> str:
        """32 hexadecimal digits, the same for equal networks."""
        if self._digest is None:
            assert self._tree is not None
            self._digest = self._tree.digest
        return self._digest

    @property
    def outline(self) -> str:
        """The text as an indented tree, a production a line; the text itself where it is no term.

        Where the text says `repeat=2`, the outline says ×2; nothing stands for ×1.
        """
        try:
            return "\n".join(_outline(read(self.text)))
        except InvalidGenome:
            return self.text

    @property
    def tree(self) -> Tree | None:
        """The derivation tree, where this process has derived or parsed it."""
        return self._tree

    def remember(self, tree: Tree) -> None:
        """Keeps a tree of the same text, so that it is parsed once."""
        self._tree = tree

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Genome) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Genome({self.text})"

    def __str__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """The outline, for a notebook."""
        return {"text/plain": self.outline, "text/html": f"<pre>{escape(self.outline)}</pre>"}

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return Genome.restore, (self.text, self.digest)


@dataclass(frozen=True, slots=True)
class Term:
    """A production as written: its name, its fields as tokens, terms or lists of terms, and its place."""

    name: str
    fields: dict[str, str | Term | list[Term]]
    position: int

    def __str__(self) -> str:
        """The production as a text that reads the same."""

        def text(value: str | Term | list[Term]) -> str:
            return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)

        return f"{self.name}({', '.join(f'{key}={text(value)}' for key, value in self.fields.items())})"


DEEPEST = 150
"""How many productions may stand in one another in a text."""

_TOKEN = re.compile(
    r"""\s*(?:(?P<name>[A-Za-z_]\w*)|(?P<number>[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+))
    |(?P<string>"(?:[^"\\]|\\.)*")|(?P<mark>[()\[\],=])|(?P<end>$))""",
    re.VERBOSE,
)


def read(text: str) -> Term:
    """Reads the text form, without asking what a grammar allows.

    Raises:
        InvalidGenome: the text is not a term; the message gives the position and what was expected there.
    """
    tokens: list[tuple[str, str, int]] = []
    position = 0
    while True:
        match = _TOKEN.match(text, position)
        if match is None:
            start = position + len(text[position:]) - len(text[position:].lstrip())
            raise InvalidGenome(f"unexpected {text[start]!r} at position {start} of {shorten(text, start)}")
        kind = match.lastgroup
        assert kind is not None
        tokens.append((kind, match.group(kind), match.start(kind)))
        if kind == "end":
            break
        position = match.end()
    reader = _Reader(text, tokens)
    term = reader.term()
    reader.expect("end", "", "the end of the text")
    return term


class _Reader:
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str, tokens: list[tuple[str, str, int]]) -> None:
        self.text, self.tokens, self.next, self.depth = text, tokens, 0, 0

    def expect(self, kind: str, value: str | None, what: str) -> tuple[str, str, int]:
        token = self.tokens[self.next]
        if token[0] != kind or (value is not None and token[1] != value):
            found = "the end of the text" if token[0] == "end" else repr(token[1])
            place = shorten(self.text, token[2])
            raise InvalidGenome(f"expected {what} at position {token[2]}, found {found}, in {place}")
        self.next += 1
        return token

    def at(self, mark: str) -> bool:
        return self.tokens[self.next][1] == mark and self.tokens[self.next][0] == "mark"

    def term(self) -> Term:
        _, name, position = self.expect("name", None, "the name of a production")
        self.expect("mark", "(", f"'(' after {name!r}")
        self.depth += 1
        if self.depth > DEEPEST:
            raise InvalidGenome(
                f"more than {DEEPEST} productions stand in one another, at position {position}"
            )
        fields: dict[str, str | Term | list[Term]] = {}
        while not self.at(")"):
            if fields:
                self.expect("mark", ",", "',' or ')'")
            _, key, place = self.expect("name", None, f"the name of a field of {name!r}")
            if key in fields:
                raise InvalidGenome(f"field {key!r} of {name!r} is given twice, at position {place}")
            self.expect("mark", "=", f"'=' after {key!r}")
            fields[key] = self.value()
        self.next += 1
        self.depth -= 1
        return Term(name, fields, position)

    def value(self) -> str | Term | list[Term]:
        kind, token, position = self.tokens[self.next]
        if self.at("["):
            self.next += 1
            terms: list[Term] = []
            while not self.at("]"):
                if terms:
                    self.expect("mark", ",", "',' or ']'")
                terms.append(self.term())
            self.next += 1
            return terms
        if kind == "name" and self.tokens[self.next + 1][1] == "(":
            return self.term()
        if kind in ("name", "number", "string"):
            self.next += 1
            return token
        found = "the end of the text" if kind == "end" else repr(token)
        raise InvalidGenome(f"expected a value at position {position}, found {found}")


def _outline(term: Term) -> list[str]:
    """The lines of a term: its name and choices, and below it what its fields hold."""
    lines = [_headline(term)]
    children = _children(term)
    for label, child in children:
        mark, rest = ("└─ ", "   ") if child is children[-1][1] else ("├─ ", "│  ")
        first, *others = _outline(child)
        lines += [f"{mark}{label}{first}", *(rest + line for line in others)]
    return lines


def _headline(term: Term) -> str:
    choices = {key: value for key, value in term.fields.items() if isinstance(value, str)}
    repeat = choices.pop("repeat", "1")
    times = "" if repeat == "1" else f" ×{repeat}"
    return f"{term.name}{times}  {' '.join(f'{key}={value}' for key, value in choices.items())}".rstrip()


def _children(term: Term) -> list[tuple[str, Term]]:
    """What the fields of a term hold, labelled where there is more than one such field."""
    fields = {key: value for key, value in term.fields.items() if not isinstance(value, str)}
    children = []
    for key, value in fields.items():
        label = f"{key}: " if len(fields) > 1 else ""
        children += [(label, child) for child in (value if isinstance(value, list) else [value])]
    return children


def shorten(text: str, around: int = 0, width: int = 60) -> str:
    """At most `width` characters of a long text around a position, for messages."""
    start = max(0, min(around - width // 2, len(text) - width))
    cut = text[start : start + width]
    return repr(("..." if start else "") + cut + ("..." if start + width < len(text) else ""))
