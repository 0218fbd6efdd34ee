"""The byte-level task: windows, batches, bits per byte."""

import pickle
from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn

from nas.training.tasks import TASKS
from nas.training.tasks.bytes import ByteText
from nas.types import InvalidInput


class Uniform(nn.Module):
    """Every byte is as likely as any other."""

    def __init__(self) -> None:
        super().__init__()
        self.zero = nn.Parameter(torch.zeros(256))

    def forward(self, tokens_BL: torch.Tensor) -> torch.Tensor:
        return self.zero.expand(*tokens_BL.shape, 256)


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_uniform_model_needs_eight_bits(task, split):
    assert task.evaluate(Uniform(), split) == {f"{split}_bpb": pytest.approx(8.0, abs=1e-6)}


def test_held_out_windows_do_not_overlap_and_span_the_split(task):
    for split, size in (("valid", len(task._bytes["valid"])), ("test", len(task._bytes["test"]))):
        starts = task.starts(split)
        assert np.diff(starts).min() >= task.length
        assert starts[0] == 0
        assert starts[-1] + task.length < size <= starts[-1] + 2 * task.length + np.diff(starts).max()
        assert len(starts) == 1024 // 32


def test_held_out_tokens_are_at_most_what_is_there(text):
    task = ByteText(text, length=32, batch=4, valid_tokens=10**9)
    size = len(task._bytes["valid"])
    assert len(task.starts("valid")) == (size - 1) // 32


def test_training_batches_are_of_the_training_split_and_repeat_by_seed(task):
    first, again, other = (list(islice(task.train_batches(seed), 5)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert first[0].shape == (4, 33)
    assert first[0].dtype == torch.int64
    train = task._bytes["train"].tobytes()
    assert all(bytes(row.tolist()) in train for batch in first for row in batch)


def test_the_last_byte_of_the_text_can_be_drawn(tmp_path):
    for name, content in {"a": b"ab", "b": b"cd", "c": b"efg"}.items():
        (tmp_path / name).write_bytes(content)
    task = ByteText(str(tmp_path), length=1, batch=64, valid_tokens=1, test_tokens=1)
    drawn = {bytes(row.tolist()) for row in next(task.train_batches(0))}
    assert drawn == {b"ef", b"fg"}


def test_files_of_a_split_are_disjoint(task):
    names = [name for part in task.files.values() for name in part]
    assert len(names) == len(set(names)) == 30


def test_numbers_out_of_range(text):
    with pytest.raises(InvalidInput, match=r"'task\.length' must be an integer >= 1, got 0"):
        ByteText(text, length=0)
    with pytest.raises(InvalidInput, match=r"'task\.valid_tokens' must be an integer >= 128 .*, got 100"):
        ByteText(text, length=128, valid_tokens=100)


def test_text_too_short_for_a_window(text):
    with pytest.raises(
        InvalidInput, match=r"'task\.text' is .* whose valid split has \d+ bytes, too few .* 5001"
    ):
        ByteText(text, length=5000)


def test_pickles_with_its_data(task):
    copy = pickle.loads(pickle.dumps(task))
    assert torch.equal(next(copy.train_batches(3)), next(task.train_batches(3)))


def test_table_names_the_task():
    assert f"{ByteText.__module__}:{ByteText.__name__}" in TASKS.values()


def test_tokens_of_a_validation(text):
    task = ByteText(text, length=32, batch=4, valid_tokens=1000)
    assert task.tokens_per_validation == 32 * len(task.starts("valid")) <= 1000
