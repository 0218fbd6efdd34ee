"""What a user may get wrong in a campaign file and on the command line, and the line that says it.

The fixture `refused` checks what all have in common: one line, exit code 2, and nothing left behind.
"""

from typing import get_args, get_type_hints

import pytest
import torch

import spaces
from nas.config import Workers
from nas.search import STRATEGIES
from nas.training.tasks import TASKS
from spaces import SPACES

OWN = "or 'package.module:attribute' for your own"
TOP = "name, space, task, strategy, budget, objectives, seed, predictor, recipe, workers"
TEXT = "give a file, a folder, a glob such as 'data/**/*.txt', or 'stdlib'"
MODELS = ", ".join(spaces.load("hybrid").named)
COSTS = "parameters, active_parameters, flops_per_token, state_bytes"
ENGINES = " or ".join(f'"{engine}"' for engine in get_args(get_type_hints(Workers)["engine"]))


# ---- the campaign file


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"space.widht": 3},
            f"unknown key 'space.widht', did you mean 'space.width'? allowed: width, hyperparameters, io, context, nodes, operators, {COSTS.replace('active_parameters, ', '')}, weights",
        ),
        (
            {"budget.trails": 3},
            "FILE: unknown key 'budget.trails', did you mean 'budget.trials'? allowed: trials, steps, tokens, epochs, seconds, confirm, rungs",
        ),
        ({"budget.trials": '"5"'}, "FILE: 'budget.trials' must be an integer >= 1, got \"5\""),
        ({"budget.trials": 0}, "FILE: 'budget.trials' must be an integer >= 1, got 0"),
        ({"budget.steps": 0}, "FILE: 'budget.steps' must be an integer >= 1, got 0"),
        ({"budget.seconds": 0}, "FILE: 'budget.seconds' must be a number > 0, got 0"),
        ({"budget.seconds": "inf"}, "FILE: 'budget.seconds' must be a finite number, got Infinity"),
        ({"budget.confirm": -1}, "FILE: 'budget.confirm' must be an integer >= 0, got -1"),
        (
            {"budget.steps": None, "budget.epochs": 1},
            "the fidelity is 1 epochs, but task ByteText has no epochs: use steps or tokens",
        ),
        ({"seed": -1}, "FILE: 'seed' must be an integer >= 0, got -1"),
        ({"seed": "nan"}, "FILE: 'seed' must be a finite number, got NaN"),
        ({"space.parameters": "nan"}, "FILE: 'space.parameters' must be a finite number, got NaN"),
        ({"space.parameters": 10}, "space 'hybrid': no genome fits parameters <= 10 (the least is 8,352)"),
        ({"space.width": '"wide"'}, "'space.width' must be an integer >= 1, got \"wide\""),
        ({"seed": 2**63}, f"FILE: 'seed' must be an integer of at most {2**62}, got {2**63}"),
        (
            {"task.lenght": 3},
            "unknown key 'task.lenght', did you mean 'task.length'? allowed: text, length, batch, valid_tokens, test_tokens",
        ),
        (
            {"objectives.metric": '"test_bpb"'},
            f"'objectives[0].metric' is 'test_bpb', which task 'bytes' does not measure; allowed: valid_bpb, {COSTS}",
        ),
        ({"space.width": 0}, "'space.width' must be an integer >= 1, got 0"),
        ({"workers.engine": '"slurm"'}, f"FILE: 'workers.engine' must be {ENGINES}, got \"slurm\""),
        ({"workers.cpus": "nan"}, "FILE: 'workers.cpus' must be a finite number, got NaN"),
        ({"workers.count": -1}, "FILE: 'workers.count' must be an integer >= 0, got -1"),
        (
            {"workers.count": 4},
            "'workers.count' is 4, but 'workers.engine' is \"serial\", which runs one trial at a time: take 1, or engine = \"ray\"",
        ),
        (
            {"space.name": '"hybird"'},
            f"unknown space 'hybird', did you mean 'hybrid'? allowed: {', '.join(SPACES)}, {OWN}",
        ),
        (
            {"task.name": '"bites"'},
            f"unknown task 'bites', did you mean 'bytes'? allowed: {', '.join(TASKS)}, {OWN}",
        ),
        (
            {"strategy.name": '"evolutoin"'},
            f"unknown strategy 'evolutoin', did you mean 'evolution'? allowed: {', '.join(STRATEGIES)}, {OWN}",
        ),
        (
            {"strategy.named": '["transformer+"]'},
            "'strategy.named[0]' is 'transformer+': space 'hybrid' has no architecture 'transformer+', "
            f"did you mean 'transformer++'? allowed: {MODELS}",
        ),
        (
            {"objectives.metric": '"valid_bbp"'},
            f"'objectives[0].metric' is 'valid_bbp', which task 'bytes' does not measure, did you mean 'valid_bpb'? allowed: valid_bpb, {COSTS}",
        ),
        (
            {"objectives.metric": '"valid_bpb"\ndirection = "max"'},
            '\'objectives[0].direction\' is "max", but valid_bpb is better when smaller ("min")',
        ),
        ({"task.text": '""'}, f"'task.text' is empty: {TEXT}"),
        ({"task.text": '"  "'}, f"'task.text' is empty: {TEXT}"),
        (
            {"task.text": '"empty.txt"'},
            f"'task.text' is 'HERE/empty.txt', where every file is empty (1 found): {TEXT}",
        ),
        (
            {"task.text": '"nowhere.txt"'},
            f"'task.text' is 'HERE/nowhere.txt', but there is no such path (looked in HERE): {TEXT}",
        ),
        ({"task.name": '"own_module:three"'}, "'task.name' must be the place of a class or function, got 3"),
        (
            {"strategy.name": '"own_module:three"'},
            "'strategy.name' must be the place of a class or function, got 3",
        ),
        (
            {"space.name": '"own_module:tree"'},
            "space 'own_module:tree': module 'own_module' has no 'tree', did you mean 'three'? it is read from HERE/own_module.py",
        ),
        (
            {"space.name": '"nowhere_at_all:x"'},
            "space 'nowhere_at_all:x' cannot be imported: no module 'nowhere_at_all' is installed, in HERE, or beside the file that names it",
        ),
    ],
)
def test_campaign_files(refused, campaign_file, tmp_path, changes, message):
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "own_module.py").write_text("three = 3\n")
    campaign_file(**changes)
    for arguments in (("run", "campaign.toml"), ("run", "campaign.toml", "--dry-run")):
        assert refused(*arguments) == f"nas: {message.replace('FILE', 'campaign.toml')}"


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "missing key 'name', it must be a string"),
        (b'name = "a"\nseed = = 3', "not valid TOML: Invalid value (at line 2, column 8)"),
        (b"a = 1\na = 2", "not valid TOML: Cannot overwrite a value (at end of document)"),
        (
            b'name = "\xff"',
            "not in UTF-8, as TOML must be: line 1 has the byte 0xff",
        ),
        (b'name = "a"', "missing key 'space', it must be a table"),
        (b'\xef\xbb\xbfname = "a"', "missing key 'space', it must be a table"),
    ],
)
def test_files_that_are_no_campaign(refused, tmp_path, content, message):
    (tmp_path / "campaign.toml").write_bytes(content)
    assert refused("run", "campaign.toml") == f"nas: campaign.toml: {message}"


