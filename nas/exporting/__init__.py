"""Models that run without us: as one file of PyTorch source, or as ONNX. Every export is checked, also later."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from nas.exporting.folder import CONFIG, read_config, write_config, write_reference
from nas.exporting.inputs import input_name
from nas.exporting.onnx import to_onnx
from nas.exporting.source import to_source
from nas.exporting.verify import Check, require, verify
from nas.types import InvalidInput
from spaces import Genome, Space, suggest

Exporter = Callable[[Space, Genome, nn.Module, Path], None]

EXPORTERS: Mapping[str, Exporter] = {"onnx": to_onnx, "source": to_source}
"""The forms of export by name."""


class ExportFailed(RuntimeError):
    """An exported model does not compute what the model does; nothing was written."""


def export(
    space: Space,
    genome: Genome,
    model: nn.Module,
    to: str,
    out: str | Path,
    metrics: Mapping[str, float] | None = None,
) -> list[Check]:
    """Writes a model in another form to a folder, checks that it computes the same, and returns the checks.

    The folder holds `config.json`, a small reference input and output, and `model.onnx` (see `to_onnx`) or
    `model.py` and `model.safetensors` (see `to_source`); nothing is written unless all checks pass. The model
    is exported in float32 and in evaluation mode, and is not changed.

    Args:
        space: where the genome is from; its context is the length of sequences of tokens.
        model: the genome's network, trained; on any device.
        to: "onnx" or "source".
        out: a folder that is new, empty, or holds an earlier export of this architecture to the same form.
        metrics: what is known of the model, for `config.json`.

    Raises:
        InvalidInput: the form is unknown, the folder is in use or cannot be written, a package is missing, the model
            reads more than one tensor or is not of this genome, or one of its blocks cannot be exported.
        ExportFailed: a check fails.
    """
    out = Path(out)
    input_name(space)
    check_free(out, to, genome)
    model = copy.deepcopy(model).cpu().float().eval()
    _check_model(space, genome, model)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as made:
        folder = Path(made)
        EXPORTERS[to](space, genome, model, folder)
        write_reference(folder, space, model)
        write_config(folder, to, space, genome, metrics or {})
        checks = verify(folder)
        if failed := [check for check in checks if not check.passed]:
            raise ExportFailed(f"{genome.digest[:12]} to {to}: {'; '.join(map(str, failed))}")
        out.mkdir(exist_ok=True)
        mode = (folder / CONFIG).stat().st_mode  # safetensors lets nobody else read what it writes
        for path in folder.iterdir():
            path.chmod(mode)
            os.replace(path, out / path.name)
    return checks


def check_free(out: Path, to: str, genome: Genome) -> None:
    """Raises InvalidInput unless the form can be made here, and the folder is new, empty, or the same export.

    A new or empty one has to be writable, which is tried: it may be a long training until it is written.
    """
    if to not in EXPORTERS:
        raise InvalidInput(f"unknown form of export {to!r}{suggest(to, EXPORTERS)}")
    require(to)
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        place = next(path for path in (out, *out.absolute().parents) if path.exists())
        try:
            tempfile.TemporaryDirectory(dir=place).cleanup()
        except OSError as error:
            raise InvalidInput(f"{out}: cannot be written: {error.strerror}") from error
        return
    found = "is no export"
    if (out / CONFIG).is_file():
        config = read_config(out)
        if (config["form"], config["architecture"]) == (to, genome.text):
            return
        found = f"holds an export to {config['form']!r} of {config['architecture']}"
    raise InvalidInput(f"{out} exists and {found}: give a new folder, or remove this one")


def _check_model(space: Space, genome: Genome, model: nn.Module) -> None:
    """Raises InvalidInput unless the model's weights have the names and shapes of the genome's."""
    with torch.random.fork_rng(devices=()):
        wanted = space.build(genome).state_dict()
    found = model.state_dict()
    for name in [*wanted, *found]:
        shapes = [tuple(weights[name].shape) if name in weights else "none" for weights in (wanted, found)]
        if shapes[0] != shapes[1]:
            raise InvalidInput(
                f"the model is not that of genome {genome.digest[:12]}: the shape of {name} is {shapes[1]}, "
                f"but the genome has {shapes[0]}"
            )


__all__ = [
    "EXPORTERS",
    "Check",
    "ExportFailed",
    "check_free",
    "export",
    "input_name",
    "to_onnx",
    "to_source",
    "verify",
]
