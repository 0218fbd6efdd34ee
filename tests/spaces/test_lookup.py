"""Names that stand for things, and the words with which others are refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import predictors
import spaces
from spaces.errors import suggest
from spaces.lookup import importable, resolve

TABLE = {"evolution": "collections:OrderedDict", "random": "random:Random", "gone": "nas.gone:Gone"}


class Refusal(ValueError):
    """The exception of a caller's own."""


def refusal(name: str, table: dict[str, str], what: str) -> str:
    with pytest.raises(Refusal) as error:
        resolve(name, table, what, Refusal)
    return str(error.value)


def test_short_names_and_own_names_resolve() -> None:
    from collections import OrderedDict

    assert resolve("evolution", TABLE, "strategy", Refusal) is OrderedDict
    assert resolve("json:dumps", TABLE, "strategy", Refusal) is json.dumps


def test_names_that_do_not_resolve() -> None:
    allowed = "allowed: evolution, random, gone, or 'package.module:attribute' for your own"
    assert refusal("evolutoin", TABLE, "strategy") == (
        f"unknown strategy 'evolutoin', did you mean 'evolution'? {allowed}"
    )
    assert refusal("zzz", TABLE, "strategy") == f"unknown strategy 'zzz'; {allowed}"
    for name in (":", "a:", ":b", "a:b:c", "a/b:c", "a..b:c"):
        expected = f"task '{name}' is not written like 'package.module:attribute'"
        assert refusal(name, TABLE, "task") == expected
    assert refusal("gone", TABLE, "strategy") == (
        f"strategy 'gone' cannot be imported: no module 'nas.gone' is installed, in {Path.cwd()}, "
        "or beside the file that names it"
    )
    assert refusal("json:dumpz", TABLE, "task") == (
        "task 'json:dumpz': module 'json' has no 'dumpz', did you mean 'dump'? "
        f"it is read from {json.__file__}"
    )


def test_own_modules_beside_the_campaign_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert "no module 'my_nas_task' is" in refusal("my_nas_task:Task", {}, "task")
    (tmp_path / "my_nas_task.py").write_text("class Task: ...\n")
    (tmp_path / "my_nas_broken.py").write_text("import no_such_package\n")
    (tmp_path / "my_nas_typo.py").write_text("1 / 0\n")
    importable(tmp_path)
    importable(tmp_path)
    assert sys.path.count(str(tmp_path.resolve())) == 1
    assert resolve("my_nas_task:Task", {}, "task", Refusal).__name__ == "Task"
    assert refusal("my_nas_broken:Task", {}, "task") == (
        "task 'my_nas_broken:Task' cannot be imported: ModuleNotFoundError: No module named 'no_such_package' "
        "(my_nas_broken.py:1 in <module>)"
    )
    assert refusal("my_nas_typo:Task", {}, "task") == (
        "task 'my_nas_typo:Task' cannot be imported: ZeroDivisionError: division by zero "
        "(my_nas_typo.py:1 in <module>)"
    )


def test_each_package_refuses_with_its_own_exception() -> None:
    message = "'nowhere:thing' cannot be imported: no module 'nowhere' is installed"
    with pytest.raises(spaces.InvalidSpace, match=f"space {message}"):
        spaces.load("nowhere:thing")
    with pytest.raises(predictors.InvalidPredictor, match=f"predictor {message}"):
        predictors.load("nowhere:thing", space=spaces.load("hybrid"))


def test_suggest() -> None:
    assert suggest("heds", ["heads", "window"]) == ", did you mean 'heads'? allowed: heads, window"
    assert suggest("LR", ["lr"], "recipe.") == ", did you mean 'recipe.lr'? allowed: lr"
    assert suggest("x", ["heads", "window"]) == "; allowed: heads, window"
    assert suggest("x", []) == "; allowed: none"


def test_a_grammar_is_no_name():
    with pytest.raises(
        spaces.InvalidSpace, match=r"takes a name, got a Grammar: take spaces.GrammarSpace\(grammar, io\)$"
    ):
        spaces.load(spaces.Grammar("own", start="model"))
    with pytest.raises(spaces.InvalidSpace, match=r"takes a name, got a int$"):
        spaces.load(3)
