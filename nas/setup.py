"""From a campaign file to what runs: every name resolved and every option validated before any work starts."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, get_args

from annotated_types import Ge

import nas.search as search
import predictors
import spaces
from nas.config import Config, Section, load, parse, to_dict
from nas.options import call_options, shown
from nas.store import RunDir
from nas.types import (
    Direction,
    Engine,
    Evaluator,
    InvalidInput,
    Objective,
    OnReport,
    Strategy,
)
from nas.user_code import demand, made, named, user_modules
from spaces import IO, Space, suggest
from spaces.cost import COST_NAMES
from spaces.lookup import importable
from spaces.protocol import tells_costs

PATHS = {"text": "stdlib", "images": "digits"}
"""The options of tasks that are paths, beside what each may say besides."""


@dataclass(frozen=True)
class Setup:
    """A configuration with every default filled in, and what it names: checked before any work starts."""

    config: Config
    space: Space
    evaluator: Evaluator
    strategy: Strategy
    data: str = ""
    """The fingerprint of the task's data."""
    tells_costs: bool = True
    """Whether the space says what its genomes cost."""
    metrics: Mapping[str, Direction] = field(default_factory=dict)
    """What the task measures, and which way it is better."""
    units: Mapping[str, str] = field(default_factory=dict)
    """What of that is told in which unit."""


def configure(
    campaign: str | Path | Mapping[str, Any] | Config,
    *,
    workers: int | None = None,
    engine: str | None = None,
) -> Config:
    """The configuration of a campaign file, or of its contents, with what the caller changes.

    The file's folder becomes importable, and a relative path of its task is looked for in it.

    Raises:
        InvalidInput: the file or a change is not valid.
    """
    if isinstance(campaign, Config):
        config = campaign
    elif isinstance(campaign, Mapping):
        config = parse(campaign)
    else:
        folder = Path(campaign).resolve().parent
        config = _beside(load(campaign), folder)
        importable(folder)
    importable(Path.cwd())
    changes = {key: value for key, value in (("count", workers), ("engine", engine)) if value is not None}
    if changes:
        plain = to_dict(config)
        config = parse({**plain, "workers": {**plain["workers"], **changes}})
    if config.workers.engine == "serial" and config.workers.count > 1:
        raise InvalidInput(
            f"'workers.count' is {config.workers.count}, but 'workers.engine' is \"serial\", which runs one trial at a "
            'time: take 1, or engine = "ray"'
        )
    return config


def _beside(config: Config, folder: Path) -> Config:
    """The configuration with paths that start at the campaign file's folder; refuses modules of another folder.

    Raises:
        InvalidInput: a module of the same name as one beside the file was imported from elsewhere before.
    """
    for key, built_in in PATHS.items():
        path = config.task.options.get(key)
        if isinstance(path, str) and path.strip() and path != built_in and not path.startswith("~"):
            options = {**config.task.options, key: str(folder / path)}
            config = dataclasses.replace(config, task=Section(config.task.name, options))
    for name in named(config):
        top = name.partition(":")[0].partition(".")[0]
        places = [path for path in (folder / f"{top}.py", folder / top / "__init__.py") if path.exists()]
        loaded = getattr(sys.modules.get(top), "__file__", None)
        if ":" in name and places and loaded and Path(loaded).resolve() != places[0]:
            raise InvalidInput(
                f"{name!r} is in {places[0]}, but this process has imported {top!r} from {loaded}: rename one of them, "
                "or start another process"
            )
    return config


