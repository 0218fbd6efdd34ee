"""In-context recall: to give again, for a key that was seen before, the value that stood behind it.

Letters in names: B batch, L tokens that a model reads, N sequences, P pairs of a key and a value, T tokens of a
sequence, V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from nas.training.tasks.base import Task
from nas.types import Direction, InvalidInput, Split
from spaces.io import IO, tokens

NOT_ASKED = -100
"""The target where there is no answer to give, as torch's cross-entropy leaves it out."""


class Recall(Task):
    """Multi-query associative recall, the first of the MAD tasks (Poli et al. 2024, arXiv 2403.17844).

    A sequence is pairs of a key and a value. Which value belongs to a key differs from sequence to sequence and
    holds throughout one, so it has to be read, kept, and found again: wherever a key comes back, its value is
    asked for. See `draw_pairs`.

    The paper's: the sequences, and the defaults of `vocab`, `length`, `batch`, `train` and `test`. Ours: the loss
    counts only values that can be answered (the paper's code trains on every next token, keys that nobody can know
    included); accuracy counts every answer alike (there it is averaged over the tokens of the vocabulary); and
    there is a validation split, so that nothing is selected on the test data.

    Args:
        vocab: token ids; the lower half are keys, the rest values.
        length: tokens of a sequence, half of them keys. A model reads all but the last, which is an answer.
        batch: sequences in a training step.
        train, valid, test: sequences of each split, independent draws. An epoch reads those of training in a new
            order, without the last few that fill no batch.
        data_seed: what the sequences follow from; the seed of a trial decides on their order only.

    Raises:
        InvalidInput: a number is out of its range.
    """

    metrics: Mapping[str, Direction] = {"valid_accuracy": "max", "valid_loss": "min"}
    units: Mapping[str, str] = {"valid_accuracy": "share", "valid_loss": "nats"}

    def __init__(
        self,
        vocab: int = 16,
        length: int = 128,
        batch: int = 128,
        train: int = 12_800,
        valid: int = 1_280,
        test: int = 1_280,
        data_seed: int = 0,
    ) -> None:
        for key, value, allowed, holds in (
            ("vocab", vocab, "an integer >= 4, for two keys and two values", vocab >= 4),
            ("length", length, "an even integer >= 4, for two pairs", length >= 4 and length % 2 == 0),
            ("batch", batch, "an integer >= 1", batch >= 1),
            ("train", train, f"an integer >= {batch} ('task.batch': one step)", train >= batch),
            ("valid", valid, "an integer >= 1", valid >= 1),
            ("test", test, "an integer >= 1", test >= 1),
            ("data_seed", data_seed, "an integer >= 0", data_seed >= 0),
        ):
            if not holds:
                raise InvalidInput(f"'task.{key}' must be {allowed}, got {value}")
        self.vocab, self.batch = vocab, batch
        self.tokens_per_step, self.steps_per_epoch = batch * (length - 1), train // batch
        self.tokens_per_validation = valid * (length - 1)
        sizes = {"train": train, "valid": valid, "test": test}
        self._data = {
            split: draw_pairs(np.random.default_rng([number, data_seed]), size, length // 2, vocab)
            for number, (split, size) in enumerate(sizes.items())
        }
        self.fingerprint = _fingerprint(vocab, self._data)

    def io(self, width: int) -> IO:
        return tokens(vocab=self.vocab, width=width)

    def train_batches(self, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Token ids [B, L], and targets [B, L]: the value behind a key seen before, else `NOT_ASKED`; int64."""
        rng = np.random.default_rng(seed)
        sequences = len(self._data["train"][0])
        filling = sequences - sequences % self.batch
        while True:
            for rows_B in rng.permutation(sequences)[:filling].reshape(-1, self.batch):
                yield self._rows("train", rows_B)

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Mean cross-entropy of the values that can be answered, nats."""
        logits_NV, targets_N = _answers(model, batch)
        return nn.functional.cross_entropy(logits_NV, targets_N, ignore_index=NOT_ASKED)

    @torch.inference_mode()
    def evaluate(self, model: nn.Module, split: Split) -> dict[str, float]:
        """The share of answers that are right (the likeliest token), and their mean cross-entropy in nats.

        Every answer of the split counts alike. A model that can tell no more than values from keys is right once
        in as many times as there are values.
        """
        model.eval()
        right = nats = asked = 0.0
        sequences = np.arange(len(self._data[split][0]))
        for first in range(0, len(sequences), self.batch):
            logits_NV, targets_N = _answers(model, self._rows(split, sequences[first : first + self.batch]))
            right += (logits_NV.argmax(1) == targets_N).sum().item()
            nats += nn.functional.cross_entropy(
                logits_NV, targets_N, ignore_index=NOT_ASKED, reduction="sum"
            ).item()
            asked += (targets_N != NOT_ASKED).sum().item()
        return {f"{split}_accuracy": right / asked, f"{split}_loss": nats / asked}

    def _rows(self, split: str, rows_B: np.ndarray) -> tuple[Tensor, Tensor]:
        """These sequences of a split, as `train_batches` gives them."""
        tokens_NT, known_NP = self._data[split]
        tokens_BT = torch.from_numpy(tokens_NT[rows_B].astype(np.int64))
        inputs_BL, targets_BL = tokens_BT[:, :-1], torch.full_like(tokens_BT[:, 1:], NOT_ASKED)
        known_BP = torch.from_numpy(known_NP[rows_B])
        targets_BL[:, ::2] = tokens_BT[:, 1::2].masked_fill(~known_BP, NOT_ASKED)
        return inputs_BL, targets_BL


def draw_pairs(
    rng: np.random.Generator, sequences: int, pairs: int, vocab: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws sequences of keys and values in turn.

    Keys are the lower half of the vocabulary, values the rest. In each sequence every key has one value, drawn
    evenly and apart from those of other keys. The key of a pair is drawn evenly from all, but that of the last
    from those that the sequence has presented, so that each sequence asks at least once.

    Args:
        sequences: N, at least 1.
        pairs: P, at least 2.
        vocab: V, at least 2.

    Returns:
        Token ids [N, T = 2 P], the smallest unsigned integers that hold the vocabulary; and [N, P], whether the
        key of a pair was seen before.
    """
    keys, places = vocab // 2, np.arange(pairs)
    key_NP = rng.integers(keys, size=(sequences, pairs))
    value_NP = rng.integers(keys, vocab, size=(sequences, pairs))
    # The pair that presents the key of each pair, and decides on its value.
    first_NP = np.empty_like(key_NP)
    for pair in places[:-1]:
        first_NP[:, pair] = (key_NP[:, : pair + 1] == key_NP[:, [pair]]).argmax(axis=1)
    presents = first_NP[:, :-1] == places[:-1]
    first_NP[:, -1] = (presents * rng.random(presents.shape)).argmax(axis=1)
    both_NP2 = np.stack([np.take_along_axis(drawn, first_NP, axis=1) for drawn in (key_NP, value_NP)], axis=2)
    tokens_NT = both_NP2.reshape(sequences, 2 * pairs).astype(np.min_scalar_type(vocab - 1))
    return tokens_NT, first_NP < places


def _answers(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The logits [B L, V], float32, of a batch and its targets [B L], on the model's device."""
    device = next(model.parameters()).device
    tokens_BL, targets_BL = (part.to(device) for part in batch)
    return model(tokens_BL).float().flatten(0, 1), targets_BL.flatten()


def _fingerprint(vocab: int, data: dict[str, tuple[np.ndarray, np.ndarray]]) -> str:
    """32 hexadecimal digits of the sequences themselves: how numpy draws them from a seed may change."""
    whole = hashlib.blake2b(digest_size=16)
    for split, (tokens_NT, _) in data.items():
        whole.update(f"{split} {vocab} {tokens_NT.shape}".encode())
        whole.update(tokens_NT.tobytes())
    return whole.hexdigest()