def test_tables_that_are_wrong(refused, campaign_file):
    file = campaign_file()
    whole = file.read_text()
    for table, message in (
        ("[recipe]\nlr = nan", "campaign.toml: 'recipe.lr' must be a finite number, got NaN"),
        ("[recipe]\nlr = -1", "'recipe.lr' must be a number above 0, at most 1, got -1.0"),
        (
            "[recipe]\nlrs = 1",
            "unknown key 'recipe.lrs', did you mean 'recipe.lr'? allowed: lr, warmup, decay_to, weight_decay, betas, grad_clip, precision, kernels",
        ),
        (
            '[predictor]\nname = "trees"\ncandidate = 4',
            "unknown key 'predictor.candidate', did you mean 'predictor.candidates'? allowed: candidates, least, explore",
        ),
        (
            '[predictor]\nname = "trees"\ncandidates = 1',
            "'predictor.candidates' must be an integer >= 2, got 1",
        ),
        (
            '[predictor]\nname = "types:SimpleNamespace"',
            "predictor 'types:SimpleNamespace' is a SimpleNamespace, which has no fit, predict",
        ),
        (
            '[predictor]\nname = "tress"',
            f"unknown predictor 'tress', did you mean 'trees'? allowed: trees, gaussian, stacked, deep, {OWN}",
        ),
        (
            "[workers_]\ncount = 1",
            f"campaign.toml: unknown key 'workers_', did you mean 'workers'? allowed: {TOP}",
        ),
        (
            '[[objectives]]\nmetric = "parameters"\nbound = inf',
            "campaign.toml: 'objectives[1].bound' must be a finite number, got Infinity",
        ),
    ):
        file.write_text(f"{whole}\n{table}\n")
        assert refused("run", "campaign.toml") == f"nas: {message}"


