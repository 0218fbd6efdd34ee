"""The README's Python, run as it stands, on a campaign of reduced size."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
import torch

import benchmarks
import nas
import predictors
import spaces
from benchmarks.testing import table_checks
from nas.search import GIVEN, STRATEGIES
from nas.tables import read_file
from nas.training.tasks import TASKS
from spaces.blocks.base import state_bytes
from spaces.lookup import resolve
from spaces.testing import space_checks

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
(
    GRAMMAR,
    BLOCK,
    PROGRAMS,
    JOINT,
    FUNCTION,
    GOING_ON,
    TASK,
    LIBRARY,
    SHARING,
    FLOW,
    EXPORT,
    STRATEGY,
    LOOKUP,
    OWN_TABLE,
) = (
    next(block for block in BLOCKS if word in block)
    for word in (
        "@tiny.production",
        "(Block):",
        "symbolic.space",
        "spaces.joint",
        "def error(",
        "def descent(",
        "(Task):",
        "space.sample",
        "star.cost",
        "FlowGrammar",
        "nas.export(",
        "strategy.ask",
        "benchmarks.load(",
        "Table.write(",
    )
)
TOML = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
WHOLE, RUNGS, OWN_SPACE, OF_FUNCTION, OWN_TASK, OWN_FILE = TOML


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


def test_every_block_is_run_here_and_short():
    assert (len(BLOCKS), len(TOML)) == (14, 6)
    assert (
        max(len(block.splitlines()) for block in (GRAMMAR, BLOCK, FLOW, FUNCTION, TASK, WHOLE, OWN_TABLE))
        <= 40
    )


def test_the_library(campaign, tmp_path):
    names = {}
    exec(LIBRARY, names)
    assert names["genome"].text.startswith("stack(")
    assert names["model"](torch.zeros(1, 3, dtype=int)).shape == (1, 3, 256)
    assert len(names["result"].trials) == 8
    exec(EXPORT.replace('"onnx"', '"source"'), {"nas": nas, "result": names["result"]})
    assert (tmp_path / "out" / "model.py").exists()


def test_what_sharing_costs():
    names = {"spaces": spaces}
    exec(SHARING, names)
    saved = names["star"].cost(names["shared"]).state_bytes / names["star"].cost(names["apart"]).state_bytes
    assert f"  # {saved}\n" in SHARING


def test_programs_and_hyperparameters():
    names = {"spaces": spaces, "rng": np.random.default_rng(0)}
    exec(PROGRAMS, names)
    exec(JOINT, names)
    assert set(names["value"].ops) < {"conv", "pool", "skip"}
    assert 0 <= names["value"].rate <= 0.5
    names["hybrid"].check(names["near"])
    assert names["pair"].text.startswith("joint(architecture=stack(")


def test_a_flow_grammar_of_ones_own():
    names = {"spaces": spaces, "np": np}
    exec(FLOW, names)
    for check in space_checks:
        if check.__name__ not in (
            "check_pickle",
            "check_same_seed_same_draws",
        ):  # it has no name to pickle by
            check(names["flow"])


def test_tables(tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_CACHE", str(tmp_path))
    names = {"np": np}
    exec(LOOKUP, names)
    assert names["cell"].text.startswith("|nor_conv_3x3~0|+|none~0|")
    assert names["table"].query(names["cell"], "valid_acc") == names["table"].query(names["cell"].text)


def test_a_table_of_ones_own(tmp_path, monkeypatch):
    """The script as a user runs it; its table passes the conformance suite."""
    (tmp_path / "my_table.py").write_text(OWN_TABLE)
    script = [sys.executable, "my_table.py"]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert re.search(r"^evolution after 24 evaluations: regret \S+$", done.stdout, re.MULTILINE)
    monkeypatch.syspath_prepend(tmp_path)
    table = benchmarks.load(tmp_path / "svm.arrow")
    assert table.best()[0].genome.text == "svm(kernel=rbf, log_c=3)"
    for check in table_checks:
        check(table)


def test_a_table_of_a_file(tmp_path, monkeypatch):
    (tmp_path / "my_table.py").write_text(OWN_TABLE)
    (tmp_path / "svm.toml").write_text(OWN_FILE)
    (tmp_path / "runs.csv").write_text("kernel,log C,error_1,error_2\nrbf,3,0.1,0.3\nlinear,-2,0.4,0.4\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    table = read_file(tmp_path / "svm.toml", tmp_path / "svm.arrow")
    assert [(row.genome.text, row.value) for row in table.best(n=2)] == [
        ("svm(kernel=rbf, log_c=3)", 0.2),
        ("svm(kernel=linear, log_c=-2)", 0.4),
    ]


def test_a_strategy_by_hand():
    names = {"nas": nas, "space": spaces.load("hybrid")}
    exec(STRATEGY, names)
    assert len(names["strategy"].ended) == 2


def test_a_space_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "my_space.py").write_text(GRAMMAR)
    monkeypatch.syspath_prepend(tmp_path)
    space = spaces.load("my_space:tiny", spaces.tokens(32, 16))
    rng = np.random.default_rng(0)
    genome = space.mutate(space.sample(rng), rng)
    assert space.build(genome) is not None
    predictor = predictors.load("trees", space=space)
    genomes = [space.sample(rng) for _ in range(20)]
    assert predictor.fit(genomes, np.arange(20.0)).predict(genomes).mean.shape == (20,)


def test_a_block_of_ones_own():
    """It decodes token by token as it reads all of them, documents apart, and exports."""
    names = {}
    exec(GRAMMAR, names)
    exec(BLOCK, names)
    space = spaces.GrammarSpace(names["tiny"], spaces.tokens(32, 16), context=8)
    space.check_modules()
    genome = space.parse("stack(layers=[residual(body=token_shift(mult=2))], repeat=2)")
    model, tokens = space.build(genome), torch.arange(16).view(2, 8)
    logits, state = model(tokens), model.init_state(2)
    assert state_bytes(state) == 2 * space.cost(genome).state_bytes
    for place in range(8):
        step, state = model.step(tokens[:, place : place + 1], state)
        torch.testing.assert_close(step[:, 0], logits[:, place])
    packed = model(tokens, torch.tensor([0] * 3 + [1] * 5).expand(2, -1))
    torch.testing.assert_close(packed[:, 3:], model(tokens[:, 3:]))


def by_head(toml):
    """The tables of a campaign file, each as it is written, by their heads; before all of them, the name."""
    return {table.partition("\n")[0]: table for table in re.split(r"\n(?=\[)", toml)}


@pytest.mark.parametrize(
    "engine, own",
    [
        ("serial", [OWN_SPACE]),
        ("serial", [OWN_TASK]),
        ("serial", []),
        ("serial", [RUNGS]),
        ("ray", [OWN_SPACE, OWN_TASK]),
        ("ray", []),
    ],
    ids=["space", "task", "text", "rungs", "space and task on Ray", "text on Ray"],
)
def test_a_campaign_of_ones_own(tmp_path, text_folder, reduced, monkeypatch, engine, own):
    """The campaign file of the README, with the tables of other sections in place of its own."""
    folder = tmp_path / "mine"
    shutil.copytree(text_folder, folder / "letters" / "1912")
    (folder / "my_space.py").write_text(GRAMMAR)
    (folder / "my_task.py").write_text(TASK)
    tables = by_head(WHOLE)
    for toml in own:
        tables |= by_head(toml)
    (folder / "campaign.toml").write_text("\n".join(tables.values()))
    monkeypatch.chdir(tmp_path)
    result = nas.run(reduced(folder / "campaign.toml", engine), dir="run")
    assert [trial.status for trial in result.trials] == ["done"] * 8
    asked = tomllib.loads((folder / "campaign.toml").read_text())
    assert (result.config.space.name, result.config.task.name) == (
        asked["space"]["name"],
        asked["task"]["name"],
    )
    metric = "accuracy" if OWN_TASK in own else "bpb"
    assert result.best().metrics[f"valid_{metric}"] >= 0
    assert len(result.confirmed(f"test_{metric}")) == 1


def test_a_function_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "ridge.py").write_text(FUNCTION)
    file = tmp_path / "ridge.toml"
    file.write_text(OF_FUNCTION.replace("trials = 40", "trials = 16"))
    monkeypatch.chdir(tmp_path)
    result = nas.run(file, engine="serial")
    errors = [trial.metrics["valid_error"] for trial in result.done]
    assert len(errors) == 16
    assert min(errors) < 0.07 < max(errors), "the noise alone is 0.04"
    assert len(result.confirmed("valid_error")) == 3
    (tmp_path / "descent.py").write_text(GOING_ON)
    (rungs,) = re.findall(r"With `(steps = .*?)` and `(rungs = .*?)`", README)
    tables = OF_FUNCTION.replace("ridge:error", "descent:descent").replace("folds = 10\n", "")
    file.write_text(tables.replace("trials = 40", "\n".join(["trials = 14", *rungs])))
    file.write_text(f'{file.read_text()}\n[strategy]\nname = "asha"\nsampler = "random"\n')
    result = nas.run(file, engine="serial", dir="rungs")
    assert {trial.proposal.fidelity.amount for trial in result.done} == {10, 30, 90}
    for trial in result.done:
        alpha = float(re.search("alpha=(.*?),", trial.proposal.genome.text)[1])
        assert trial.metrics["valid_error"] == pytest.approx(abs(1 - alpha) ** trial.proposal.fidelity.amount)


def test_the_example_of_a_space_is_the_one_here():
    assert (ROOT / "examples" / "my_space.py").read_text() == GRAMMAR


def rows_under(heading):
    """The rows under a heading of the README, by each name that their first cells tell."""
    section = README.split(f"\n{heading}\n")[1].split("\n#")[0]
    rows = [row[2:-2].split(" | ") for row in section.splitlines() if row.startswith("| `")]
    return {name: row for row in rows for name in re.findall(r"`(\w+)`", row[0]) if name != "name"}


@pytest.mark.parametrize(
    "heading, known",
    [
        ("### Tasks", TASKS),
        ("### Strategies", STRATEGIES),
        ("### Predictors", predictors.PREDICTORS),
        ("## The spaces", spaces.SPACES),
    ],
)
def test_the_tables_name_all_that_is_known(heading, known):
    assert rows_under(heading).keys() == known.keys()


@pytest.mark.parametrize(
    "heading, known, given", [("### Tasks", TASKS, ()), ("### Strategies", STRATEGIES, GIVEN)]
)
def test_the_tables_name_all_options(heading, known, given):
    rows = rows_under(heading)
    for name in known.keys() - {"auto"}:  # whose options are what it writes down itself
        options = signature(resolve(name, known, "name", nas.InvalidInput)).parameters.keys() - set(given)
        assert {option for option in options if f"`{option}`" not in rows[name][2]} == set(), name


def test_the_commands_are_those_of_the_parser():
    from nas.cli import parser

    lines = [shlex.split(line, comments=True) for line in README.splitlines() if line.startswith("nas ")]
    assert len(lines) >= 10
    for words in lines:
        parser().parse_args(words[1:])
