"""Names that stand for things: short ones from a table, or a user's own "package.module:attribute"."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spaces.blame import reason
from spaces.errors import InvalidGenome, nearest, suggest


def resolve(name: str, table: Mapping[str, str], what: str, refusal: type[Exception]) -> Any:
    """The object that `name` stands for.

    Args:
        table: a "package.module:attribute" for each short name.
        what: what messages call the thing, such as "space".
        refusal: the exception of the caller's package.

    Raises:
        refusal: no string, an unknown short name, a module that cannot be imported, or an attribute that it lacks.
    """
    if not isinstance(name, str):
        raise refusal(f"a {what} is asked for by its name, a string, not by {name!r}")
    module_name, colon, attribute = table.get(name, name).partition(":")
    if not colon:
        raise refusal(
            f"unknown {what} {name!r}{suggest(name, table)}, or 'package.module:attribute' for your own"
        )
    if not all(part.isidentifier() for part in [*module_name.split("."), attribute]):
        raise refusal(f"{what} {name!r} is not written like 'package.module:attribute'")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a user's module may raise anything while it is imported
        why = reason(error)
        if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}."):
            why = f"no module {error.name!r} is installed, in {Path.cwd()}, or beside the file that names it"
        raise refusal(f"{what} {name!r} cannot be imported: {why}") from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        near = nearest(attribute, [key for key in vars(module) if not key.startswith("_")])
        hint = f"did you mean {near!r}? it" if near else "it"
        place = getattr(module, "__file__", None) or "a namespace package"
        raise refusal(
            f"{what} {name!r}: module {module_name!r} has no {attribute!r}, {hint} is read from {place}"
        ) from None


def find_genome(space: Any, given: str) -> Any:
    """A genome from its text, or a known model from its name.

    Raises:
        InvalidGenome: it is no genome of the space.
        InvalidSpace: it is nearly the name of a known model, or the model does not fit.
    """
    if given in space.named:
        return space.architecture(given)
    try:
        return space.parse(given)
    except InvalidGenome:
        if nearest(given, space.named):
            return space.architecture(given)  # a name, mistyped
        raise


def importable(folder: str | Path) -> None:
    """Lets `resolve` find a user's own modules in `folder`; behind the installed ones, so it shadows none."""
    entry = str(Path(folder).resolve())
    if entry not in sys.path:
        sys.path.append(entry)
    importlib.invalidate_caches()