# ---- arguments


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("run no.toml", "nas: no.toml: cannot be read as a campaign file: No such file or directory"),
        ("run .", "nas: .: cannot be read as a campaign file: Is a directory"),
        (
            "run campaign.toml --workers -1",
            "nas run: argument --workers: must be at least 0, got -1 (see nas run --help)",
        ),
        (
            "run campaign.toml --workers two",
            "nas run: argument --workers: invalid int value: 'two' (see nas run --help)",
        ),
        (
            "run campaign.toml --wokers 2",
            "nas run: unknown option '--wokers', did you mean '--workers'? allowed: --help, --dir, --workers, --address, --engine, --dry-run, --json (see nas run --help)",
        ),
        (
            "run campaign.toml --zzz=2",
            "nas run: unknown option '--zzz=2'; allowed: --help, --dir, --workers, --address, --engine, --dry-run, --json (see nas run --help)",
        ),
        ("run campaign.toml other.toml", "nas run: unexpected argument 'other.toml' (see nas run --help)"),
        (
            "run campaign.toml --engine spark",
            f"nas run: argument --engine: unknown 'spark'; allowed: {', '.join(get_args(get_type_hints(Workers)['engine']))} (see nas run --help)",
        ),
        ("run", "nas run: the following arguments are required: FILE (see nas run --help)"),
        (
            "rnu campaign.toml",
            "nas: argument COMMAND: unknown 'rnu', did you mean 'run'? allowed: run, status, list, export, verify, space, bench (see nas --help)",
        ),
        (
            "run campaign.toml --dir campaign.toml",
            "nas: campaign.toml: cannot be made a run folder: it is a file",
        ),
        (
            "run campaign.toml --dir campaign.toml/run",
            "nas: campaign.toml/run: cannot be made a run folder: Not a directory",
        ),
        (
            "run campaign.toml --dir /proc/run",
            "nas: /proc/run: cannot be made a run folder: No such file or directory",
        ),
        (
            "run campaign.toml --dir things",
            "nas: things: holds a.txt, but no campaign; give a new or empty folder as --dir",
        ),
        (
            "run campaign.toml --dir=",
            "nas: .: holds campaign.toml, things, but no campaign; give a new or empty folder as --dir",
        ),
        (
            "run campaign.toml --dir run --address auto",
            "nas: --address auto is of a Ray cluster, but 'workers.engine' is \"serial\"",
        ),
        ("status nowhere", "nas: nowhere: not the folder of a campaign: no such folder"),
        ("status campaign.toml", "nas: campaign.toml: not the folder of a campaign: it is a file"),
        ("status things", "nas: things: not the folder of a campaign: no config.json in it"),
        ("list nowhere", "nas: nowhere: no such folder"),
        ("list campaign.toml", "nas: campaign.toml: it is a file, not a folder"),
        (
            "export nowhere best --to source --out out",
            "nas: nowhere: not the folder of a campaign: no such folder",
        ),
        (
            "verify nowhere",
            "nas: nowhere holds no export: its config.json cannot be read: No such file or directory",
        ),
        (
            "verify things",
            "nas: things holds no export: its config.json cannot be read: No such file or directory",
        ),
        (
            "space sample hybrid --count 0",
            "nas space sample: argument --count: must be at least 1, got 0 (see nas space sample --help)",
        ),
        (
            "space sample hybrid --size 0",
            "nas space sample: argument --size: must be at least 1, got 0 (see nas space sample --help)",
        ),
        (
            "space sample hybrid --seed -1",
            "nas space sample: argument --seed: must be at least 0, got -1 (see nas space sample --help)",
        ),
        (
            "space sample hybrid --seed nan",
            "nas space sample: argument --seed: invalid int value: 'nan' (see nas space sample --help)",
        ),
        (
            "space sample hybrid --width 0",
            "nas space sample: argument --width: must be at least 1, got 0 (see nas space sample --help)",
        ),
        (
            "space sample hybrid --set parameters=10",
            "nas: space 'hybrid': no genome fits parameters <= 10 (the least is 70,400)",
        ),
        (
            "space sample hybrid --size 1",
            "nas: space 'hybrid': no genome has at most 1 nodes and meets the limits",
        ),
        (
            "space sample darts --io imag()",
            "nas: --io: unknown 'imag', did you mean 'image'? allowed: image, nodes, tokens, vector",
        ),
        (
            "space sample darts --io image(chanels=1)",
            "nas: --io: 'image' has no 'chanels', did you mean 'channels'? allowed: channels, height, width, classes",
        ),
        (
            "space sample darts --io image(height=none)",
            "nas: --io: height must be an integer of at least 1",
        ),
        (
            "space sample mlp --io vector()",
            "nas: --io: vector() missing 1 required positional argument: 'features'",
        ),
        (
            "space sample hybrid --io tokens() --width 3",
            "nas: --io and --width exclude each other",
        ),
        (
            "space sample darts --set layer=3",
            "nas: space 'darts' has no limit 'layer', did you mean 'layers'? allowed: channels, layers",
        ),
        (
            "space sample darts --set layers",
            "nas: --set 'layers' is not like key=value, with strings in quotes as in TOML: Expected '=' after a key in a key/value pair (at end of document)",
        ),
        (
            "space lst",
            "nas space: argument COMMAND: unknown 'lst', did you mean 'list'? allowed: list, show, count, sample, mutate, draw, check (see nas space --help)",
        ),
        (
            "space check hybird x",
            f"nas: unknown space 'hybird', did you mean 'hybrid'? allowed: {', '.join(SPACES)}, {OWN}",
        ),
        (
            "space check own_module:number x",
            "nas: space 'own_module:number' is a int, but must be a Grammar, a FlowGrammar, a space or a function that is called with io= and gives a space",
        ),
        (
            "space check own_module:raises x",
            "nas: space 'own_module:raises' cannot be made: KeyError: 'boom' (own_module.py:2 in raises)",
        ),
        (
            "space check own_module:nothing x",
            "nas: space 'own_module:nothing' gives a NoneType, which is no space",
        ),
    ],
)
def test_arguments(refused, campaign_file, tmp_path, arguments, message):
    campaign_file()
    (tmp_path / "things").mkdir()
    (tmp_path / "things" / "a.txt").write_text("")
    (tmp_path / "own_module.py").write_text(
        "number = 3\ndef raises(): raise KeyError('boom')\ndef nothing(): ...\n"
    )
    assert refused(*arguments.split()).replace("own_module.py, ", "") == message


