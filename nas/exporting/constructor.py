"""The constructor calls that build a model, written as one nested expression with its repeats as loops.

Which calls those are is not known from any table: the model is built once more while every call is recorded.
So blocks of a user's own are written like ours.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import nn

from nas.exporting.layout import Expression, Group, prefixed
from nas.types import InvalidInput

Calls = dict[nn.Module, tuple[tuple[Any, ...], dict[str, Any]]]
"""The arguments that each module was made with."""


def constructor(
    build: Callable[[], nn.Module], model: nn.Module, names: Mapping[type, str] | None = None
) -> tuple[Expression, list[type]]:
    """The expression that makes a model like this one, and the classes that it names; those of torch.nn as `nn.Linear`.

    Args:
        build: makes such a model; called once, with the random state as it was afterwards.
        model: one that was made before; it tells which classes to watch.
        names: what classes are called that are not called as they were defined.

    Raises:
        InvalidInput: a module is made from something that has no literal form.
    """
    with _recorded(_classes(model)) as calls, torch.random.fork_rng(devices=()):
        made = build()
    used = dict(names or {})
    return _spell(made, calls, used), list(used)


def _classes(model: nn.Module) -> set[type]:
    """The classes of the model's modules and all modules that they inherit."""
    found = {cls for module in model.modules() for cls in type(module).__mro__}
    return {cls for cls in found if issubclass(cls, nn.Module) and cls is not nn.Module}


@contextmanager
def _recorded(classes: set[type]) -> Iterator[Calls]:
    """Notes the arguments of every constructor call of these classes, while it is open."""
    calls: Calls = {}

    def noting(init: Callable[..., None]) -> Callable[..., None]:
        @wraps(init)
        def noted(self: nn.Module, *args: Any, **options: Any) -> None:
            calls.setdefault(self, (args, options))  # the first call is the outermost, that of the subclass
            init(self, *args, **options)

        return noted

    inits = {cls: vars(cls)["__init__"] for cls in classes if "__init__" in vars(cls)}
    try:
        for cls, init in inits.items():
            cls.__init__ = noting(init)  # type: ignore[misc]
        yield calls
    finally:
        for cls, init in inits.items():
            cls.__init__ = init  # type: ignore[misc]


def _spell(value: Any, calls: Calls, used: dict[type, str]) -> Expression:
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return _spell_list([_spell(item, calls, used) for item in value])
    if isinstance(value, nn.Module) and (value in calls or type(value).__init__ is nn.Module.__init__):
        args, options = calls.get(value, ((), {}))
    elif dataclasses.is_dataclass(value):
        args = ()
        options = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    else:
        raise InvalidInput(
            f"the model cannot be written as source: a {type(value).__name__} is passed to one of its blocks, "
            f"which may be made from numbers, strings, lists, dataclasses and other blocks"
        )
    name = type(value).__name__
    name = f"nn.{name}" if getattr(nn, name, None) is type(value) else used.setdefault(type(value), name)
    items = [_spell(item, calls, used) for item in args]
    items += [prefixed(f"{key}=", _spell(item, calls, used)) for key, item in options.items()]
    return Group(f"{name}(", items, ")")


def _spell_list(items: Sequence[Expression]) -> Expression:
    """A list, as a loop where the same items come again and again."""
    count = len(items)
    period = next((p for p in range(1, count) if list(items) == list(items[:p]) * (count // p)), count)
    if period == count or not any(isinstance(item, Group) for item in items):
        return Group("[", items, "]")
    times = f"for _ in range({count // period})"
    if period == 1:
        return Group("[", [items[0], times], "]", commas=False)
    pattern = Group("for layer in (", items[:period], ")")
    return Group("[", ["layer", times, pattern], "]", commas=False)
