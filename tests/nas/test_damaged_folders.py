"""Run folders and exports that are damaged or are something else, and the line that says it."""

import shutil

import pytest

import nas
from nas.cli import main
from nas.store.parquet import read_trials


@pytest.fixture(scope="module")
def finished(tmp_path_factory, text_folder):
    """The folder of a campaign of one trial, and its file."""
    folder = tmp_path_factory.mktemp("finished")
    file = folder / "campaign.toml"
    file.write_text(f"""
name = "done"
space = {{name = "hybrid", width = 16, context = 32, operators = 4}}
task = {{name = "bytes", text = "{text_folder}", length = 16, batch = 4, valid_tokens = 256, test_tokens = 256}}
strategy = {{name = "random"}}
budget = {{trials = 1, steps = 1, confirm = 0}}
objectives = [{{metric = "valid_bpb"}}]
workers = {{engine = "serial"}}
""")
    nas.run(file, dir=folder / "run")
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return tmp_path / "run"


RUN = ("run", "campaign.toml", "--dir", "run")
REPAIR = "Restore the file from a copy, or keep only what comes before, with 'head -n 0'; nothing was changed"


@pytest.mark.parametrize(
    "name, content, arguments, message",
    [
        (
            "config.json",
            b"{",
            ("status", "run"),
            "run/config.json: damaged, not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
        (
            "config.json",
            b"\xff",
            RUN,
            "run/config.json: damaged, not JSON: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
        ),
        ("config.json", b"[]", RUN, "run/config.json: damaged, not a JSON object"),
        ("config.json", b"{}", ("status", "run"), "run/config.json: missing key 'name', it must be a string"),
        ("versions.json", b"[]", RUN, "run/versions.json: damaged, not a JSON object"),
        ("versions.json", None, RUN, "run/versions.json: cannot be read: No such file or directory"),
        (
            "events.jsonl",
            b"\x00\xff\n\n",
            RUN,
            f"run/events.jsonl, line 1: the checksum is wrong, so it was changed after it was written. {REPAIR}",
        ),
        (
            "events.jsonl",
            b"{}\n{}\n",
            ("status", "run"),
            f"run/events.jsonl, line 1: the checksum is wrong, so it was changed after it was written. {REPAIR}",
        ),
        ("events.jsonl", "folder", RUN, "run/events.jsonl: cannot be read as an event log: Is a directory"),
        (
            "events.jsonl",
            "folder",
            ("status", "run"),
            "run/events.jsonl: cannot be read as an event log: Is a directory",
        ),
    ],
)
def test_damaged_run_folders(refused, copied, name, content, arguments, message):
    (copied / name).unlink()
    if content == "folder":
        (copied / name).mkdir()
    elif content is not None:
        (copied / name).write_bytes(content)
    assert refused(*arguments) == f"nas: {message}"


def test_the_folder_of_another_campaign(refused, copied, tmp_path):
    file = tmp_path / "campaign.toml"
    whole = file.read_text()
    rule = "Only budget.trials, budget.seconds, workers.count may change, and only to more; another --dir starts a new campaign"
    for old, new, what in (
        ('name = "done"', 'name = "done"\nseed = 4', "'seed' is 0 there and 4 now"),
        ("steps = 1", "steps = 2", "'budget.steps' is 1 there and 2 now"),
        ("context = 32", "context = 33", "'space.context' is 32 there and 33 now"),
    ):
        file.write_text(whole.replace(old, new))
        assert refused(*RUN) == f"nas: run: this run folder holds a campaign that differs: {what}. {rule}"


def test_a_broken_table_is_told_and_written_again_from_the_log(capsys, copied, monkeypatch):
    monkeypatch.chdir(copied.parent)
    whole = read_trials(copied / "trials.parquet")
    (copied / "trials.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(
        nas.InvalidInput, match=r"damaged, or not Parquet: .*: delete this file, and 'nas run' writes it"
    ):
        read_trials(copied / "trials.parquet")
    assert main(["status", "run"]) == 0, "the log is what counts"
    assert main(RUN) == 0
    assert read_trials(copied / "trials.parquet").equals(whole)
    capsys.readouterr()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            "best --to onx --out out",
            "unknown form of export 'onx', did you mean 'onnx'? allowed: onnx, source",
        ),
        ("7 --to source --out out", "campaign 'done' has no finished trial 7; there are: 0"),
        ("-1 --to source --out out", "trial '-1' is neither a number nor 'best'"),
        (
            "best --to source --out campaign.toml",
            "campaign.toml exists and is no export: give a new folder, or remove this one",
        ),
        ("best --to source --out campaign.toml/out", "campaign.toml/out: cannot be written: Not a directory"),
        ("best --to source --out /proc/out", "/proc/out: cannot be written: No such file or directory"),
    ],
)
def test_exports(refused, copied, arguments, message):
    assert refused("export", "run", *arguments.split()) == f"nas: {message}"


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"{", "cannot be read: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b"\xff", "cannot be read: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (b"[]", "was written by something else"),
        (b'{"form": "onnx", "architecture": "a()", "files": []}', "was written by something else"),
    ],
)
def test_folders_that_are_no_exports(refused, tmp_path, content, reason):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_bytes(content)
    assert refused("verify", "out") == f"nas: out holds no export: its config.json {reason}"
