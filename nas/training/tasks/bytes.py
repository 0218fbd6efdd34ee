"""Language modelling of text, byte by byte: no tokeniser, a vocabulary of 256.

Letters in names: B batch, L length, V vocabulary, W windows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from nas.training.tasks.base import Task
from nas.training.tasks.corpus import TextFile, fingerprint, read_text, split_by_file
from nas.types import Direction, InvalidInput, Split
from spaces.io import IO, tokens

SEPARATOR = b"\0"
"""Stands between two files, and is learnt and predicted as any other byte."""


class ByteText(Task):
    """Predict the next byte of text.

    The files of a split are joined by a zero byte. A training batch is `batch` windows from random places,
    which may reach from one file into the next. Validation and test read windows that do not overlap, evenly
    spread over their split, the same for every model; every predicted byte counts alike.

    Args:
        text: "stdlib", or a file, folder or glob: see `corpus.read_text`. All of it is held in memory.
        length: bytes that a window predicts, each from those before it in the window.
        batch: windows in a training step.
        valid_tokens, test_tokens: the most bytes predicted to measure "valid_bpb" and "test_bpb" (bits per byte).

    Raises:
        InvalidInput: the text cannot be used, or a number is below 1 (held-out tokens: below `length`).
    """

    metrics: Mapping[str, Direction] = {"valid_bpb": "min"}
    units: Mapping[str, str] = {"valid_bpb": "bits per byte"}

    def __init__(
        self,
        text: str = "stdlib",
        length: int = 128,
        batch: int = 16,
        valid_tokens: int = 65_536,
        test_tokens: int = 262_144,
    ) -> None:
        least = {"length": (length, 1), "batch": (batch, 1)}
        held_out = {"valid_tokens": (valid_tokens, length), "test_tokens": (test_tokens, length)}
        for key, (value, low) in {**least, **held_out}.items():
            if value < low:
                why = " ('task.length': one window)" if key in held_out else ""
                raise InvalidInput(f"'task.{key}' must be an integer >= {low}{why}, got {value}")
        self.length, self.batch, self.tokens_per_step = length, batch, batch * length
        files = split_by_file(read_text(text), text)
        self.files = {split: tuple(file.name for file in part) for split, part in files.items()}
        """The paths of the files in each split."""
        self.fingerprint = fingerprint(files)
        self._bytes = {split: _joined(part, split, text, length) for split, part in files.items()}
        self._held_out = {"valid": valid_tokens, "test": test_tokens}
        self.tokens_per_validation = len(self.starts("valid")) * length

    def io(self, width: int) -> IO:
        return tokens(vocab=256, width=width)

    def train_batches(self, seed: int) -> Iterator[Tensor]:
        """Byte values [B, L + 1]: each but the last is an input, each but the first a target."""
        rng = np.random.default_rng(seed)
        places = len(self._bytes["train"]) - self.length
        while True:
            yield self._windows("train", rng.integers(places, size=self.batch))

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        """Mean cross-entropy of the next byte, nats."""
        batch = batch.to(next(model.parameters()).device)
        logits_BLV = model(batch[:, :-1]).float()
        return nn.functional.cross_entropy(logits_BLV.flatten(0, 1), batch[:, 1:].flatten())

    @torch.inference_mode()
    def evaluate(self, model: nn.Module, split: Split) -> dict[str, float]:
        """Bits per byte: the cross-entropy in nats over ln 2, averaged over all predicted bytes."""
        model.eval()
        starts_W = self.starts(split)
        nats = 0.0
        for first in range(0, len(starts_W), self.batch):
            part = starts_W[first : first + self.batch]
            nats += len(part) * self.loss(model, self._windows(split, part)).item()
        return {f"{split}_bpb": nats / len(starts_W) / math.log(2)}

    def starts(self, split: Split) -> np.ndarray:
        """Where the windows of a held-out split begin: apart by `length` bytes at least, evenly spread."""
        predictable = len(self._bytes[split]) - 1
        windows = min(self._held_out[split], predictable) // self.length
        return np.arange(windows) * predictable // windows

    def _windows(self, split: str, starts_W: np.ndarray) -> Tensor:
        """Byte values [W, L + 1] from these places on, int64."""
        window = self._bytes[split][starts_W[:, None] + np.arange(self.length + 1)]
        return torch.from_numpy(window.astype(np.int64))


def _joined(files: list[TextFile], split: str, text: str, length: int) -> np.ndarray:
    joined = np.frombuffer(SEPARATOR.join(file.content for file in files), dtype=np.uint8)
    if len(joined) <= length:
        raise InvalidInput(
            f"'task.text' is {text!r}, whose {split} split has {len(joined)} bytes, too few for one window of "
            f"{length + 1} ('task.length' + 1): give more text or a smaller 'task.length'"
        )
    return joined
