"""Export as source: one file that imports nothing but PyTorch, and the weights beside it."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from nas.exporting.constructor import constructor
from nas.exporting.inline import inline
from nas.exporting.layout import prefixed, render
from spaces import Genome, Space

FRAME = '''\
"""{title}

    model = load()

gives the trained network; `build` makes the same one with fresh weights. Needs PyTorch, and for its weights
safetensors.
"""

{imports}

# The blocks, each below those that it is made of.


{definitions}


def build() -> {model}:
    """The network, with fresh weights."""
    {body}


def load(folder: str | Path = Path(__file__).parent) -> {model}:
    """The trained network, in evaluation mode: the weights are in `model.safetensors` in the folder.

    Raises ModuleNotFoundError if the package safetensors is not installed.
    """
    try:
        from safetensors.torch import load_model
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the weights are read by safetensors: pip install safetensors") from error
    model = build()
    load_model(model, Path(folder) / "model.safetensors")
    return model.eval()
'''


def to_source(space: Space, genome: Genome, model: nn.Module, folder: Path) -> None:
    """Writes `model.py`, whose `load()` gives the model, and its weights, `model.safetensors`.

    Raises:
        InvalidInput: a block is made or written in a way that does not fit in one file; see `constructor` and
            `inline`.
    """
    from safetensors.torch import save_model

    (folder / "model.py").write_text(source(space, genome, model), encoding="utf-8")
    save_model(model, str(folder / "model.safetensors"))


def source(space: Space, genome: Genome, model: nn.Module) -> str:
    """The text of `model.py`."""
    body, classes = constructor(lambda: space.build(genome), model)
    needed = {"Path": ("pathlib", "Path"), "nn": ("torch", "nn")}
    inlined = inline(classes, needed, ("build", "load"))
    if any(cls.__name__ != name for cls, name in inlined.names.items()):
        body, _ = constructor(lambda: space.build(genome), model, inlined.names)
    return FRAME.format(
        title=f"Network {genome.digest[:12]} of the space {space.name!r}, written by grammar-nas.",
        imports="\n\n".join(["from __future__ import annotations", *inlined.imports]),
        definitions=inlined.definitions,
        model=inlined.names.get(type(model), type(model).__name__),
        body=render(prefixed("return ", body), indent=4),
    )
