"""The layers, files and names that ARCHITECTURE tells of, and what README links to, are there."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()
README = (ROOT / "README.md").read_text()
BLOCKS = (ROOT / "spaces" / "blocks" / "README.md").read_text()
FILES = ["pyproject.toml"] + [
    path.relative_to(ROOT).as_posix()
    for top in ("nas", "spaces", "predictors", "benchmarks", "tests", "examples")
    for path in (ROOT / top).rglob("*")
    if path.is_file()
]
OF_USERS = {
    "config.json",
    "events.jsonl",
    "trials.parquet",
    "versions.json",
    "model.py",
    "my_task.py",
    "my_table.py",
    "ridge.py",
}
"""Files of run folders, of exports and of users, which the documents name too."""


def names(text):
    """What stands between backticks outside blocks of code."""
    return set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)))


def test_the_layers_are_those_that_are_checked():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (block,) = re.findall(r"```\n( +nas > benchmarks.*?)```", ARCHITECTURE, re.DOTALL)
    _, nas, spaces = re.split(r"\n(?=\w)", block)
    for told, contract in ((nas, contracts[1]), (spaces, contracts[2])):
        layers = told.partition(" ")[2].split(" > ")
        assert [" ".join(layer.split()) for layer in layers] == contract["layers"]


@pytest.mark.parametrize("text", [ARCHITECTURE, README, BLOCKS], ids=["ARCHITECTURE", "README", "blocks"])
def test_the_files_are_there(text):
    named = {name for name in names(text) if re.fullmatch(r"[\w/*]+\.(py|toml|jsonl?|parquet)", name)}
    missing = [
        name for name in named - OF_USERS if not any(f"/{file}".endswith(f"/{name}") for file in FILES)
    ]
    assert missing == []


def test_the_names_are_there():
    for name in names(ARCHITECTURE):
        if not re.fullmatch(r"(nas|spaces|predictors|benchmarks)(\.\w+)+", name):
            continue
        place = ROOT / name.replace(".", "/")
        if place.is_dir() or place.with_suffix(".py").exists():
            continue
        module = place.parent / "__init__.py" if place.parent.is_dir() else place.parent.with_suffix(".py")
        assert re.search(rf"\b{place.name}\b", module.read_text()), name


def test_the_links_lead_somewhere():
    heads = {
        re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-")
        for head in re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    }
    for link in re.findall(r"\]\(([^)\s]+)\)", README):
        assert link[1:] in heads if link.startswith("#") else (ROOT / link).exists(), link
