"""The campaign file: read, validated, frozen, and compared with the one a run folder was started with.

Everything a user writes comes through here, so every error names the key, the value and what is allowed.
Imports neither torch nor ray; pydantic only when something is validated.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from annotated_types import Ge, Gt

from nas.options import call_options, refuse, shown
from nas.types import JSON, Fidelity, InvalidInput, Objective

GROWING = ("budget.trials", "budget.seconds", "workers.count")
"""The keys that may change, to more, when a campaign goes on in its folder; where there are rungs, see `_raised`."""

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

    One of `steps`, `tokens`, `epochs` is set; none, where a user's own function does not care. `confirm` is the number
    of fresh seeds on which the best is trained again at the end. `rungs` are smaller amounts of the same unit,
    ascending, after which multi-fidelity strategies compare trials; each rung of a network is a trial.
    """

    trials: Count
    steps: Count | None = None
    tokens: Count | None = None
    epochs: Count | None = None
    seconds: Annotated[float, Gt(0)] = 600.0
    confirm: Annotated[int, Ge(0)] = 3
    rungs: tuple[Count, ...] | None = None

    @property
    def units(self) -> list[str]:
        """Those of `steps`, `tokens`, `epochs` that are set."""
        return [unit for unit in ("steps", "tokens", "epochs") if getattr(self, unit) is not None]

    @property
    def fidelity(self) -> Fidelity:
        """What one trial spends; 1 where nothing is said."""
        if self.steps is not None:
            return Fidelity(self.steps, "steps")
        if self.tokens is not None:
            return Fidelity(self.tokens, "tokens")
        if self.epochs is not None:
            return Fidelity(self.epochs, "epochs")
        return Fidelity(1)


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
    path = Path(path)
    try:
        return parse(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read as a campaign file: {error.strerror}") from error
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InvalidInput(
            f"{path}: not in UTF-8, as TOML must be: line {line} has the byte {error.object[error.start]:#x}"
        ) from None
    except ValueError as error:  # of TOML
        raise InvalidInput(f"{path}: not valid TOML: {error}") from None


def parse(mapping: Mapping[str, Any]) -> Config:
    """The configuration that `mapping`, laid out like a campaign file, says.

    Raises:
        InvalidInput: a key that is unknown, missing, of a wrong type or out of range.
    """
    if not isinstance(mapping, Mapping):
        refuse("the configuration", mapping, "a table")
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
    """What changes when the campaign of `frozen` goes on as `wanted`: the keys of `GROWING`, to more, and more rungs.

    Raises:
        InvalidInput: anything else differs.
    """
    old, new = _flat(to_dict(frozen), ""), _flat(to_dict(wanted), "")
    differing = [key for key in old | new if old.get(key) != new.get(key)]
    raised = _raised(frozen, wanted)
    refused = [
        key
        for key in differing
        if key not in raised and (key not in GROWING or not _grows(key, old[key], new[key]))
    ]
    if refused:
        shown = [f"'{key}' is {_said(old, key)} there and {_said(new, key)} now" for key in refused[:3]]
        more = f" and {len(refused) - 3} more" if len(refused) > 3 else ""
        deeper = ""
        if any(key.startswith("budget.") and key not in GROWING for key in refused) and frozen.budget.rungs:
            old_full = frozen.budget.fidelity
            kept = [*frozen.budget.rungs, old_full.amount]
            deeper = f", and budget.{old_full.unit} where budget.rungs begin with {kept}"
        raise InvalidInput(
            f"this run folder holds a campaign that differs: {'; '.join(shown)}{more}. "
            f"Only {', '.join(GROWING)} may change, and only to more{deeper}; another --dir starts a new campaign"
        )
    return [Amendment(key, old.get(key), new[key]) for key in differing]


def _raised(frozen: Config, wanted: Config) -> set[str]:
    """The keys by which the full fidelity is raised, where what it was becomes a rung: trials then go on from there.

    Raises:
        InvalidInput: the learning rate of what ran followed a schedule over the fidelity that it was.
    """
    old, new = frozen.budget.fidelity, wanted.budget.fidelity
    rungs, below = frozen.budget.rungs or (), wanted.budget.rungs or ()
    if not rungs or old.unit != new.unit or below[: len(rungs) + 1] != (*rungs, old.amount):
        return set()
    ends = {"warmup": 0, "decay_to": 1}
    hyperparameters = frozen.space.options.get("hyperparameters") or {}
    if any(frozen.recipe.get(key, at) != at or key in hyperparameters for key, at in ends.items()):
        raise InvalidInput(
            f"'budget.{old.unit}' cannot be raised from {old.amount} to {new.amount}, because the learning rate of "
            f"what ran followed a schedule over {old}: only that of a campaign with 'recipe.warmup' = 0 and "
            "'recipe.decay_to' = 1 is the same whatever follows"
        )
    return {f"budget.{old.unit}", *(f"budget.rungs[{place}]" for place in range(len(rungs), len(below)))}


def _config(
    *,
    name: str,
    space: Table,
    task: Table,
    strategy: Table | None = None,
    budget: Table,
    objectives: list[Table],
    seed: Annotated[int, Ge(0)] = 0,
    predictor: Table | None = None,
    recipe: Table | None = None,
    workers: Table | None = None,
) -> Config:
    """Builds the configuration; the signature is the top level of the campaign file."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        refuse("name", name, "letters, digits, '-', '_' and '.', because it names a folder")
    if not objectives:
        refuse("objectives", objectives, "a list of one table or more")
    spent = Budget(**call_options(Budget, budget, "budget"))
    if len(spent.units) > 1 or (spent.rungs and not spent.units):
        refuse_units(spent)
    return Config(
        name=name,
        space=_section(**call_options(_section, space, "space")),
        task=_section(**call_options(_section, task, "task")),
        strategy=_section(**call_options(_section, strategy or {"name": "auto"}, "strategy")),
        budget=spent,
        objectives=_objectives(objectives),
        seed=seed,
        predictor=None if predictor is None else _section(**call_options(_section, predictor, "predictor")),
        recipe=recipe or {},
        workers=Workers(**call_options(Workers, workers or {}, "workers")),
    )


def refuse_units(budget: Budget) -> NoReturn:
    """Says that a budget must name one unit.

    Raises:
        InvalidInput: always.
    """
    raise InvalidInput(
        "exactly one of 'budget.steps', 'budget.tokens', 'budget.epochs' must be given, "
        f"got {' and '.join(budget.units) or 'none'}"
    )


def _section(name: str, **options: Any) -> Section:
    return Section(name, options)


def _objectives(tables: list[Table]) -> tuple[Objective, ...]:
    seen: dict[tuple[str, ...], int] = {}
    objectives = []
    for i, table in enumerate(tables):
        objective = Objective(**call_options(Objective, table, f"objectives[{i}]"))
        # A metric may be both optimised and bounded, and bounded from both sides. A direction that is not said is
        # the task's, which `nas.setup.prepare` fills in.
        limit = () if objective.bound is None else (objective.direction,)
        if (first := seen.setdefault((objective.metric, *limit), i)) != i:
            said = f"'objectives[{i}].metric' is {shown(objective.metric)}, as in 'objectives[{first}]'"
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
        refuse(key, value, "a finite number")
    if isinstance(value, int) and abs(value) > LARGEST:
        refuse(key, value, f"an integer of at most {LARGEST}")
    if not isinstance(value, str | int | float | None):
        refuse(key, value, "a string, number, boolean, list or table")
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
    return shown(flat[key]) if key in flat else "left out"
