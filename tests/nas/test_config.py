"""The campaign file: what it gives, and the exact words with which it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.config import load, parse, to_dict
from nas.types import Fidelity, InvalidInput, Objective

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
    assert config.objectives == (Objective("valid_bpb"), Objective("parameters", bound=1e6))
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
        ({"zzz": 1}, f"unknown key 'zzz'; allowed: {TOP}"),
        (
            {"budget": {"trails": 1}},
            "unknown key 'budget.trails', did you mean 'budget.trials'? "
            "allowed: trials, steps, tokens, epochs, seconds, confirm, rungs",
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
            {"budget": {"trials": 5, "rungs": [1]}},
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


def test_a_direction_may_be_left_to_the_task() -> None:
    (objective,) = parse(minimal()).objectives
    assert objective.direction is None
    assert to_dict(parse(minimal()))["objectives"] == [{"metric": "valid_bpb"}]


def test_errors_of_the_file_itself(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    assert refusal(load, path) == f"{path}: cannot be read as a campaign file: No such file or directory"
    assert refusal(load, tmp_path) == f"{tmp_path}: cannot be read as a campaign file: Is a directory"
    path.write_text('name = "a"\nseed = = 3\n')
    assert refusal(load, path) == f"{path}: not valid TOML: Invalid value (at line 2, column 8)"
    path.write_bytes(b'\nname = "\xff"')
    assert refusal(load, path) == f"{path}: not in UTF-8, as TOML must be: line 2 has the byte 0xff"
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
