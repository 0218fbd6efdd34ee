"""The source of classes with everything it needs, gathered from the modules where it is defined into one file.

What stays an import: torch and the standard library. All else is copied: definitions in the order of their
modules, each module's legend (its docstring) above them as a comment.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import symtable
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from graphlib import TopologicalSorter
from itertools import pairwise

from nas.types import InvalidInput

Definition = ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign
Import = tuple[str, str | None]
"""The module that a name is imported from, and what it is there; None: the module itself."""


class Module:
    """A module's definitions and imports by the names that they bind, and its text."""

    def __init__(self, name: str) -> None:
        self.name = name
        try:
            module = importlib.import_module(name)
            source = inspect.getsource(module)
        except (ImportError, OSError, TypeError) as error:
            raise InvalidInput(f"the source of module {name!r} cannot be read: {error}") from error
        self.lines = source.splitlines()
        tree = ast.parse(source)
        self.legend = ast.get_docstring(tree) or ""
        self.definitions: dict[str, str] = {}
        self.imports: dict[str, Import] = {}
        self.classes: set[str] = set()
        for node, following in zip(tree.body, [*tree.body[1:], None], strict=True):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self.imports[alias.asname or alias.name.partition(".")[0]] = (alias.name, None)
            elif isinstance(node, ast.ImportFrom):
                place = "." * node.level + (node.module or "")
                place = importlib.util.resolve_name(place, module.__package__)
                for alias in node.names:
                    self.imports[alias.asname or alias.name] = (place, alias.name)
            elif isinstance(node, Definition):
                text = self._text(node, following)
                self.definitions.update(dict.fromkeys(_bound(node), text))
                if isinstance(node, ast.ClassDef):
                    self.classes.add(node.name)

    def _text(self, node: Definition, following: ast.stmt | None) -> str:
        """A definition with the comments right above it and, of a constant, the docstring below."""
        decorators = getattr(node, "decorator_list", [])
        start, end = min([node.lineno, *(d.lineno for d in decorators)]), node.end_lineno
        while start > 1 and self.lines[start - 2].startswith("#"):
            start -= 1
        if isinstance(node, ast.Assign | ast.AnnAssign) and _is_docstring(following):
            assert following is not None
            end = following.end_lineno
        return "\n".join(self.lines[start - 1 : end])


def inline(
    classes: Iterable[type], imports: Mapping[str, Import], reserved: Iterable[str]
) -> tuple[list[str], str]:
    """The import statements and the definitions that the classes need, in an order in which they run.

    Args:
        classes: what is wanted.
        imports: what the file imports besides.
        reserved: names that the file defines besides.

    Raises:
        InvalidInput: the source of a module is not there; a class stands inside a function or another class;
            two things have one name; something other than torch and the standard library is imported as a
            module or under another name.
    """
    needed: dict[Module, dict[str, str]] = {}
    before: dict[Module, set[Module]] = {}
    imports = dict(imports)
    owner: dict[str, str] = dict.fromkeys(reserved, "the exported file itself")

    def claim(name: str, place: str) -> None:
        if owner.setdefault(name, place) != place:
            raise InvalidInput(f"{name!r} stands for two things, in {owner[name]} and in {place}: rename one")

    def need(module: Module, name: str) -> None:
        if name in module.imports:
            place, original = module.imports[name]
            if _stays(place):
                claim(name, _dotted(place, original))
                imports[name] = (place, original)
            elif original is None or original != name:
                raise InvalidInput(
                    f"module {module.name!r} imports {_dotted(place, original)} as {name!r}, "
                    f"but a block that is exported may only use torch, the standard library, and what it "
                    f"imports by 'from module import name'"
                )
            else:
                target = _module(place)
                before.setdefault(module, set()).add(target)
                need(target, name)
        elif name in module.definitions and name not in needed.setdefault(module, {}):
            claim(name, module.name)
            needed[module][name] = module.definitions[name]
            for used in sorted(_globals(module.definitions[name])):
                need(module, used)

    for name, (place, original) in imports.items():
        claim(name, _dotted(place, original))
    for cls in classes:
        module = _module(cls.__module__)
        if cls.__qualname__ not in module.definitions:
            raise InvalidInput(f"class {cls.__qualname__} must stand at the top of its module, {module.name}")
        need(module, cls.__qualname__)
    order = TopologicalSorter({module: before.get(module, set()) for module in needed}).static_order()
    sections = [_section(module, needed[module]) for module in order if needed.get(module)]
    return _statements(imports), "\n\n\n".join(sections)


@cache
def _module(name: str) -> Module:
    return Module(name)


def _dotted(place: str, original: str | None) -> str:
    return f"{place}.{original}" if original else place


def _stays(module: str) -> bool:
    root = module.partition(".")[0]
    return root == "torch" or root in sys.stdlib_module_names


def _bound(node: Definition) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]


def _is_docstring(node: ast.stmt | None) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _globals(text: str) -> set[str]:
    """The names that a definition takes from its module."""

    def walk(table: symtable.SymbolTable) -> Iterator[symtable.Symbol]:
        yield from (s for s in table.get_symbols() if s.is_global() or table.get_type() == "module")
        for inner in table.get_children():
            yield from walk(inner)

    return {s.get_name() for s in walk(symtable.symtable(text, "definition", "exec")) if s.is_referenced()}


def _section(module: Module, needed: dict[str, str]) -> str:
    """The definitions of one module in its order; under its legend, if there are classes among them."""
    wanted = list(dict.fromkeys(text for name, text in module.definitions.items() if name in needed))
    section = wanted[0]
    for above, below in pairwise(wanted):
        section += ("\n\n\n" if _is_long(above) or _is_long(below) else "\n") + below
    if module.classes & needed.keys():
        legend = "\n".join(f"# {line}".rstrip() for line in module.legend.splitlines())
        section = f"{legend}\n\n\n{section}"
    return section


def _is_long(text: str) -> bool:
    """Whether a definition is a function or class, which stands between two blank lines."""
    return not isinstance(ast.parse(text).body[0], ast.Assign | ast.AnnAssign)


def _statements(imports: Mapping[str, Import]) -> list[str]:
    """Import statements as isort orders them: the standard library, then torch."""
    plain: set[tuple[str, str]] = set()
    members: dict[str, set[str]] = {}
    for name, (place, original) in imports.items():
        if original is None:
            plain.add((place, f"import {place}" + (f" as {name}" if name != place.partition(".")[0] else "")))
        else:
            members.setdefault(place, set()).add(original if original == name else f"{original} as {name}")
    groups = []
    for external in (False, True):
        lines = [line for place, line in sorted(plain) if (place.partition(".")[0] == "torch") == external]
        for place in sorted(members):
            if (place.partition(".")[0] == "torch") == external:
                names = sorted(members[place], key=lambda n: (not n.isupper(), not n[0].isupper(), n))
                lines.append(f"from {place} import {', '.join(names)}")
        groups.append("\n".join(lines))
    return [group for group in groups if group]
