"""The folder of a campaign: made whole or not at all, and never another's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from nas.config import Amendment, Config, Section, amend, parse
from nas.store import Amended, RunDir, versions
from nas.store.files import Lock, holder, replacing
from nas.types import InvalidInput


def config(**changes: Any) -> Config:
    mapping = {
        "name": "quickstart",
        "space": {"name": "hybrid"},
        "task": {"name": "bytes"},
        "strategy": {"name": "evolution"},
        "budget": {"trials": 5, "steps": 10},
        "objectives": [{"metric": "valid_bpb"}],
    }
    return parse({**mapping, **changes})


REST = (
    "Only budget.trials, budget.seconds, workers.count may change, and only to more; "
    "another --dir starts a new campaign"
)
MORE = config(budget={"trials": 9, "steps": 10})


def names(path: Path) -> set[str]:
    return {entry.name for entry in path.iterdir()}


def refusal(path: Path, wanted: Config) -> str:
    with pytest.raises(InvalidInput) as error:
        RunDir.create_or_open(path, wanted)
    return str(error.value)


def test_a_new_folder(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "a"
    run, amendments = RunDir.create_or_open(path, config())
    assert amendments == []
    assert names(path) == {"config.json", "versions.json", "lock"}
    assert run.config == config()
    assert json.loads((path / "config.json").read_text())["budget"]["trials"] == 5
    assert run.versions == {**versions(), "data": "", "space": "", "folders": ""}
    assert list(run.records()) == []
    assert run.driver is None
    with run.journal() as journal:
        journal.append([Amended("a", 1, 2)], sync=True)
        assert run.driver == os.getpid()
    assert list(RunDir.open_readonly(path).records()) == [Amended("a", 1, 2)]
    assert run.driver is None


def test_the_same_campaign_goes_on_and_tells_what_changed(tmp_path: Path) -> None:
    RunDir.create_or_open(tmp_path, config())
    before = (tmp_path / "config.json").read_bytes()
    run, amendments = RunDir.create_or_open(tmp_path, MORE)
    assert amendments == [Amendment("budget.trials", 5, 9)]
    assert (tmp_path / "config.json").read_bytes() == before, "written by the driver, once it has the lock"
    run.freeze(MORE)
    assert RunDir.create_or_open(tmp_path, MORE)[1] == []
    assert "'budget.trials' is 9 there and 5 now" in refusal(tmp_path, config())


def test_options_that_were_resolved_to_tuples_are_the_same_when_read_again(tmp_path: Path) -> None:
    resolved = replace(config(), space=Section("hybrid", {"widths": (64, 128), "depth": None}))
    RunDir.create_or_open(tmp_path, resolved)
    assert RunDir.create_or_open(tmp_path, resolved)[1] == []


def test_another_campaign_is_refused_and_nothing_written(tmp_path: Path) -> None:
    RunDir.create_or_open(tmp_path, config())
    before = {entry: entry.read_bytes() for entry in tmp_path.iterdir()}
    assert refusal(tmp_path, config(name="other")) == (
        f"{tmp_path}: this run folder holds a campaign that differs: "
        f'\'name\' is "quickstart" there and "other" now. {REST}'
    )
    assert {entry: entry.read_bytes() for entry in tmp_path.iterdir()} == before


def test_more_trials_seconds_and_workers_may_be_had() -> None:
    old = config(workers={"count": 2})
    new = config(workers={"count": 0}, budget={"trials": 6, "steps": 10, "seconds": 601})
    assert amend(old, new) == [
        Amendment("budget.trials", 5, 6),
        Amendment("budget.seconds", 600.0, 601.0),
        Amendment("workers.count", 2, 0),
    ]


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"seed": 1}, "'seed' is 0 there and 1 now"),
        ({"name": "other"}, "'name' is \"quickstart\" there and \"other\" now"),
        ({"budget": {"trials": 4, "steps": 10}}, "'budget.trials' is 5 there and 4 now"),
        ({"budget": {"trials": 5, "tokens": 10}},
         "'budget.steps' is 10 there and left out now; 'budget.tokens' is left out there and 10 now"),
        ({"strategy": {"name": "evolution", "mix": {"a": [1, 2]}}},
         "'strategy.mix.a[0]' is left out there and 1 now; 'strategy.mix.a[1]' is left out there and 2 now"),
        ({"recipe": {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}},
         "'recipe.a' is left out there and 1 now; 'recipe.b' is left out there and 2 now; "
         "'recipe.c' is left out there and 3 now and 2 more"),
    ],
)  # fmt: skip
def test_nothing_else_may_change(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as error:
        amend(config(), config(**changes))
    assert str(error.value) == f"this run folder holds a campaign that differs: {said}. {REST}"


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    for name in ("thesis.tex", "a", "b", "c"):
        (tmp_path / name).write_text("")
    assert refusal(tmp_path, config()) == (
        f"{tmp_path}: holds a, b, c and more, but no campaign; give a new or empty folder as --dir"
    )
    assert names(tmp_path) == {"thesis.tex", "a", "b", "c"}


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert refusal(file, config()) == f"{file}: cannot be made a run folder: it is a file"
    assert refusal(file / "a", config()) == f"{file}/a: cannot be made a run folder: Not a directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_in(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert refusal(tmp_path, config()) == f"{tmp_path}: cannot write in this folder: Permission denied"


def test_a_start_that_was_killed_before_the_configuration_stood(tmp_path: Path) -> None:
    for name in ("lock", "versions.json", "versions.json.tmp", "config.json.tmp"):
        (tmp_path / name).write_text('{"ha')
    run, amendments = RunDir.create_or_open(tmp_path, config())
    assert (run.config, run.versions, amendments) == (
        config(),
        {**versions(), "data": "", "space": "", "folders": ""},
        [],
    )
    assert names(tmp_path) == {"config.json", "versions.json", "lock"}


def test_a_start_beside_another_start(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock")
    assert refusal(tmp_path, config()).startswith(f"{tmp_path}: in use by the driver with pid {os.getpid()};")
    assert names(tmp_path) == {"lock"}
    lock.close()
    RunDir.create_or_open(tmp_path, config())


def test_looking_at_what_is_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"not the folder of a campaign: no config.json in it$"):
        RunDir.open_readonly(tmp_path)
    with pytest.raises(InvalidInput, match=r"not the folder of a campaign: no such folder$"):
        RunDir.open_readonly(tmp_path / "x")
    assert names(tmp_path) == set()


def test_a_damaged_configuration(tmp_path: Path) -> None:
    RunDir.create_or_open(tmp_path, config())
    frozen = tmp_path / "config.json"
    frozen.write_text(frozen.read_text().replace('"seed"', '"sed"'))
    assert refusal(tmp_path, config()).startswith(f"{frozen}: unknown key 'sed', did you mean 'seed'? ")
    frozen.write_text("{")
    assert refusal(tmp_path, config()).startswith(f"{frozen}: damaged, not JSON: ")


def test_versions_are_told_without_importing_anything_heavy() -> None:
    found = versions()
    packages = {"numpy", "ray", "torch", "flash-linear-attention", "mamba-ssm"}
    assert set(found) == {"python", "platform", "nas"} | packages
    assert found["torch"] == metadata.version("torch")
    heavy = "{'torch', 'ray', 'pyarrow'} & set(sys.modules)"
    code = f"import sys, nas.store; nas.store.versions(); print(sorted({heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_lock_left_by_a_killed_process_is_held_by_nobody(tmp_path: Path) -> None:
    assert holder(tmp_path / "lock") is None
    (tmp_path / "lock").write_text("123456789")
    assert holder(tmp_path / "lock") is None
    lock = Lock(tmp_path / "lock")
    assert holder(tmp_path / "lock") == os.getpid()
    lock.close()
    assert holder(tmp_path / "lock") is None


def test_replacing_is_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with replacing(path) as temporary:
        temporary.write_text("old")

    def half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert path.read_text() == "old"
    assert names(tmp_path) == {"a"}
