"""Runs an exported `model.py` where none of our packages can be imported: python -I clean.py FOLDER.

Prints, as JSON, the largest difference of its output from that of the reference, divided by the largest of
this where that is above 1.
"""

import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path

OURS = ("nas", "spaces", "predictors", "benchmarks")


class Refuse:
    """An import hook that finds nothing of ours, however it is installed."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> None:
        if name.partition(".")[0] in OURS:
            raise ModuleNotFoundError(f"an exported model must not import {name}", name=name)


def main(folder: Path) -> None:
    sys.meta_path.insert(0, Refuse)
    import torch
    from safetensors.torch import load_file

    spec = importlib.util.spec_from_file_location("exported_model", folder / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    reference = load_file(folder / "reference.safetensors")
    with torch.inference_mode():
        output = module.load()(reference["input"])
    if "positions" in reference:
        output = output[:, reference["positions"]]
    wanted = reference["output"]
    difference = (output - wanted).abs().max() / wanted.abs().max().clamp(min=1)
    print(json.dumps(difference.item()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
