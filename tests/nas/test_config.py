"""The campaign file: what it gives, and the exact words with which it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Le
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.config import (
    call_options,
    importable,
    load,
    parse,
    resolve,
    suggest,
    to_dict,
)
from nas.types import Fidelity, InvalidInput, Objective

if TYPE_CHECKING:
    from decimal import Decimal

CAMPAIGN = """
name = "quickstart"
seed = 3
[space]
name = "hybrid"
depth = 4
widths = [64, 128]
[task]
name = "bytes"
[recipe]
lr = 1e-3
[strategy]
name = "evolution"
population = 20
[budget]
trials = 50
steps = 200
seconds = 30
[[objectives]]
metric = "valid_bpb"
[[objectives]]
metric = "parameters"
bound = 1_000_000
[workers]
count = 2
engine = "serial"
"""

NAMES_A_FOLDER = "'name' must be letters, digits, '-', '_' and '.', because it names a folder"
TOP = "name, space, task, strategy, budget, objectives, seed, predictor, recipe, workers"


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    path = tmp_path / "campaign.toml"
    path.write_text(CAMPAIGN)
    return path


def minimal(**changes: Any) -> dict[str, Any]:
    """The smallest valid mapping, with top-level keys changed, or dropped by None."""
    mapping = {
        "name": "quickstart",
        "space": {"name": "hybrid"},
        "task": {"name": "bytes"},
        "strategy": {"name": "evolution"},
        "budget": {"trials": 5, "steps": 10},
        "objectives": [{"metric": "valid_bpb"}],
    }
    return {key: value for key, value in {**mapping, **changes}.items() if value is not None}


def refusal(action: Any, *arguments: Any) -> str:
    with pytest.raises(InvalidInput) as error:
        action(*arguments)
    return str(error.value)


def test_load_gives_typed_values_and_defaults(campaign: Path) -> None:
    config = load(campaign)
    assert config.name == "quickstart"
    assert config.seed == 3
    assert config.space.name == "hybrid"
    assert config.space.options == {"depth": 4, "widths": [64, 128]}
    assert config.recipe == {"lr": 1e-3}
    assert config.budget.fidelity == Fidelity(200, "steps")
    assert repr(config.budget.seconds) == "30.0"
    assert config.budget.confirm == 3
    assert config.objectives == (Objective("valid_bpb"), Objective("parameters", "min", 1e6))
    assert (config.workers.count, config.workers.cpus, config.workers.gpus) == (2, 1.0, 0.0)
    assert config.workers.engine == "serial"


def test_everything_but_the_essentials_has_a_default() -> None:
    config = parse(minimal())
    assert (config.seed, config.recipe, config.budget.seconds, config.workers.engine) == (0, {}, 600.0, "ray")


@pytest.mark.parametrize("unit", ["steps", "tokens", "epochs"])
def test_fidelity_is_the_unit_that_is_given(unit: Literal["steps", "tokens", "epochs"]) -> None:
    assert parse(minimal(budget={"trials": 1, unit: 7})).budget.fidelity == Fidelity(7, unit)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"startegy": {}}, f"unknown key 'startegy', did you mean 'strategy'? allowed: {TOP}"),
        ({"zzz": 1}, f"unknown key 'zzz', allowed: {TOP}"),
        (
            {"budget": {"trails": 1}},
            "unknown key 'budget.trails', did you mean 'budget.trials'? "
            "allowed: trials, steps, tokens, epochs, seconds, confirm",
        ),
        (
            {"workers": {"GPUS": 1}},
            "unknown key 'workers.GPUS', did you mean 'workers.gpus'? allowed: count, cpus, gpus, engine",
        ),
        (
            {"objectives": [{"metric": "a"}, {"metrik": "b"}]},
            "unknown key 'objectives[1].metrik', did you mean 'objectives[1].metric'? "
            "allowed: metric, direction, bound",
        ),
        ({"task": None}, "missing key 'task', it must be a table"),
        ({"space": {}}, "missing key 'space.name', it must be a string"),
        ({"budget": {"steps": 1}}, "missing key 'budget.trials', it must be an integer >= 1"),
        ({"objectives": None}, "missing key 'objectives', it must be a list, each item a table"),
        ({"objectives": []}, "'objectives' must be a list of one table or more, got []"),
        ({"space": "hybrid"}, "'space' must be a table, got \"hybrid\""),
        ({"strategy": {"name": 3}}, "'strategy.name' must be a string, got 3"),
        ({"name": "runs/a"}, f'{NAMES_A_FOLDER}, got "runs/a"'),
        ({"seed": -1}, "'seed' must be an integer >= 0, got -1"),
        ({"seed": True}, "'seed' must be an integer >= 0, got true"),
        ({"budget": {"trials": 0, "steps": 1}}, "'budget.trials' must be an integer >= 1, got 0"),
        ({"budget": {"trials": "5", "steps": 1}}, "'budget.trials' must be an integer >= 1, got \"5\""),
        ({"budget": {"trials": 5.0, "steps": 1}}, "'budget.trials' must be an integer >= 1, got 5.0"),
        ({"budget": {"trials": 5, "steps": 0}}, "'budget.steps' must be an integer >= 1, got 0"),
        ({"budget": {"trials": 5, "steps": 1, "seconds": 0}}, "'budget.seconds' must be a number > 0, got 0"),
        (
            {"budget": {"trials": 5, "steps": 1, "seconds": float("inf")}},
            "'budget.seconds' must be a finite number, got Infinity",
        ),
        (
            {"budget": {"trials": 5}},
            "exactly one of 'budget.steps', 'budget.tokens', 'budget.epochs' must be given, got none",
        ),
        (
            {"budget": {"trials": 5, "steps": 1, "tokens": 1}},
            "exactly one of 'budget.steps', 'budget.tokens', 'budget.epochs' must be given, "
            "got steps and tokens",
        ),
        ({"workers": {"cpus": True}}, "'workers.cpus' must be a number > 0, got true"),
        ({"workers": {"engine": "slurm"}}, '\'workers.engine\' must be "ray" or "serial", got "slurm"'),
        (
            {"objectives": [{"metric": "a", "direction": "up"}]},
            '\'objectives[0].direction\' must be "min" or "max", got "up"',
        ),
        (
            {"objectives": [{"metric": "a"}, {"metric": "a", "direction": "max"}]},
            "'objectives[1].metric' is \"a\", as in 'objectives[0]': a metric is one objective",
        ),
        (
            {"objectives": [{"metric": "a", "bound": 1}]},
            "every one of 'objectives' has a bound: one without is needed, to be made better",
        ),
        (
            {"space": {"name": "a", "when": {"at": [object]}}},
            "'space.when.at[0]' must be a string, number, boolean, list or table, got \"<class 'object'>\"",
        ),
        ({"name": "x" * 100 + "/"}, f'{NAMES_A_FOLDER}, got "' + "x" * 76 + "..."),
    ],
)
def test_what_is_refused(changes: dict[str, Any], message: str) -> None:
    assert refusal(parse, minimal(**changes)) == message


def test_a_metric_may_be_optimised_and_bounded_from_both_sides() -> None:
    objectives = [
        {"metric": "a"},
        {"metric": "a", "bound": 2},
        {"metric": "a", "direction": "max", "bound": 1},
    ]
    assert len(parse(minimal(objectives=objectives)).objectives) == 3


def test_errors_of_the_file_itself(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    assert refusal(load, path) == f"{path}: cannot be read as a campaign file: No such file or directory"
    assert refusal(load, tmp_path) == f"{tmp_path}: cannot be read as a campaign file: Is a directory"
    path.write_text('name = "a"\nseed = = 3\n')
    assert refusal(load, path) == f"{path}: not valid TOML: Invalid value (at line 2, column 8)"
    path.write_bytes(b'name = "\xff"')
    assert refusal(load, path).startswith(f"{path}: not valid TOML: 'utf-8' codec can't decode byte 0xff")
    path.write_text(CAMPAIGN.replace("[budget]", "[budget]\nday = 1979-05-27"))
    assert refusal(load, path) == (
        f"{path}: 'budget.day' must be a string, number, boolean, list or table, got \"1979-05-27\""
    )
    path.write_text(CAMPAIGN.replace("trials", "trails"))
    assert refusal(load, path).startswith(
        f"{path}: unknown key 'budget.trails', did you mean 'budget.trials'? "
    )


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
options = st.dictionaries(st.text().filter(lambda key: key != "name"), plain, max_size=4)


@settings(deadline=None)  # the first example imports pydantic
@given(options, options, st.floats(min_value=1e-9, max_value=1e9), st.integers(1, 2**62))
def test_a_frozen_configuration_is_the_same(
    space: dict[str, Any], recipe: dict[str, Any], seconds: float, tokens: int
) -> None:
    budget = {"trials": 5, "tokens": tokens, "seconds": seconds}
    config = parse(minimal(space={"name": "a:b", **space}, recipe=recipe, budget=budget))
    assert parse(json.loads(json.dumps(to_dict(config), allow_nan=False))) == config


def test_importing_is_light() -> None:
    code = "import sys, nas.config; print(sorted({'torch', 'ray', 'pydantic', 'pyarrow'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# ---- call_options


class Strategy:
    """With annotations left as strings by the future import above."""

    def __init__(
        self,
        space: object,
        population: Annotated[int, Ge(2), Le(100)],
        rate: Annotated[float, Gt(0)] = 0.5,
        *,
        mode: Literal["fast", "good"] = "fast",
        elite: int | None = None,
        names: tuple[str, ...] = ("a",),
        pair: tuple[int, float] = (1, 2.0),
        greedy: bool = False,
        anything: Any = None,
        weights: dict[str, float] | None = None,
        inner: Strategy | None = None,
        seed: int = 0,
    ) -> None: ...


GIVEN = ("space", "seed")
ALLOWED = "population, rate, mode, elite, names, pair, greedy, anything, weights, inner"


def checked(**options: Any) -> dict[str, Any]:
    return call_options(Strategy, options, "strategy", given=GIVEN)


def test_options_are_resolved_with_defaults() -> None:
    assert checked(population=8) == {
        "population": 8,
        "rate": 0.5,
        "mode": "fast",
        "elite": None,
        "names": ("a",),
        "pair": (1, 2.0),
        "greedy": False,
        "anything": None,
        "weights": None,
        "inner": None,
    }


def test_options_come_out_as_their_types() -> None:
    resolved = checked(
        population=8, rate=1, names=["x", "y"], pair=[3, 4], elite=2, anything={"k": 1}, weights={"a": 1}
    )
    assert isinstance(resolved["rate"], float)
    assert resolved["names"] == ("x", "y")
    assert resolved["pair"] == (3, 4.0)
    assert resolved["anything"] == {"k": 1}
    assert resolved["weights"] == {"a": 1.0}


@pytest.mark.parametrize(
    "options, message",
    [
        ({}, "missing key 'strategy.population', it must be an integer >= 2 and <= 100"),
        (
            {"populaton": 3},
            f"unknown key 'strategy.populaton', did you mean 'strategy.population'? allowed: {ALLOWED}",
        ),
        ({"space": 3}, f"unknown key 'strategy.space', allowed: {ALLOWED}"),
        ({"population": 1}, "'strategy.population' must be an integer >= 2 and <= 100, got 1"),
        ({"population": True}, "'strategy.population' must be an integer >= 2 and <= 100, got true"),
        ({"population": 2, "rate": "0.1"}, "'strategy.rate' must be a number > 0, got \"0.1\""),
        ({"population": 2, "mode": "slow"}, '\'strategy.mode\' must be "fast" or "good", got "slow"'),
        ({"population": 2, "elite": 1.5}, "'strategy.elite' must be an integer, got 1.5"),
        ({"population": 2, "names": "x"}, "'strategy.names' must be a list, each item a string, got \"x\""),
        ({"population": 2, "names": [1]}, "'strategy.names' must be a list, each item a string, got [1]"),
        (
            {"population": 2, "pair": [1]},
            "'strategy.pair' must be a list of 2: an integer, a number, got [1]",
        ),
        ({"population": 2, "greedy": 1}, "'strategy.greedy' must be true or false, got 1"),
        ({"population": 2, "weights": {"a": "b"}}, '\'strategy.weights\' must be a table, got {"a": "b"}'),
        ({"population": 2, "inner": 1}, "'strategy.inner' cannot be set here: it takes a Strategy object"),
        ({"population": {1}}, "'strategy.population' must be an integer >= 2 and <= 100, got \"{1}\""),
    ],
)
def test_which_options_are_refused(options: dict[str, Any], message: str) -> None:
    assert refusal(call_options, Strategy, options, "strategy", GIVEN) == message


def test_options_of_functions_and_dataclasses() -> None:
    def function(lr: float = 1.0, **others: Any) -> None: ...

    @dataclass(frozen=True)
    class Recipe:
        lr: Annotated[float, Gt(0)] = 1e-3
        steps: int | None = None

    assert call_options(function, {"lr": 2, "free": [1]}, "x") == {"lr": 2.0, "free": [1]}
    assert call_options(Recipe, {"steps": 4}, "recipe") == {"lr": 1e-3, "steps": 4}
    assert refusal(call_options, Recipe, {"lr": 0}, "recipe") == "'recipe.lr' must be a number > 0, got 0"
    assert refusal(call_options, lambda: None, {"a": 0}, "x") == "unknown key 'x.a', allowed: none"


def test_an_option_whose_type_is_not_there_at_run_time() -> None:
    def mine(amount: Decimal) -> None: ...

    assert refusal(call_options, mine, {"amount": 1}, "x") == (
        "the options of 'mine' cannot be read: name 'Decimal' is not defined; "
        "the types of options must be imported at run time"
    )


# ---- resolve, importable, suggest

TABLE = {"evolution": "collections:OrderedDict", "random": "random:Random", "gone": "nas.gone:Gone"}


def test_short_names_and_own_names_resolve() -> None:
    from collections import OrderedDict

    assert resolve("evolution", TABLE, "strategy") is OrderedDict
    assert resolve("json:dumps", TABLE, "strategy") is json.dumps


def test_names_that_do_not_resolve() -> None:
    allowed = "allowed: evolution, gone, random, or 'package.module:attribute' for your own"
    assert refusal(resolve, "evolutoin", TABLE, "strategy") == (
        f"unknown strategy 'evolutoin', did you mean 'evolution'? {allowed}"
    )
    assert refusal(resolve, "zzz", TABLE, "strategy") == f"unknown strategy 'zzz', {allowed}"
    for name in (":", "a:", ":b", "a:b:c", "a/b:c", "a..b:c"):
        expected = f"task '{name}' is not written like 'package.module:attribute'"
        assert refusal(resolve, name, TABLE, "task") == expected
    assert refusal(resolve, "gone", TABLE, "strategy") == (
        f"strategy 'gone' cannot be imported: no module 'nas.gone' is installed, beside the campaign file, "
        f"or in {Path.cwd()}"
    )
    assert refusal(resolve, "json:dumpz", TABLE, "task") == (
        "task 'json:dumpz': module 'json' has no 'dumpz', did you mean 'dump'? "
        f"it is read from {json.__file__}"
    )


def test_own_modules_beside_the_campaign_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert "no module 'my_nas_task' is" in refusal(resolve, "my_nas_task:Task", {}, "task")
    (tmp_path / "my_nas_task.py").write_text("class Task: ...\n")
    (tmp_path / "my_nas_broken.py").write_text("import no_such_package\n")
    (tmp_path / "my_nas_typo.py").write_text("1 / 0\n")
    importable(tmp_path)
    importable(tmp_path)
    assert sys.path.count(str(tmp_path.resolve())) == 1
    assert resolve("my_nas_task:Task", {}, "task").__name__ == "Task"
    assert refusal(resolve, "my_nas_broken:Task", {}, "task") == (
        "task 'my_nas_broken:Task' cannot be imported: ModuleNotFoundError: No module named 'no_such_package'"
    )
    assert refusal(resolve, "my_nas_typo:Task", {}, "task") == (
        "task 'my_nas_typo:Task' cannot be imported: ZeroDivisionError: division by zero"
    )


def test_suggest() -> None:
    assert suggest("Evolutoin", ["evolution", "random"]) == "did you mean 'evolution'? "
    assert suggest("lr", ["LR"]) == "did you mean 'LR'? "
    assert suggest("x", ["evolution"]) == ""
