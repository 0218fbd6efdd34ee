"""The task of classifying images: splits, batches, answers counted, and files that cannot be used."""

import math
import pickle
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import nas
import spaces
from nas.training.evaluator import TrainingEvaluator
from nas.training.recipe import Recipe
from nas.training.tasks import TASKS
from nas.training.tasks.images import ImageClassification, read_images
from nas.types import Fidelity, InvalidInput, Proposal


@pytest.fixture(scope="module")
def digits():
    return ImageClassification()


@pytest.fixture
def file(tmp_path):
    """Writes arrays as .npz; 20 images of 4 x 3 pixels in 2 colours, 4 classes of 5."""

    def write(**changes):
        rng = np.random.default_rng(0)
        arrays = {
            "images": rng.integers(256, size=(20, 4, 3, 2)).astype(np.uint8),
            "labels": np.arange(20) % 4,
        }
        arrays = {key: value for key, value in {**arrays, **changes}.items() if value is not None}
        np.savez(tmp_path / "images.npz", **arrays)
        return str(tmp_path / "images.npz")

    return write


def rows(task, split):
    images, labels = task._data[split]
    return {(image.tobytes(), label) for image, label in zip(images, labels, strict=True)}


def test_digits_are_dealt_out_whole_and_alike(digits):
    assert TASKS["images"] == "nas.training.tasks.images:ImageClassification"
    assert digits.io(64) == spaces.image(1, 8, 8, classes=10)
    sizes = {split: len(digits._data[split][0]) for split in ("train", "valid", "test")}
    assert sum(sizes.values()) == 1797
    assert sizes["valid"] == sizes["test"] == pytest.approx(0.2 * 1797, abs=5)
    counts = {split: np.bincount(digits._data[split][1]) for split in sizes}
    total = sum(counts.values())
    for split in ("valid", "test"):
        assert np.abs(counts[split] - 0.2 * total).max() <= 0.5
    parts = [rows(digits, split) for split in sizes]
    assert len(set.union(*parts)) == sum(map(len, parts))
    train = digits._data["train"][0]
    assert train.mean() == pytest.approx(0, abs=1e-5)
    assert train.std() == pytest.approx(1, abs=1e-5)


def test_equal_data_seeds_give_equal_splits(digits):
    assert ImageClassification().fingerprint == digits.fingerprint
    other = ImageClassification(data_seed=1)
    assert other.fingerprint != digits.fingerprint
    assert rows(other, "test") != rows(digits, "test")


def test_an_epoch_reads_every_image_once(digits):
    batches = list(islice(digits.train_batches(3), digits.steps_per_epoch))
    assert all(images.shape == (64, 1, 8, 8) and labels.dtype == torch.int64 for images, labels in batches)
    seen = {image.numpy().tobytes() for images, _ in batches for image in images}
    assert len(seen) >= 64 * digits.steps_per_epoch - 2  # two digits may be pixel by pixel the same
    again = list(islice(digits.train_batches(3), 2))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(batches, again, strict=False))