def prepare(config: Config, folder: str | Path | None = None) -> Setup:
    """Resolves every name and validates every option of a campaign, and reads the task's data.

    Args:
        folder: the run folder, of a campaign that has begun: it tells where the user's own modules are, and which
            strategy "auto" chose.

    Raises:
        InvalidInput: whatever the campaign asks for cannot be had; the message names the key.
    """
    from nas.measured import measured

    for each in _folders_before(folder):
        importable(each)
    subject = measured(config)
    space, space_options = _space(config.space, subject.io, tried=not config.workers.gpus)
    costed = made("space", config.space.name, lambda: tells_costs(space))
    metrics = subject.metrics(costed)
    objectives = _objectives(config, metrics, costed)
    evaluator = subject.evaluator(space, metrics)
    predictor, screened = screening(config, space)
    rungs = config.budget.rungs or ()
    strategy_options = search.settled(
        config.strategy.name,
        _chosen_before(config.strategy, folder),
        space=space,
        objectives=objectives,
        trials=config.budget.trials,
        screened=screened is not None,
        rungs=rungs,
        fidelity=config.budget.fidelity,
    )
    strategy = made(
        "strategy",
        config.strategy.name,
        lambda: search.load(
            config.strategy.name,
            space=space,
            objectives=objectives,
            seed=config.seed,
            fidelity=config.budget.fidelity,
            screening=screened,
            trials=config.budget.trials,
            task=subject.task,
            rungs=rungs,
            **strategy_options,
        ),
    )
    demand("strategy", config.strategy.name, strategy, ("ask", "tell", "proceed"))
    resolved = dataclasses.replace(
        config,
        space=Section(config.space.name, space_options),
        task=Section(config.task.name, subject.options),
        strategy=Section(config.strategy.name, strategy_options),
        objectives=objectives,
        predictor=predictor,
        recipe=subject.recipe,
    )
    # By way of plain data, so that a configuration equals the one that was frozen in a run folder.
    data = getattr(subject.task, "fingerprint", "")
    units = getattr(subject.task, "units", {})
    return Setup(parse(to_dict(resolved)), space, evaluator, strategy, data, costed, metrics, units)


def _folders_before(folder: str | Path | None) -> list[str]:
    """Where the user's own modules were when the campaign of a run folder began, if there is one."""
    try:
        return [] if folder is None else RunDir.open_readonly(folder).folders
    except InvalidInput:  # as below
        return []


def _chosen_before(strategy: Section, folder: str | Path | None) -> dict[str, Any]:
    """The options of a strategy; where all is left to "auto", those that the run folder holds, if there is one."""
    if strategy != Section("auto") or folder is None:
        return strategy.options
    try:
        frozen = RunDir.open_readonly(folder).config.strategy
    except InvalidInput:  # no run folder yet, or one that is refused when it is opened to write
        return {}
    return frozen.options if frozen.name == "auto" else {}


def _objectives(config: Config, metrics: Mapping[str, Direction], costed: bool) -> tuple[Objective, ...]:
    """The objectives of a campaign, each with a direction: where none is said, that of the task's metric.

    Costs are better when smaller. A constraint may have any direction, since it may bound from either side.

    Raises:
        InvalidInput: a metric is unknown or would be made worse, or the task does not say which way its are better.
    """
    name = config.task.name
    if not isinstance(metrics, Mapping) or any(way not in get_args(Direction) for way in metrics.values()):
        raise InvalidInput(
            f"task {name!r} has metrics {metrics!r}, but must say which way each is better: a mapping, each value "
            '"min" or "max"'
        )
    directions: dict[str, Direction] = {**dict.fromkeys(COST_NAMES if costed else (), "min"), **metrics}
    found = []
    for i, objective in enumerate(config.objectives):
        metric, said = objective.metric, objective.direction
        if metric not in directions:
            why = f"which task {name!r} does not measure"
            if metric in COST_NAMES:
                why = f"but space {config.space.name!r} does not say what its genomes cost"
            known = [*metrics, *(cost for cost in directions if cost not in metrics)]
            raise InvalidInput(f"'objectives[{i}].metric' is {metric!r}, {why}{suggest(metric, known)}")
        better = directions[metric]
        if objective.bound is None and said not in (None, better):
            size = "smaller" if better == "min" else "larger"
            raise InvalidInput(
                f"'objectives[{i}].direction' is {shown(said)}, but {metric} is better when {size} ({shown(better)})"
            )
        found.append(dataclasses.replace(objective, direction=said or better))
    return tuple(found)


