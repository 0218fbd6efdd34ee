"""Options of a user's, checked by the annotations of what they are for.

The class or function is the one place where an option is declared, described and given its default; here it is
read. Pydantic is imported when something is validated.
"""

from __future__ import annotations

import inspect
import json
import sys
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt

from nas.types import InvalidInput
from spaces.errors import suggest


def call_options(
    target: Callable[..., Any],
    options: Mapping[str, Any],
    where: str,
    given: Collection[str] = (),
    beside: Collection[str] = (),
) -> dict[str, Any]:
    """The keyword arguments for `target` that `options` say, checked by its annotations, defaults filled in.

    Values are plain data, as TOML and JSON hold them, and are not converted: "3" and true are no integers,
    but an integer is a number, and a list becomes a tuple or set where one is annotated.

    `where` is the section that the options stand in, for the errors; `given` names the parameters of `target`
    that the caller passes itself, so that users may not; `beside` names keys of the section that the caller
    has taken out and the errors should tell of.

    Raises:
        InvalidInput: an option that is unknown, missing, of a wrong type or out of range; a target that cannot be
            called.
    """
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):  # not to be called, or a builtin that does not say how
        refuse(f"{where}.name", target, "the place of a class or function")
    parameters = {
        name: p
        for name, p in signature.parameters.items()
        if name not in given and p.kind not in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL)
    }
    named = {name: p for name, p in parameters.items() if p.kind is not p.VAR_KEYWORD}
    prefix = f"{where}." if where else ""
    for name in options:
        if name not in named and len(named) == len(parameters):
            allowed = [*beside, *named]
            raise InvalidInput(f"unknown key '{prefix}{name}'{suggest(name, allowed, prefix)}")
    resolved = dict(options)
    for name, parameter in named.items():
        if name in options:
            annotation = _evaluate(parameter.annotation, target)
            resolved[name] = _validated(options[name], annotation, f"{prefix}{name}")
        elif parameter.default is not parameter.empty:
            resolved[name] = parameter.default
        else:
            annotation = _evaluate(parameter.annotation, target)
            expected = "" if annotation is Any else f", it must be {_describe(annotation)}"
            raise InvalidInput(f"missing key '{prefix}{name}'{expected}")
    return resolved


def refuse(key: str, value: Any, expected: str) -> NoReturn:
    """Says what a key must be, and what it is.

    Raises:
        InvalidInput: always.
    """
    raise InvalidInput(f"'{key}' must be {expected}, got {shown(value)}") from None


def shown(value: Any) -> str:
    """A value as it stands in a campaign file, cut to a readable length."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _evaluate(annotation: Any, target: Callable[..., Any]) -> Any:
    """The type that an annotation says, also where `from __future__ import annotations` left it a string."""
    if not isinstance(annotation, str):
        return Any if annotation is inspect.Parameter.empty else annotation
    if isinstance(target, partial):
        target = target.func
    names: dict[str, Any] = {}
    # A dataclass has parameters from the modules of all its bases.
    for owner in reversed(target.__mro__) if isinstance(target, type) else [target]:
        names |= vars(sys.modules[owner.__module__])
    try:
        return eval(annotation, names)
    except NameError as error:
        hint = "the types of options must be imported at run time"
        raise InvalidInput(f"the options of '{target.__name__}' cannot be read: {error}; {hint}") from error


def _validated(value: Any, annotation: Any, key: str) -> Any:
    if annotation is Any:
        return value
    from pydantic import PydanticUserError, TypeAdapter, ValidationError

    try:
        # Through JSON, because strict validation of Python values refuses a list for a tuple.
        return TypeAdapter(annotation).validate_json(json.dumps(value), strict=True)
    except (ValidationError, TypeError):
        refuse(key, value, _describe(annotation))
    except PydanticUserError:
        raise InvalidInput(f"'{key}' cannot be set here: it takes a {_describe(annotation)} object") from None


def _describe(annotation: Any) -> str:
    """An annotation in words, e.g. "an integer >= 1". None goes unsaid: a key is left out instead."""
    words = {int: "an integer", float: "a number", str: "a string", bool: "true or false", dict: "a table"}
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _describe(arguments[0]) + " and".join(map(_limit, arguments[1:]))
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(argument) for argument in arguments if argument is not types.NoneType)
    if origin is Literal:
        return " or ".join(map(shown, arguments))
    if origin is tuple and arguments[-1] is not Ellipsis:
        return f"a list of {len(arguments)}: {', '.join(map(_describe, arguments))}"
    if origin in (list, tuple, Sequence, set, frozenset):
        return f"a list, each item {_describe(arguments[0])}"
    return words.get(origin or annotation) or str(getattr(annotation, "__name__", annotation))


def _limit(limit: Any) -> str:
    for kind, attribute, sign in ((Ge, "ge", ">="), (Gt, "gt", ">"), (Le, "le", "<="), (Lt, "lt", "<")):
        if isinstance(limit, kind):
            return f" {sign} {getattr(limit, attribute)}"
    return f" with {limit}"
