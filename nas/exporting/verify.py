"""The checks of an export, when it is made and at any time later."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nas.exporting import clean
from nas.exporting.folder import REFERENCE, file_hash, read_config
from nas.types import InvalidInput

PACKAGES: Mapping[str, tuple[str, ...]] = {
    "onnx": ("safetensors", "onnx", "onnxscript", "onnxruntime"),
    "source": ("safetensors",),
}
"""What each form of export is written and checked with."""

CLEAN = "source in a clean process"

DECODING = 1e-4
"""What decoding by parts may differ by from reading all tokens at once, which adds up in another order."""

FORGETS = "tokens by parts do not give what they give all at once: a block forgets what its state is for"

SECONDS = 600
"""How long the clean process may take before it counts as failed."""


@dataclass(frozen=True, slots=True)
class Check:
    """What was compared, the largest difference found, and the largest allowed.

    Of outputs, the difference is divided by the largest of them where that is above 1. Where nothing could be
    compared the difference is infinite, and `error` says what went wrong.
    """

    name: str
    difference: float
    tolerance: float
    error: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the difference is allowed."""
        return self.difference <= self.tolerance

    def __str__(self) -> str:
        outcome = "passed" if self.passed else "failed"
        reason = f": {self.error}" if self.error else ""
        return (
            f"{self.name} {outcome}, difference {self.difference:.1e}, allowed {self.tolerance:.0e}{reason}"
        )


def verify(folder: str | Path) -> list[Check]:
    """Checks an export folder: what its config.json lists is unchanged, its model gives the reference output.

    Source runs in a process in which none of our packages can be imported, within 1e-5, and where the model decodes
    with a state, by parts too, within 1e-4; ONNX runs in ONNX Runtime, with a batch of one and with the whole
    reference, within 1e-4.

    Raises:
        InvalidInput: the folder holds no export, or a package that the checks need is not installed.
    """
    folder = Path(folder)
    config = read_config(folder)
    if config["form"] not in CHECKS:
        raise InvalidInput(f"{folder} holds a form of export unknown to this version: {config['form']!r}")
    require(config["form"])
    changed = [name for name, known in config["files"].items() if file_hash(folder / name) != known]
    error = f"changed or missing since the export: {', '.join(changed)}" if changed else None
    return [Check("files", len(changed), 0, error), *CHECKS[config["form"]](folder)]


def require(form: str) -> None:
    """Raises InvalidInput if a package that this form of export needs is not installed."""
    missing = [name for name in PACKAGES[form] if importlib.util.find_spec(name) is None]
    if missing:
        raise InvalidInput(
            f"export to {form!r} needs {', '.join(missing)}, not installed: pip install 'grammar-nas[export]'"
        )


def _source(folder: Path) -> list[Check]:
    command = [sys.executable, "-I", "-B", clean.__file__, str(folder.resolve())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().rpartition("\n")[2])
        whole, *by_parts = json.loads(done.stdout)
    except Exception as error:
        return [Check(CLEAN, math.inf, 1e-5, str(error))]
    checks = [Check(CLEAN, whole, 1e-5)]
    for difference in by_parts:
        wrong = None if difference <= DECODING else FORGETS
        checks.append(Check("decoding with a state", difference, DECODING, wrong))
    return checks


def _onnx(folder: Path) -> list[Check]:
    def difference(batch: int | None) -> float:
        import numpy as np
        import onnxruntime
        from safetensors.numpy import load_file

        reference = load_file(folder / REFERENCE)
        session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
        (output,) = session.run(None, {session.get_inputs()[0].name: reference["input"][:batch]})
        if "positions" in reference:
            output = output[:, reference["positions"]]
        wanted = reference["output"][:batch]
        return float(np.abs(output - wanted).max() / max(1.0, np.abs(wanted).max()))

    return [
        _check("ONNX Runtime, batch of 1", lambda: difference(1), 1e-4),
        _check("ONNX Runtime, whole reference", lambda: difference(None), 1e-4),
    ]


def _check(name: str, difference: Callable[[], float], tolerance: float) -> Check:
    try:
        return Check(name, difference(), tolerance)
    except Exception as error:  # a damaged export may fail in any way, and each is a finding
        return Check(name, math.inf, tolerance, str(error))


CHECKS: Mapping[str, Callable[[Path], list[Check]]] = {"onnx": _onnx, "source": _source}
"""How each form of export is checked against its reference."""
