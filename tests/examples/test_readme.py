"""The README's Python, run as it stands, on a campaign of reduced size."""

import re
from pathlib import Path

import numpy as np
import pytest

import nas
import predictors
import spaces

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
GRAMMAR, LIBRARY, EXPORT, STRATEGY = (
    next(block for block in BLOCKS if word in block)
    for word in ("@tiny.production", "space.sample", "nas.export(", "strategy.ask")
)


@pytest.fixture
def campaign(tmp_path, text_folder, monkeypatch):
    """The quick start's name, in the folder where the README's lines run, for a small campaign."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "quickstart.toml").write_text(
        f"""
name = "quickstart"
[space]
name = "hybrid"
width = 16
context = 32
operators = 12
parameters = 30_000
[task]
name = "bytes"
text = "{text_folder}"
length = 16
batch = 4
valid_tokens = 256
[strategy]
name = "evolution"
population = 6
[budget]
trials = 8
steps = 2
[[objectives]]
metric = "valid_bpb"
[workers]
engine = "serial"
"""
    )


def test_every_block_of_python_is_run_here():
    assert len(BLOCKS) == 4


def test_the_library(campaign, tmp_path):
    names = {}
    exec(LIBRARY, names)
    assert names["genome"].text.startswith("stack(")
    assert names["model"](__import__("torch").zeros(1, 3, dtype=int)).shape == (1, 3, 256)
    assert len(names["result"].trials) == 8
    exec(EXPORT.replace('"onnx"', '"source"'), {"nas": nas, "result": names["result"]})
    assert (tmp_path / "out" / "model.py").exists()


def test_a_strategy_by_hand():
    names = {"nas": nas, "space": spaces.load("hybrid")}
    exec(STRATEGY, names)
    assert len(names["strategy"].ended) == 2


def test_a_space_of_ones_own(tmp_path, monkeypatch):
    assert len(GRAMMAR.splitlines()) <= 40
    (tmp_path / "my_space.py").write_text(GRAMMAR)
    monkeypatch.syspath_prepend(tmp_path)
    space = spaces.load("my_space:tiny", spaces.tokens(32, 16))
    rng = np.random.default_rng(0)
    genome = space.mutate(space.sample(rng), rng)
    assert space.build(genome) is not None
    predictor = predictors.load("trees", space=space)
    genomes = [space.sample(rng) for _ in range(20)]
    assert predictor.fit(genomes, np.arange(20.0)).predict(genomes).mean.shape == (20,)


def test_the_commands_are_those_of_the_parser():
    from nas.cli import parser

    lines = [line.split("#")[0].split() for line in README.splitlines() if line.startswith("nas ")]
    assert len(lines) >= 10
    for words in lines:
        parser().parse_args(words[1:])
