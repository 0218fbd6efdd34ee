"""Classification of small images.

Letters in names: B batch, C channels, H height, W width, K classes, N images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from nas.training.tasks.base import Task
from nas.types import Direction, InvalidInput, Split
from spaces.io import IO, ImageIO


class ImageClassification(Task):
    """Tell the class of an image.

    Images are dealt out to the splits at random, as `data_seed` says, each class in the same proportions. Channels are
    brought to mean 0 and variance 1 over the training split. There is no augmentation.

    Args:
        images: "digits" (1,797 handwritten digits of 8 x 8 pixels, which scikit-learn carries: UCI optical recognition
            of handwritten digits), or a file of numpy's .npz with `images` [N, H, W] or [N, H, W, C], numbers, and
            `labels` [N], integers from 0.
        batch: images in a training step.
        valid, test: the share of the images that each split holds out.
        data_seed: what the splits follow from; the seed of a trial decides on the order of training only.

    Raises:
        InvalidInput: the file cannot be used, or a number is out of its range.
    """

    metrics: Mapping[str, Direction] = {"valid_accuracy": "max", "valid_loss": "min"}
    units: Mapping[str, str] = {"valid_accuracy": "share", "valid_loss": "nats"}

    def __init__(
        self,
        images: str = "digits",
        batch: int = 64,
        valid: float = 0.2,
        test: float = 0.2,
        data_seed: int = 0,
    ) -> None:
        for key, value, allowed, holds in (
            ("batch", batch, "an integer >= 1", batch >= 1),
            ("valid", valid, "above 0 and below 1", 0 < valid < 1),
            (
                "test",
                test,
                f"above 0 and below {1 - valid:g} ('task.valid' holds out the rest)",
                0 < test < 1 - valid,
            ),
            ("data_seed", data_seed, "an integer >= 0", data_seed >= 0),
        ):
            if not holds:
                raise InvalidInput(f"'task.{key}' must be {allowed}, got {value}")
        images_NHWC, labels_N = read_images(images)
        splits = _deal(labels_N, {"valid": valid, "test": test}, np.random.default_rng(data_seed))
        for split, rows in splits.items():
            if len(rows) < (batch if split == "train" else 1):
                raise InvalidInput(
                    f"'task.images' is {images!r}, whose {split} split has {len(rows)} images, too few for "
                    + (f"one step of {batch} ('task.batch')" if split == "train" else "any measurement")
                )
        self.batch = self.tokens_per_step = batch
        self.steps_per_epoch = len(splits["train"]) // batch
        self.tokens_per_validation = len(splits["valid"])
        _, height, width, channels = images_NHWC.shape
        self._io = ImageIO(channels, height, width, int(labels_N.max()) + 1)
        self.fingerprint = hashlib.blake2b(
            images_NHWC.tobytes()
            + labels_N.tobytes()
            + splits["train"].tobytes()
            + splits["valid"].tobytes(),
            digest_size=16,
        ).hexdigest()
        training = images_NHWC[splits["train"]].astype(np.float64)
        mean_C, std_C = training.mean(axis=(0, 1, 2)), training.std(axis=(0, 1, 2))
        scaled = ((images_NHWC - mean_C) / np.where(std_C > 0, std_C, 1)).astype(np.float32)
        scaled_NCHW = np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))
        self._data = {split: (scaled_NCHW[rows], labels_N[rows]) for split, rows in splits.items()}

    def io(self, width: int) -> IO:
        """Images and classes; models over images have no residual stream of one width."""
        return self._io

    def train_batches(self, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images [B, C, H, W], float32, and classes [B], int64; an epoch leaves out the last few that fill no batch."""
        rng = np.random.default_rng(seed)
        number = len(self._data["train"][0])
        while True:
            for rows_B in rng.permutation(number)[: number - number % self.batch].reshape(-1, self.batch):
                yield self._rows("train", rows_B)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Mean cross-entropy, nats."""
        logits_BK, labels_B = _answers(model, batch)
        return nn.functional.cross_entropy(logits_BK, labels_B)

    @torch.inference_mode()
    def evaluate(self, model: nn.Module, split: Split) -> dict[str, float]:
        """The share of images whose class is the likeliest, and the mean cross-entropy in nats."""
        model.eval()
        right = nats = 0.0
        number = len(self._data[split][0])
        for first in range(0, number, self.batch):
            rows_B = np.arange(first, min(first + self.batch, number))
            logits_BK, labels_B = _answers(model, self._rows(split, rows_B))
            right += (logits_BK.argmax(1) == labels_B).sum().item()
            nats += nn.functional.cross_entropy(logits_BK, labels_B, reduction="sum").item()
        return {f"{split}_accuracy": right / number, f"{split}_loss": nats / number}

    def _rows(self, split: str, rows_B: np.ndarray) -> tuple[Tensor, Tensor]:
        images_NCHW, labels_N = self._data[split]
        return torch.from_numpy(images_NCHW[rows_B]), torch.from_numpy(labels_N[rows_B])


def read_images(images: str) -> tuple[np.ndarray, np.ndarray]:
    """The images [N, H, W, C] and classes [N], int64, that a campaign's `task.images` means.

    Raises:
        InvalidInput: there is no such file, or it does not hold images and their classes.
    """
    if images == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        return digits.images[..., None], digits.target.astype(np.int64)
    path = Path(images).expanduser()
    place = f"'task.images' is {images!r}"
    allowed = "give \"digits\", or an .npz file with arrays 'images' and 'labels'"
    if not path.is_file():
        raise InvalidInput(f"{place}, but there is no such file: {allowed}")
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [key for key in ("images", "labels") if key not in file]
            found = ", ".join(file.files)
            arrays = {key: file[key] for key in ("images", "labels") if key in file}
    except (OSError, ValueError, AttributeError, EOFError) as error:
        raise InvalidInput(f"{place}, which cannot be read as .npz ({error}): {allowed}") from error
    if missing:
        raise InvalidInput(
            f"{place}, which holds {found or 'nothing'}, but no {' and no '.join(missing)}: {allowed}"
        )
    pixels, labels = arrays["images"], arrays["labels"]
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    if pixels.ndim != 4 or not len(pixels) or pixels.dtype.kind not in "uif" or not np.isfinite(pixels).all():
        raise InvalidInput(
            f"{place}: 'images' must be finite numbers [N, H, W] or [N, H, W, C], got {_shown(pixels)}"
        )
    _, height, width, channels = pixels.shape
    if channels > 4 and (height in (3, 4) or (height == 1 and width == channels)):
        raise InvalidInput(
            f"{place}: 'images' {_shown(pixels)} are read as [N, H, W, C], of {channels} channels, but look like "
            "[N, C, H, W]: transpose(0, 2, 3, 1)"
        )
    if labels.shape != (len(pixels),) or labels.dtype.kind not in "ui" or labels.min() < 0:
        raise InvalidInput(
            f"{place}: 'labels' must be integers of at least 0, one for each of {len(pixels)} images, "
            f"got {_shown(labels)}"
        )
    return pixels, labels.astype(np.int64)


def _shown(array: np.ndarray) -> str:
    return f"{array.dtype} {list(array.shape)}"


def _deal(
    labels_N: np.ndarray, shares: Mapping[str, float], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """The rows of each split, in random order: of each class the nearest whole number to its share."""
    dealt: dict[str, list[np.ndarray]] = {"train": [], **{split: [] for split in shares}}
    for label in np.unique(labels_N):
        rows = rng.permutation(np.flatnonzero(labels_N == label))
        first = 0
        for split, share in shares.items():
            last = first + round(share * len(rows))
            dealt[split].append(rows[first:last])
            first = last
        dealt["train"].append(rows[first:])
    return {split: rng.permutation(np.concatenate(parts)) for split, parts in dealt.items()}


def _answers(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The logits [B, K], float32, of a batch and its classes [B], on the model's device."""
    device = next(model.parameters()).device
    images_BCHW, labels_B = (part.to(device) for part in batch)
    return model(images_BCHW).float(), labels_B
