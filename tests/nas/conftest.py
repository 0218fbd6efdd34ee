import textwrap

import pytest

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


@pytest.fixture
def campaign_file(tmp_path, text_folder):
    """Writes a small campaign file; keyword arguments replace lines by "section.key"."""

    def write(name="campaign.toml", **changes):
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
        path = tmp_path / name
        path.write_text("\n".join(lines))
        return path

    return write
