"""Writes the table of blocks in `spaces/blocks/README.md`, each with what was found by running it.

python -m tests.spaces.blocks.table
"""

from pathlib import Path
from unittest import mock

import torch

import spaces
from spaces.blocks.base import Block
from spaces.blocks.topology import Residual
from tests.nas.exporting.genomes import MIXERS, SMALL, built, one

README = Path(spaces.__file__).parent / "blocks" / "README.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of the table -->\n"
CONTEXTS = (1024, 16384)
WIDE = spaces.load("hybrid", spaces.tokens(256, 256), context=CONTEXTS[-1])


def block_of(mixer: str) -> Block:
    return next(
        module for module in built(SMALL, one(mixer)).modules() if isinstance(module, Residual)
    ).blocks[0]


def has_a_form_for_export(block: Block) -> bool:
    """Whether the block computes otherwise when it is exported."""
    with mock.patch("torch.compiler.is_exporting", return_value=False) as asked, torch.no_grad():
        block(torch.zeros(1, 40, SMALL.io.width))
    return asked.called


def table() -> str:
    heads = ["Block", "Class", *(f"state after {n:,} tokens, KiB" for n in CONTEXTS), "ONNX"]
    rows = [heads, ["---"] * 2 + ["---:"] * len(CONTEXTS) + ["---"]]
    for mixer, text in MIXERS.items():
        genome = WIDE.parse(f"stack(layers=[residual(body={text})], repeat=1)")
        states = [WIDE.cost(genome, context).state_bytes / 1024 for context in CONTEXTS]
        block = block_of(mixer)
        how = "by a form for export" if has_a_form_for_export(block) else "as it is"
        place = f"[`{type(block).__name__}`]({type(block).__module__.rpartition('.')[2]}.py)"
        rows.append([f"`{text}`", place, *(f"{state:,.1f}" for state in states), how])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def written(text: str) -> str:
    """The text of the file with the table as it is now."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + "\n" + table() + "\n" + END + rest.split(END)[1]


if __name__ == "__main__":
    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
