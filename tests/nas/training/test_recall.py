"""The recall task: what its sequences ask, batches, and answers counted."""

import math
import pickle
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import spaces
from nas.training.evaluator import TrainingEvaluator
from nas.training.recipe import Recipe
from nas.training.tasks import TASKS
from nas.training.tasks.recall import NOT_ASKED, Recall, draw_pairs
from nas.types import Fidelity, InvalidInput, Proposal

SMALL = {"vocab": 8, "length": 12, "batch": 4, "train": 18, "valid": 10, "test": 7}


@pytest.fixture(scope="module")
def task() -> Recall:
    return Recall(**SMALL)


class Table(nn.Module):
    """Logits that depend on a token and its place only, as good as random."""

    def __init__(self, vocab: int = 8) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.of_token = nn.Parameter(torch.randn(vocab, vocab, generator=generator))

    def forward(self, tokens_BL: torch.Tensor) -> torch.Tensor:
        return self.of_token[tokens_BL].roll(1, dims=-1) + torch.arange(tokens_BL.shape[1])[:, None].sin()


def read(sequence: list[int], vocab: int) -> list[int]:
    """What can be answered after each token of a sequence but the last, read from left to right."""
    values: dict[int, int] = {}
    targets = []
    for key, value in zip(sequence[::2], sequence[1::2], strict=True):
        assert 0 <= key < vocab // 2 <= value < vocab
        targets += [values.get(key, NOT_ASKED), NOT_ASKED]
        assert values.setdefault(key, value) == value
    return targets[:-1]


@settings(max_examples=60, deadline=None)
@given(
    vocab=st.integers(4, 600),
    pairs=st.integers(2, 20),
    sequences=st.integers(1, 20),
    data_seed=st.integers(0, 2**40),
)
def test_every_answer_was_read_before(vocab, pairs, sequences, data_seed):
    task = Recall(vocab, 2 * pairs, sequences, train=sequences, valid=1, test=1, data_seed=data_seed)
    inputs_BL, targets_BL = next(task.train_batches(0))
    assert inputs_BL.shape == targets_BL.shape == (sequences, 2 * pairs - 1)
    assert inputs_BL.dtype == targets_BL.dtype == torch.int64
    for inputs, targets in zip(inputs_BL.tolist(), targets_BL.tolist(), strict=True):
        assert targets == read([*inputs, targets[-1]], vocab)
        assert targets[-1] != NOT_ASKED  # each sequence asks once at least