def _space(section: Section, bound: Callable[..., IO | None], tried: bool) -> tuple[Space, dict[str, Any]]:
    """The space of a campaign, bound to what its networks read and predict, and its options in full.

    Args:
        bound: tells that from the space's maker, what the section says of it, and the width.
        tried: whether modules of a user's own are run here, which those that need a GPU may not.

    Raises:
        InvalidInput: it cannot be made, or its genomes also say how they are trained.
    """
    factory = spaces.maker(section.name)
    shared = tuple(inspect.signature(_common_options).parameters)
    rest = {key: value for key, value in section.options.items() if key not in shared}
    options = call_options(factory, rest, "space", given=("io", "source"), beside=shared)
    chosen = {key: value for key, value in section.options.items() if key in shared}
    ours = call_options(_common_options, chosen, "space")
    io = bound(factory, ours["io"], ours["width"])
    given = options if io is None else {"io": io, **options}
    space = made("space", section.name, lambda: factory(**given))
    demand("space", section.name, space, ("io", "sample", "mutate", "parse", "check", "cost", "build"))
    if training := getattr(space, "training", ()):
        raise InvalidInput(
            f"space {section.name!r} is for tables: its genomes hold training choices ({', '.join(training)}), which "
            "campaigns do not follow yet"
        )
    if tried and ":" in section.name:
        made("space", section.name, getattr(space, "check_modules", lambda: None))
    if ours["hyperparameters"]:
        from nas.training import hyperparameters

        space = spaces.joint(space, hyperparameters.fields(ours["hyperparameters"]))
    return space, {key: value for key, value in {**ours, **options}.items() if value is not None}


def screening(config: Config, space: Space) -> tuple[Section | None, search.Screening | None]:
    """The predictor of a campaign, with its options in full, and the screening by it; None and None without one."""
    if config.predictor is None:
        return None, None
    name = config.predictor.name
    options = call_options(search.Screening, config.predictor.options, "predictor", given=("make",))

    def make() -> predictors.Predictor:
        return predictors.load(name, space=space, seed=config.seed)

    demand("predictor", name, made("predictor", name, make), ("fit", "predict"))
    return Section(name, options), search.Screening(make, **options)


def _common_options(
    width: Annotated[int, Ge(1)] = 128,
    hyperparameters: dict[str, Any] | None = None,
    io: dict[str, dict[str, Any]] | None = None,
) -> None:
    """The signature is the options that every space of a campaign has: the residual stream of its input and output,
    what of the recipe its genomes say, and, of a function that does not say it, its input and output."""


def make_engine(setup: Setup, on_report: OnReport, folder: Path, address: str | None) -> Engine:
    """The engine that a campaign asks for, its workers started; trials may keep files below `folder`.

    Raises:
        InvalidInput: the workers cannot be had as asked.
    """
    spec, seconds = setup.config.workers, setup.config.budget.seconds
    if spec.engine == "serial":
        from nas.cluster.serial import SerialEngine
        from nas.training.evaluator import usable_device

        if address is not None:
            raise InvalidInput(f"--address {address} is of a Ray cluster, but 'workers.engine' is \"serial\"")
        device = usable_device(spec.gpus)
        return SerialEngine(setup.evaluator, seconds, on_report, device=device, folder=folder.resolve())
    from nas.cluster.ray_engine import RayEngine

    return RayEngine(
        setup.evaluator,
        workers=spec.count,
        cpus=spec.cpus,
        gpus=spec.gpus,
        seconds=seconds,
        on_report=on_report,
        address=address,
        user_modules=user_modules(setup.config),
        folder=folder.resolve(),
    )
