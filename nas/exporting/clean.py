"""Runs an exported `model.py` where none of our packages can be imported: python -I clean.py FOLDER.

Prints, as JSON, the largest difference of its output from that of the reference, divided by the largest of this where
that is above 1; and of a model that decodes with a state, how far what it gives by parts is from that, at least.
"""

import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

OURS = ("nas", "spaces", "predictors", "benchmarks")


class Refuse:
    """An import hook that finds nothing of ours, however it is installed."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> None:
        if name.partition(".")[0] in OURS:
            raise ModuleNotFoundError(f"an exported model must not import {name}", name=name)


def main(folder: Path) -> None:
    sys.meta_path.insert(0, Refuse)
    from safetensors.torch import load_file

    spec = importlib.util.spec_from_file_location("exported_model", folder / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    reference = load_file(folder / "reference.safetensors")
    read, wanted = reference["input"], reference["output"]
    with torch.inference_mode():
        model = module.load()
        output = model(read)
        found = [
            difference(output[:, reference["positions"]] if "positions" in reference else output, wanted)
        ]
        if hasattr(model, "step") and model.body.causal:
            by_parts = decoded(model, read)
            # A router's choice between scores that are nearly equal may be another one: not in all samples.
            found.append(min(map(difference, by_parts, output)))
    print(json.dumps(found))


def difference(output: torch.Tensor, wanted: torch.Tensor) -> float:
    return ((output - wanted).abs().max() / wanted.abs().max().clamp(min=1)).item()


def decoded(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """What a model gives for the first half of the tokens, then for one, and then for the others."""
    middle = tokens.shape[1] // 2
    state, outputs = model.init_state(len(tokens)), []
    for part in tokens.tensor_split([middle, middle + 1], dim=1):
        if part.shape[1]:
            output, state = model.step(part, state)
            outputs.append(output)
    return torch.cat(outputs, dim=1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