class Constant(nn.Module):
    """The same logits for every image."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, images):
        return self.logits.expand(len(images), -1)


def test_every_image_counts_alike(file):
    task = ImageClassification(file(), batch=3, valid=0.4, test=0.2)
    model = Constant([2.0, 0.0, 0.0, 0.0])
    measured = task.evaluate(model, "valid")
    assert measured["valid_accuracy"] == 0.25
    losses = [-math.log(math.exp(logit) / (math.exp(2) + 3)) for logit in (2, 0, 0, 0)]
    assert measured["valid_loss"] == pytest.approx(sum(losses) / 4)
    assert not model.training


def test_a_file_of_colour_images(file):
    task = ImageClassification(file(), batch=4)
    assert task.io(1) == spaces.image(2, 4, 3, classes=4)
    pixels, labels = read_images(file())
    split, number = "train", 0
    image, label = (part[number] for part in task._data[split])
    raw = pixels[labels == label].astype(float).transpose(0, 3, 1, 2)
    correlations = [np.corrcoef(image[0].ravel(), other[0].ravel())[0, 1] for other in raw]
    assert max(correlations) == pytest.approx(1)
    assert pickle.loads(pickle.dumps(task)).fingerprint == task.fingerprint
    grey = np.random.default_rng(0).random((20, 5, 6))
    constant = file(images=np.concatenate([grey[..., None], np.ones((20, 5, 6, 1))], axis=3))
    assert np.isfinite(ImageClassification(constant, batch=4)._data["train"][0]).all()
    assert ImageClassification(file(images=grey), batch=4).io(1) == spaces.image(1, 5, 6, classes=4)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"images": None}, 'which holds labels, but no images: give "digits", or an .npz file'),
        (
            {"images": np.ones(20)},
            r"'images' must be finite numbers \[N, H, W\] or \[N, H, W, C\], got float64 \[20\]",
        ),
        (
            {"images": np.ones((20, 3, 6, 5))},
            r"'images' float64 \[20, 3, 6, 5\] are read as \[N, H, W, C\], of 5 channels, but look like "
            r"\[N, C, H, W\]: transpose\(0, 2, 3, 1\)",
        ),
        ({"images": np.ones((20, 1, 6, 6))}, r"of 6 channels, but look like \[N, C, H, W\]"),
        ({"images": np.full((20, 2, 2), np.nan)}, "'images' must be finite numbers"),
        ({"labels": np.arange(19)}, r"one for each of 20 images, got int64 \[19\]"),
        ({"labels": np.arange(20) / 2}, r"'labels' must be integers of at least 0.*got float64"),
        ({"labels": np.arange(20) - 1}, "'labels' must be integers of at least 0"),
        ({"labels": np.arange(20)}, "whose valid split has 0 images, too few for any measurement"),
        ({"images": np.array([None] * 20)}, "which cannot be read as .npz"),
    ],
)
def test_files_that_cannot_be_used(file, changes, message):
    with pytest.raises(InvalidInput, match=message):
        ImageClassification(file(**changes), batch=2)


def test_paths_that_cannot_be_used(tmp_path):
    with pytest.raises(InvalidInput, match=r"'task.images' is 'no.npz', but there is no such file"):
        ImageClassification("no.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(InvalidInput, match=r"which cannot be read as .npz"):
        ImageClassification(str(tmp_path / "text.npz"))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"batch": 0}, "'task.batch' must be an integer >= 1, got 0"),
        ({"valid": 1.0}, "'task.valid' must be above 0 and below 1, got 1.0"),
        ({"valid": 0.5, "test": 0.5}, "'task.test' must be above 0 and below 0.5 .*, got 0.5"),
        ({"data_seed": -1}, "'task.data_seed' must be an integer >= 0, got -1"),
        ({"batch": 2000}, "too few for one step of 2000"),
    ],
)
def test_numbers_out_of_range(options, message):
    with pytest.raises(InvalidInput, match=message):
        ImageClassification(**options)


def test_a_small_network_learns_digits(digits, context):
    space = spaces.load("regnet", digits.io(1), depth=4, width=16, stem_stride=1)
    evaluator = TrainingEvaluator(space, digits, Recipe(lr=5e-3))
    genome = space.genome(depth=4, w_0=16, w_a=8, w_m=1.5, group_width=8)
    metrics = evaluator.evaluate(Proposal(0, genome, Fidelity(3, "epochs"), 0), context())
    assert metrics["valid_accuracy"] > 0.8
    assert metrics["valid_loss"] < 0.7


def test_a_campaign_over_images(file, tmp_path):
    folder = tmp_path / "campaign"
    folder.mkdir()
    (folder / "data.npz").write_bytes(Path(file()).read_bytes())
    (folder / "campaign.toml").write_text(
        """
        name = "pictures"
        [space]
        name = "darts"
        channels = 2
        layers = 3
        [task]
        name = "images"
        images = "data.npz"
        batch = 4
        [strategy]
        name = "evolution"
        population = 2
        tournament = 2
        [budget]
        trials = 4
        epochs = 1
        confirm = 1
        [workers]
        engine = "serial"
        [[objectives]]
        metric = "valid_accuracy"
        """
    )
    result = nas.run(folder / "campaign.toml", dir=tmp_path / "run")
    assert [trial.status for trial in result.trials] == ["done"] * 4
    assert result.best().cost["parameters"] > 0
    assert len(result.confirmed("test_accuracy")) == 1