def draw_slowly(rng, pairs, vocab):
    """One sequence, pair by pair, as the paper describes it."""
    values, sequence = {}, []
    for pair in range(pairs):
        key = rng.choice(list(values)) if pair == pairs - 1 else rng.integers(vocab // 2)
        sequence += [key, values.setdefault(key, rng.integers(vocab // 2, vocab))]
    return [int(token) for token in sequence]


def test_sequences_are_as_frequent_as_drawn_one_by_one():
    """All 42 sequences of three pairs over two keys and three values, each as often, but for chance."""
    rng, drawn = np.random.default_rng(0), 20_000
    fast = [tuple(row) for row in draw_pairs(rng, drawn, 3, 5)[0].tolist()]
    slow = [tuple(draw_slowly(rng, 3, 5)) for _ in range(drawn)]
    both = sorted({*fast, *slow})
    counts = np.array(
        [np.unique([both.index(row) for row in rows], return_counts=True)[1] for rows in (fast, slow)]
    )
    difference = (counts[0] - counts[1]) / np.sqrt(counts.sum(axis=0))
    assert counts.shape == (2, 42)
    assert (difference**2).mean() < 1 + 5 * math.sqrt(2 / 42)


def test_the_papers_defaults():
    task = Recall()
    inputs_BL, targets_BL = next(task.train_batches(0))
    assert inputs_BL.shape == (128, 127)
    assert set(inputs_BL.unique().tolist()) == set(range(16))
    assert set(targets_BL.unique().tolist()) == {NOT_ASKED, *range(8, 16)}
    assert (task.steps_per_epoch, task.tokens_per_step) == (100, 128 * 127)
    assert task.io(32) == spaces.tokens(16, 32)


def test_the_same_seed_gives_the_same_data_and_another_gives_other(task):
    same, other = Recall(**SMALL), Recall(**SMALL, data_seed=1)
    for split in ("train", "valid", "test"):
        assert all(map(np.array_equal, task._data[split], same._data[split]))
        assert not np.array_equal(task._data[split][0], other._data[split][0])


@pytest.mark.parametrize(
    "change", [{"data_seed": 1}, {"vocab": 9}, {"length": 14}, {"train": 19}, {"test": 8}]
)
def test_the_fingerprint_changes_with_the_data(task, change):
    assert len(task.fingerprint) == 32
    assert Recall(**SMALL).fingerprint == Recall(**{**SMALL, "batch": 2}).fingerprint == task.fingerprint
    assert Recall(**{**SMALL, **change}).fingerprint != task.fingerprint


def test_no_sequence_is_in_two_splits():
    task = Recall(length=64, batch=1, train=500, valid=500, test=500)
    rows = [row.tobytes() for tokens_NT, _ in task._data.values() for row in tokens_NT]
    assert len(set(rows)) == len(rows) == 1500


def test_an_epoch_reads_each_sequence_once_at_most_and_order_follows_the_seed(task):
    first, again, other = (list(islice(task.train_batches(seed), 8)) for seed in (1, 1, 2))
    assert all(
        torch.equal(a, b) for x, y in zip(first, again, strict=True) for a, b in zip(x, y, strict=True)
    )
    assert not all(torch.equal(x[0], y[0]) for x, y in zip(first, other, strict=True))
    known = [row[:-1].tolist() for row in task._data["train"][0]]
    assert task.steps_per_epoch == 4
    for epoch in (first[:4], first[4:]):
        read_now = [known.index(row) for inputs_BL, _ in epoch for row in inputs_BL.tolist()]
        assert len(set(read_now)) == len(read_now) == 16
    assert not torch.equal(first[0][0], first[4][0])


@pytest.mark.parametrize("split", ["valid", "test"])
def test_evaluation_equals_counting_by_hand(task, split):
    model, answers = Table(), []
    for sequence in task._data[split][0].tolist():
        logits_LV = model(torch.tensor([sequence[:-1]]))[0].tolist()
        for logits, target in zip(logits_LV, read(sequence, 8), strict=True):
            if target != NOT_ASKED:
                nats = math.log(sum(map(math.exp, logits))) - logits[target]
                answers.append((max(range(8), key=logits.__getitem__) == target, nats))
    assert len(answers) > len(task._data[split][0])
    right, nats = (sum(column) / len(answers) for column in zip(*answers, strict=True))
    assert 0 < right < 1
    measured = task.evaluate(model, split)
    assert measured == {
        f"{split}_accuracy": pytest.approx(right),
        f"{split}_loss": pytest.approx(nats, rel=1e-5),
    }


def test_the_loss_counts_answers_only(task):
    model = Table()
    inputs_BL, targets_BL = next(task.train_batches(0))
    loss = task.loss(model, (inputs_BL, targets_BL))
    asked_BL = targets_BL != NOT_ASKED
    nats = -model(inputs_BL).log_softmax(-1)[asked_BL].gather(1, targets_BL[asked_BL][:, None])
    assert loss.item() == pytest.approx(nats.mean().item(), rel=1e-5)
    loss.backward()
    assert torch.isfinite(model.of_token.grad).all()


@pytest.mark.parametrize(
    "key, value, allowed",
    [
        ("vocab", 3, "an integer >= 4, for two keys and two values"),
        ("length", 2, "an even integer >= 4, for two pairs"),
        ("length", 13, "an even integer >= 4, for two pairs"),
        ("batch", 0, "an integer >= 1"),
        ("train", 3, r"an integer >= 4 \('task.batch': one step\)"),
        ("valid", 0, "an integer >= 1"),
        ("test", 0, "an integer >= 1"),
        ("data_seed", -1, "an integer >= 0"),
    ],
)
def test_numbers_out_of_range(key, value, allowed):
    with pytest.raises(InvalidInput, match=rf"'task\.{key}' must be {allowed}, got {value}$"):
        Recall(**{**SMALL, key: value})


def test_pickles_with_its_data(task):
    copy = pickle.loads(pickle.dumps(task))
    assert torch.equal(next(copy.train_batches(3))[0], next(task.train_batches(3))[0])
    assert copy.fingerprint == task.fingerprint


def test_the_table_names_the_task():
    assert TASKS["recall"] == f"{Recall.__module__}:{Recall.__name__}"


def test_a_convolution_and_attention_learn_it(context):
    """In an epoch, far beyond the one in four that is chance; each alone does not see key and value together."""
    task = Recall(vocab=8, length=24, batch=16, train=2_400, valid=64, test=64)
    space = spaces.load("hybrid", io=task.io(32), context=24)
    attention = "attention(heads=2, kv_heads=2, position=none, window=none, qk_norm=false)"
    genome = space.parse(
        f"stack(layers=[residual(body=gated_conv(kernel=3)), residual(body={attention})], repeat=1)"
    )
    evaluator = TrainingEvaluator(space, task, Recipe())
    metrics = evaluator.evaluate(
        Proposal(0, genome, Fidelity(1, "epochs"), 0), context(splits=("valid", "test"))
    )
    assert min(metrics["valid_accuracy"], metrics["test_accuracy"]) > 0.95
    assert max(metrics["valid_loss"], metrics["test_loss"]) < math.log(4)


def test_tokens_of_a_validation(task):
    assert task.tokens_per_validation == 10 * 11
