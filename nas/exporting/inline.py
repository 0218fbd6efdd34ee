"""The source of classes with everything it needs, gathered from the modules where it is defined into one file.

What stays an import: torch and the standard library. All else is copied: definitions in the order of their
modules, each module's legend (its docstring) above them as a comment.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.util
import inspect
import symtable
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Inlined:
    """Import statements, the definitions in an order in which they run, and what a class is called among them."""

    imports: list[str]
    definitions: str
    names: Mapping[type, str]


def inline(classes: Iterable[type], imports: Mapping[str, Import], reserved: Iterable[str]) -> Inlined:
    """What the classes need. Of two definitions with one name the user's has its module's name added.

    Args:
        classes: what is wanted.
        imports: what the file imports besides.
        reserved: names that the file defines besides.

    Raises:
        InvalidInput: the source of a module is not there; a class stands inside a function or another class; a name
            is imported from two places; something other than torch and the standard library is imported as a module
            or under another name; a name that would be changed is that of a variable, too.
    """
    needed: dict[Module, dict[str, str]] = {}
    before: dict[Module, set[Module]] = {}
    imports = dict(imports)

    def need(module: Module, name: str) -> None:
        if name in module.imports:
            place, original = module.imports[name]
            if _stays(place):
                if imports.setdefault(name, (place, original)) != (place, original):
                    found = _dotted(*imports[name])
                    raise InvalidInput(
                        f"{name!r} stands for two things, {found} and {_dotted(place, original)} in {module.name}: "
                        "import one under another name"
                    )
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
            needed[module][name] = module.definitions[name]
            for used in sorted(_globals(module.definitions[name])):
                need(module, used)

    wanted = [(cls, _module(cls.__module__)) for cls in classes]
    for cls, module in wanted:
        if cls.__qualname__ not in module.definitions:
            raise InvalidInput(f"class {cls.__qualname__} must stand at the top of its module, {module.name}")
        need(module, cls.__qualname__)
    names = _names(needed, {*imports, *reserved, *dir(builtins)})
    order = TopologicalSorter({module: before.get(module, set()) for module in needed}).static_order()
    sections = [_section(module, needed[module], names) for module in order if needed.get(module)]
    called = {cls: names[module, cls.__qualname__] for cls, module in wanted}
    return Inlined(_statements(imports), "\n\n\n".join(sections), called)


def _names(needed: Mapping[Module, Iterable[str]], taken: set[str]) -> dict[tuple[Module, str], str]:
    """What each definition is called in the file: as in its module, ours first, unless that name is taken."""
    names: dict[tuple[Module, str], str] = {}
    for module in sorted(needed, key=lambda module: not module.name.startswith("spaces.")):
        for name in needed[module]:
            new = name
            while new in taken:
                new = f"{new}_{module.name.rpartition('.')[2]}"
            taken.add(new)
            names[module, name] = new
    return names


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
    return {
        symbol.get_name()
        for table, symbol in _symbols(text)
        if (symbol.is_global() or table.get_type() == "module") and symbol.is_referenced()
    }


def _locals(text: str) -> set[str]:
    """The names of variables inside a definition."""
    return {
        symbol.get_name()
        for table, symbol in _symbols(text)
        if table.get_type() != "module" and not symbol.is_global()
    }


def _symbols(text: str) -> Iterator[tuple[symtable.SymbolTable, symtable.Symbol]]:
    def walk(table: symtable.SymbolTable) -> Iterator[tuple[symtable.SymbolTable, symtable.Symbol]]:
        yield from ((table, symbol) for symbol in table.get_symbols())
        for inner in table.get_children():
            yield from walk(inner)

    return walk(symtable.symtable(text, "definition", "exec"))


def _home(module: Module, name: str) -> tuple[Module, str]:
    """The module in which a name of this one is defined."""
    while name in module.imports and not _stays(module.imports[name][0]):
        module = _module(module.imports[name][0])
    return module, name


def _renamed(module: Module, text: str, names: Mapping[tuple[Module, str], str]) -> str:
    """A definition with the names by which the file calls what it takes from its module, and itself.

    Raises:
        InvalidInput: such a name is that of a variable, too, or stands where it is not found.
    """
    tree = ast.parse(text)
    bound = _bound(tree.body[0])  # type: ignore[arg-type]
    new = {name: names.get(_home(module, name), name) for name in {*_globals(text), *bound}}
    new = {name: other for name, other in new.items() if other != name}
    if not new:
        return text
    clash = InvalidInput(
        f"{', '.join(map(repr, new))} of {module.name} would be exported as {', '.join(new.values())}, as the exported "
        f"file has another of that name, but it is the name of a variable, too, or in a string: rename it"
    )
    if new.keys() & _locals(text):
        raise clash
    spots = [
        (n.lineno, n.col_offset, n.id) for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id in new
    ]
    lines = [line.encode() for line in text.split("\n")]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in new:
            spots.append((node.lineno, lines[node.lineno - 1].index(b" ") + 1, node.name))
    for row, column, name in sorted(spots, reverse=True):
        line, old = lines[row - 1], name.encode()
        if line[column : column + len(old)] != old:
            raise clash
        lines[row - 1] = line[:column] + new[name].encode() + line[column + len(old) :]
    return "\n".join(line.decode() for line in lines)


def _section(module: Module, needed: Iterable[str], names: Mapping[tuple[Module, str], str]) -> str:
    """The definitions of one module in its order; under its legend, if there are classes among them."""
    texts = dict.fromkeys(text for name, text in module.definitions.items() if name in needed)
    wanted = [_renamed(module, text, names) for text in texts]
    section = wanted[0]
    for above, below in pairwise(wanted):
        section += ("\n\n\n" if _is_long(above) or _is_long(below) else "\n") + below
    if module.classes.intersection(needed):
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
