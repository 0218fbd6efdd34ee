"""The campaign file: read, validated, frozen, and compared with the one a run folder was started with.

Everything a user writes comes through here, so every error names the key, the value and what is allowed.
Imports neither torch nor ray; pydantic only when something is validated.
"""

from __future__ import annotations

import importlib
import inspect
import json
import math
import re
import sys
import tomllib
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt

from nas.types import JSON, Fidelity, InvalidInput, Objective
from spaces.errors import nearest

GROWING = ("budget.trials", "budget.seconds", "workers.count")
"""The keys that may change, to more, when a campaign goes on in its folder."""

LARGEST = 2**62
"""The largest integer, since the store's tables hold 64 bits."""

Count = Annotated[int, Ge(1)]
Table = dict[str, Any]


@dataclass(frozen=True)
class Section:
    """A named thing and its own options, which its owner validates with `call_options`."""

    name: str
    options: Table = field(default_factory=dict)


@dataclass(frozen=True)
class Budget:
    """What a campaign may spend: `trials`, and for each one a fidelity and `seconds` of wall time.

    Exactly one of `steps`, `tokens`, `epochs` is set. `confirm` is the number of fresh seeds on which the
    best is trained again at the end.
    """

    trials: Count
    steps: Count | None = None
    tokens: Count | None = None
    epochs: Count | None = None
    seconds: Annotated[float, Gt(0)] = 600.0
    confirm: Annotated[int, Ge(0)] = 3

    @property
    def fidelity(self) -> Fidelity:
        """What one trial spends."""
        if self.steps is not None:
            return Fidelity(self.steps, "steps")
        if self.tokens is not None:
            return Fidelity(self.tokens, "tokens")
        assert self.epochs is not None, "parse lets exactly one of them through"
        return Fidelity(self.epochs, "epochs")


@dataclass(frozen=True)
class Workers:
    """How many workers run trials (0: as many as fit), and the CPUs and GPUs that each one holds."""

    count: Annotated[int, Ge(0)] = 0
    cpus: Annotated[float, Gt(0)] = 1.0
    gpus: Annotated[float, Ge(0)] = 0.0
    engine: Literal["ray", "serial"] = "ray"


@dataclass(frozen=True)
class Config:
    """A whole campaign file, with its defaults filled in."""

    name: str
    space: Section
    task: Section
    strategy: Section
    budget: Budget
    objectives: tuple[Objective, ...]
    seed: int = 0
    predictor: Section | None = None
    recipe: Table = field(default_factory=dict)
    workers: Workers = field(default_factory=Workers)


@dataclass(frozen=True)
class Amendment:
    """A key of a campaign's configuration that was changed to more when the campaign went on."""

    key: str
    old: Any
    new: Any


