"""Trains short, tests long: perplexity of attention with ALiBi, RoPE and no positions beyond the training length.

    python tests/speed/extrapolation.py [--length 64] [--steps 600] [--seeds 1]

Byte models of two layers of attention and a feed-forward learn the standard library in windows of `length` bytes, by
the same batches, and read the validation files in windows up to eight times as long. Perplexity is of a byte, over
whole windows: what is predicted at their ends has more to go by, so that a model that makes use of it does better in
longer ones.
"""

from __future__ import annotations

import argparse
import math

import torch
from torch import Tensor, nn

from nas.training.tasks.bytes import ByteText
from spaces.blocks.attention import Attention
from spaces.blocks.base import rms_norm
from spaces.blocks.mlp import SwiGLU
from spaces.blocks.topology import Residual, Stack

POSITIONS = ("alibi", "rope", "none")
WIDTH, LAYERS, VOCAB = 64, 2, 256


class ByteModel(nn.Module):
    """Bytes [B, L] to logits [B, L, V]."""

    def __init__(self, position: str) -> None:
        super().__init__()
        mixers = [
            mixer
            for _ in range(LAYERS)
            for mixer in (
                Attention(WIDTH, heads=8, kv_heads=8, position=position, window=None),
                SwiGLU(WIDTH, mult=2),
            )
        ]
        self.embedding = nn.Embedding(VOCAB, WIDTH)
        self.layers = Stack([Residual(WIDTH, mixer) for mixer in mixers])
        self.norm, self.head = rms_norm(WIDTH), nn.Linear(WIDTH, VOCAB)

    def forward(self, bytes_BL: Tensor) -> Tensor:
        return self.head(self.norm(self.layers(self.embedding(bytes_BL))[0]))


def perplexities(
    position: str, length: int, times: tuple[int, ...], steps: int, seed: int, tokens: int = 32_768
) -> list[float]:
    """Perplexity of a byte of validation text in windows of so many times the training length."""
    torch.manual_seed(seed)
    model = ByteModel(position)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    task = ByteText(length=length, batch=32)
    for _, batch in zip(range(steps), task.train_batches(seed), strict=False):
        optimizer.zero_grad()
        task.loss(model, batch).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    longer = (ByteText(length=n * length, batch=8, valid_tokens=tokens) for n in times)
    return [2 ** task.evaluate(model, "valid")["valid_bpb"] for task in longer]


def main() -> None:
    options = argparse.ArgumentParser()
    for name, default in (("length", 64), ("steps", 600), ("seeds", 1)):
        options.add_argument(f"--{name}", type=int, default=default)
    chosen = options.parse_args()
    torch.set_num_threads(1)
    times = (1, 2, 4, 8)
    lengths = "".join(f"{n * chosen.length:>9}" for n in times)
    print(f"trained on windows of {chosen.length} bytes; perplexity in windows of\n{'':8}{lengths}")
    for position in POSITIONS:
        runs = [
            perplexities(position, chosen.length, times, chosen.steps, seed) for seed in range(chosen.seeds)
        ]
        means = [math.exp(sum(map(math.log, each)) / len(each)) for each in zip(*runs, strict=True)]
        print(f"{position:8}" + "".join(f"{mean:>9.2f}" for mean in means), flush=True)


if __name__ == "__main__":
    main()