@pytest.mark.parametrize(
    "genome, message",
    [
        ("", "expected the name of a production at position 0, found the end of the text, in ''"),
        (
            "transformer+",
            f"space 'hybrid' has no architecture 'transformer+', did you mean 'transformer++'? allowed: {MODELS}",
        ),
        (
            "stack(",
            "expected the name of a field of 'stack' at position 6, found the end of the text, in 'stack('",
        ),
        ("|none~0|", "unexpected '|' at position 0 of '|none~0|'"),
        (
            "stak(layers=[], repeat=1)",
            "the root: 'stak' is no model here, did you mean 'stack'? allowed: stack, deep_net",
        ),
        (
            "stack(layers=[residual(body=swiglu(mul=3))], repeat=2)",
            "layers[0].body: 'swiglu' has no field 'mul', did you mean 'mult'? allowed: mult",
        ),
        (
            "stack(layers=[residual(body=swiglu(mult=nan))], repeat=2)",
            "layers[0].body.mult: nan is not allowed; allowed: 1, 2, 3, 4",
        ),
        ("stack(layers=[" * 200, "more than 150 productions stand in one another, at position 2100"),
    ],
)
def test_genomes(refused, genome, message):
    assert refused("space", "check", "hybrid", genome) == f"nas: {message}"


def test_gpus_that_are_not_there(refused, campaign_file, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    campaign_file(**{"workers.gpus": 2})
    message = f"'workers.gpus' is 2, but PyTorch {torch.__version__} finds no CUDA device here"
    assert refused("run", "campaign.toml", "--dir", "run") == f"nas: {message}"
