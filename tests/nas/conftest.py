import sys
import textwrap
from functools import partial

import pytest

from nas.cli import main

FILE = """
name = "small"
seed = 3

[space]
name = "hybrid"
width = 16
context = 32
operators = 4
nodes = 12
parameters = 40_000

[task]
name = "bytes"
text = "{text}"
length = 16
batch = 4
valid_tokens = 256
test_tokens = 256

[strategy]
name = "evolution"
population = 4
tournament = 2

[budget]
trials = 6
steps = 3
seconds = 60
confirm = 1

[[objectives]]
metric = "valid_bpb"

[workers]
engine = "serial"
"""


@pytest.fixture(scope="session")
def write_campaign(text_folder):
    """Writes a small campaign file into a folder; keyword arguments replace lines by "section.key"."""

    def write(folder, file="campaign.toml", /, **changes):
        lines, section = [], ""
        for line in textwrap.dedent(FILE.format(text=text_folder)).splitlines():
            if line.startswith("["):
                section = line.strip("[]") + "."
            key = section + line.partition(" =")[0]
            if key in changes:
                value = changes.pop(key)
                if value is not None:
                    lines.append(f"{key.rpartition('.')[2]} = {value}")
            else:
                lines.append(line)
        for key, value in changes.items():
            section, _, last = key.rpartition(".")
            lines.insert(lines.index(f"[{section}]") + 1, f"{last} = {value}")
        path = folder / file
        path.write_text("\n".join(lines))
        return path

    return write


@pytest.fixture
def campaign_file(tmp_path, write_campaign):
    """The same in the folder of the test."""
    return partial(write_campaign, tmp_path)


def names(folder):
    """All that lies in a folder, but for what Python keeps of modules."""
    paths = [path for path in folder.rglob("*") if "__pycache__" not in path.parts]
    return sorted(str(path.relative_to(folder)) for path in paths)


@pytest.fixture
def refused(capsys, tmp_path, monkeypatch):
    """Runs a command that must be refused: its one line, after checking that it changed nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.modules.pop("own_module", None)

    def call(*arguments):
        before = names(tmp_path)
        try:
            code = main(arguments)
        except SystemExit as end:  # of the parser of arguments
            code = end.code
        out, err = capsys.readouterr()
        assert (code, out) == (2, "")
        assert err.endswith("\n")
        assert len(err.splitlines()) == 1
        assert names(tmp_path) == before
        return err.removesuffix("\n").replace(str(tmp_path), "HERE")

    return call