def load(path: str | Path) -> Config:
    """The campaign file at `path`.

    Raises:
        InvalidInput: no such file, no TOML, or a key that is unknown, missing, of a wrong type or range.
    """
    try:
        return parse(tomllib.loads(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read as a campaign file: {error.strerror}") from error
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from None
    except ValueError as error:  # of TOML, or of UTF-8
        raise InvalidInput(f"{path}: not valid TOML: {error}") from None


def parse(mapping: Mapping[str, Any]) -> Config:
    """The configuration that `mapping`, laid out like a campaign file, says.

    Raises:
        InvalidInput: a key that is unknown, missing, of a wrong type or out of range.
    """
    if not isinstance(mapping, Mapping):
        _refuse("the configuration", mapping, "a table")
    return _config(**call_options(_config, _plain(mapping, ""), where=""))


def to_dict(config: Config) -> JSON:
    """The configuration laid out like a campaign file, as JSON takes it: `parse(to_dict(c)) == c`."""
    named = {"space": config.space, "task": config.task, "strategy": config.strategy}
    if config.predictor is not None:
        named["predictor"] = config.predictor
    return {
        "name": config.name,
        "seed": config.seed,
        **{key: {"name": section.name, **section.options} for key, section in named.items()},
        "recipe": config.recipe,
        "budget": _without_none(config.budget),
        "objectives": [_without_none(objective) for objective in config.objectives],
        "workers": _without_none(config.workers),
    }


def amend(frozen: Config, wanted: Config) -> list[Amendment]:
    """What changes when the campaign of `frozen` goes on as `wanted`: only the keys of `GROWING`, to more.

    Raises:
        InvalidInput: anything else differs.
    """
    old, new = _flat(to_dict(frozen), ""), _flat(to_dict(wanted), "")
    differing = [key for key in old | new if old.get(key) != new.get(key)]
    refused = [key for key in differing if key not in GROWING or not _grows(key, old[key], new[key])]
    if refused:
        shown = [f"'{key}' is {_said(old, key)} there and {_said(new, key)} now" for key in refused[:3]]
        more = f" and {len(refused) - 3} more" if len(refused) > 3 else ""
        raise InvalidInput(
            f"this run folder holds a campaign that differs: {'; '.join(shown)}{more}. "
            f"Only {', '.join(GROWING)} may change, and only to more; another --dir starts a new campaign"
        )
    return [Amendment(key, old[key], new[key]) for key in differing]


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
        InvalidInput: an option that is unknown, missing, of a wrong type or out of range.
    """
    parameters = {
        name: p
        for name, p in inspect.signature(target).parameters.items()
        if name not in given and p.kind not in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL)
    }
    named = {name: p for name, p in parameters.items() if p.kind is not p.VAR_KEYWORD}
    prefix = f"{where}." if where else ""
    for name in options:
        if name not in named and len(named) == len(parameters):
            allowed = [*beside, *named]
            hint, known = suggest(name, allowed, prefix), ", ".join(allowed) or "none"
            raise InvalidInput(f"unknown key '{prefix}{name}', {hint}allowed: {known}")
    resolved = dict(options)
    for name, parameter in named.items():
        if name in options:
            annotation = _evaluate(parameter.annotation, target)
            resolved[name] = _validated(options[name], annotation, f"{prefix}{name}")
        elif parameter.default is not parameter.empty:
            resolved[name] = parameter.default
        else:
            expected = _describe(_evaluate(parameter.annotation, target))
            raise InvalidInput(f"missing key '{prefix}{name}', it must be {expected}")
    return resolved


def resolve(name: str, table: Mapping[str, str], what: str) -> Any:
    """The object that `name` stands for: a short name in `table`, or a user's own "package.module:attribute".

    `table` holds a "package.module:attribute" for each short name; the errors call the thing `what`.

    Raises:
        InvalidInput: an unknown short name, a module that cannot be imported, or an attribute it lacks.
    """
    module_name, colon, attribute = table.get(name, name).partition(":")
    if not colon:
        raise InvalidInput(
            f"unknown {what} '{name}', {suggest(name, table)}allowed: {', '.join(sorted(table))}, "
            "or 'package.module:attribute' for your own"
        )
    if not all(part.isidentifier() for part in [*module_name.split("."), attribute]):
        raise InvalidInput(f"{what} '{name}' is not written like 'package.module:attribute'")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a user's module may raise anything while it is imported
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}."):
            reason = f"no module '{error.name}' is installed, beside the campaign file, or in {Path.cwd()}"
        raise InvalidInput(f"{what} '{name}' cannot be imported: {reason}") from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        public = [key for key in vars(module) if not key.startswith("_")]
        raise InvalidInput(
            f"{what} '{name}': module '{module_name}' has no '{attribute}', {suggest(attribute, public)}"
            f"it is read from {getattr(module, '__file__', None) or 'a namespace package'}"
        ) from None


def importable(folder: str | Path) -> None:
    """Lets `resolve` find a user's own modules in `folder`; behind the installed ones, so it shadows none."""
    entry = str(Path(folder).resolve())
    if entry not in sys.path:
        sys.path.append(entry)
    importlib.invalidate_caches()


def suggest(word: str, allowed: Collection[str], prefix: str = "") -> str:
    """`"did you mean 'x'? "` with the allowed word nearest to a mistyped one, or "" where none is near."""
    near = nearest(word, allowed)
    return f"did you mean '{prefix}{near}'? " if near else ""


def _config(
    name: str,
    space: Table,
    task: Table,
    strategy: Table,
    budget: Table,
    objectives: list[Table],
    seed: Annotated[int, Ge(0)] = 0,
    predictor: Table | None = None,
    recipe: Table | None = None,
    workers: Table | None = None,
) -> Config:
    """Builds the configuration; the signature is the top level of the campaign file."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        _refuse("name", name, "letters, digits, '-', '_' and '.', because it names a folder")
    if not objectives:
        _refuse("objectives", objectives, "a list of one table or more")
    spent = Budget(**call_options(Budget, budget, "budget"))
    units = [unit for unit in ("steps", "tokens", "epochs") if getattr(spent, unit) is not None]
    if len(units) != 1:
        raise InvalidInput(
            "exactly one of 'budget.steps', 'budget.tokens', 'budget.epochs' must be given, "
            f"got {' and '.join(units) or 'none'}"
        )
    return Config(
        name=name,
        space=_section(**call_options(_section, space, "space")),
        task=_section(**call_options(_section, task, "task")),
        strategy=_section(**call_options(_section, strategy, "strategy")),
        budget=spent,
        objectives=_objectives(objectives),
        seed=seed,
        predictor=None if predictor is None else _section(**call_options(_section, predictor, "predictor")),
        recipe=recipe or {},
        workers=Workers(**call_options(Workers, workers or {}, "workers")),
    )


def _section(name: str, **options: Any) -> Section:
    return Section(name, options)


def _objectives(tables: list[Table]) -> tuple[Objective, ...]:
    seen: dict[tuple[str, ...], int] = {}
    objectives = []
    for i, table in enumerate(tables):
        objective = Objective(**call_options(Objective, table, f"objectives[{i}]"))
        # A metric may be both optimised and bounded, and bounded from both sides.
        limit = () if objective.bound is None else (objective.direction,)
        if (first := seen.setdefault((objective.metric, *limit), i)) != i:
            said = f"'objectives[{i}].metric' is {_json(objective.metric)}, as in 'objectives[{first}]'"
            raise InvalidInput(f"{said}: a metric is one objective")
        objectives.append(objective)
    if all(objective.bound is not None for objective in objectives):
        raise InvalidInput("every one of 'objectives' has a bound: one without is needed, to be made better")
    return tuple(objectives)


def _without_none(part: Budget | Objective | Workers) -> Table:
    return {key: value for key, value in asdict(part).items() if value is not None}


def _plain(value: Any, key: str) -> Any:
    """A value as JSON holds it, so that a frozen configuration equals the one it was frozen from."""
    if isinstance(value, Mapping):
        prefix = f"{key}." if key else ""
        return {str(name): _plain(item, f"{prefix}{name}") for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{key}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        _refuse(key, value, "a finite number")
    if isinstance(value, int) and abs(value) > LARGEST:
        _refuse(key, value, f"an integer of at most {LARGEST}")
    if not isinstance(value, str | int | float | None):
        _refuse(key, value, "a string, number, boolean, list or table")
    return value


def _flat(value: Any, key: str) -> dict[str, Any]:
    """Every leaf by its path, e.g. "objectives[0].metric"; an empty table or list says nothing."""
    if isinstance(value, dict):
        items = [(f"{key}.{name}" if key else name, item) for name, item in value.items()]
    elif isinstance(value, list | tuple):
        items = [(f"{key}[{i}]", item) for i, item in enumerate(value)]
    else:
        return {key: value}
    return {path: leaf for name, item in items for path, leaf in _flat(item, name).items()}


def _grows(key: str, old: float, new: float) -> bool:
    """Whether a key of `GROWING` changes to more; 0 workers, as many as fit, may become any number and back."""
    return new > old or (key == "workers.count" and 0 in (old, new))


def _said(flat: Mapping[str, Any], key: str) -> str:
    return _json(flat[key]) if key in flat else "left out"


def _evaluate(annotation: Any, target: Callable[..., Any]) -> Any:
    """The type that an annotation says, also where `from __future__ import annotations` left it a string."""
    if not isinstance(annotation, str):
        return Any if annotation is inspect.Parameter.empty else annotation
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
        _refuse(key, value, _describe(annotation))
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
        return " or ".join(map(_json, arguments))
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


def _refuse(key: str, value: Any, expected: str) -> NoReturn:
    raise InvalidInput(f"'{key}' must be {expected}, got {_json(value)}") from None


def _json(value: Any) -> str:
    """A value as it stands in a campaign file, cut to a readable length."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
