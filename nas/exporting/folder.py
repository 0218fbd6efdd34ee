"""What every export folder holds beside the model: what it is, and a reference to check it by."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas.exporting.inputs import example
from nas.types import InvalidInput
from spaces import Genome, Space
from spaces.io import TokenIO

CONFIG, REFERENCE = "config.json", "reference.safetensors"
BATCH, POSITIONS = 3, 16
"""Samples of the reference, and positions of a sequence whose logits are kept."""
CANDIDATES, SHAKEN = 8, 3
"""Samples that are drawn to choose from, and copies of the model that tell how firm their logits are."""


def write_config(folder: Path, to: str, space: Space, genome: Genome, metrics: Mapping[str, float]) -> None:
    """`config.json`: form, architecture, input and output, metrics, versions, and the hash of every other file."""
    config = {
        "form": to,
        "space": space.name,
        "architecture": genome.text,
        "digest": genome.digest,
        "io": dataclasses.asdict(space.io),
        "context": space.context,
        "metrics": dict(metrics),
        "versions": {name: version(name) for name in ("grammar-nas", "torch")},
        "files": {path.name: file_hash(path) for path in sorted(folder.iterdir())},
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of an export folder.

    Raises:
        InvalidInput: the folder holds no export.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidInput(f"{folder} holds no export: its {CONFIG} cannot be read: {reason}") from error
    kinds = {"form": str, "architecture": str, "files": dict}
    if not isinstance(config, dict) or not all(isinstance(config.get(key), kinds[key]) for key in kinds):
        raise InvalidInput(f"{folder} holds no export: its {CONFIG} was written by something else")
    return config


def file_hash(path: Path) -> str:
    """SHA-256 in hexadecimal digits; "missing" where there is no such file."""
    if not path.is_file():
        return "missing"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_reference(folder: Path, space: Space, model: nn.Module) -> None:
    """`reference.safetensors`: three random samples as `input`, and their `output`.

    Of sequences of tokens it is the logits at some `positions` [P], [3, P, vocab]; else all that the model gives.
    Where a router or a memory picks between scores that are nearly equal, rounding decides, and the output says
    nothing about an export. So of several random samples those are kept whose output moves least when the weights
    do, by more than rounding would.
    """
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(0)
    tensors: dict[str, Tensor] = {}
    if isinstance(space.io, TokenIO):
        tensors["positions"] = torch.linspace(0, space.context - 1, min(POSITIONS, space.context)).long()

    def output(twin: nn.Module, sample: Tensor) -> Tensor:
        made: Tensor = twin(sample)
        return made[:, tensors["positions"]] if "positions" in tensors else made

    shaken = [_shaken(model, generator) for _ in range(SHAKEN)]
    drawn: list[tuple[float, Tensor, Tensor]] = []
    with torch.no_grad():
        for _ in range(CANDIDATES):
            sample = example(space, 1, generator)
            wanted, *others = (output(twin, sample) for twin in (model, *shaken))
            drawn.append((max((other - wanted).abs().max().item() for other in others), sample, wanted))
    firmest = sorted(drawn, key=lambda each: each[0])[:BATCH]
    tensors["input"] = torch.cat([sample for _, sample, _ in firmest])
    tensors["output"] = torch.cat([wanted for _, _, wanted in firmest])
    save_file(tensors, folder / REFERENCE)


def _shaken(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """A copy whose weights are off by about a hundred thousandth of themselves."""
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for weight in twin.parameters():
            weight.mul_(1 + 1e-5 * torch.randn(weight.shape, generator=generator))
    return twin
