"""How a network is trained: the settings of the optimiser. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from nas.types import InvalidInput


@dataclass(frozen=True)
class Recipe:
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101) under warm-up and a cosine.

    The same for every genome that says nothing of its training.
    The defaults suit networks of 0.1 to 1 million parameters and a few hundred steps.

    lr: the peak of the learning rate.
    warmup: the part of all steps in which the learning rate rises linearly.
    decay_to: what is left of the peak at the end of the cosine.
    weight_decay: of matrices; vectors (norms, biases) and embeddings have none.
    betas: decay of AdamW's means of the gradient and of its square.
    grad_clip: the largest norm of the whole gradient; longer ones are scaled down to it.
    precision: of products of matrices, in training and when measured: "bfloat16" is `torch.autocast`, in which weights,
        AdamW's means, states and losses stay float32; it is for GPUs, where products are several times as fast.
    kernels: who computes what blocks do: "own", PyTorch code of ours alone; a package, its kernels where it has some;
        "auto", those of all packages that are installed, on GPUs. See `spaces.blocks.kernels`.

    Raises:
        InvalidInput: a setting is out of its range.
    """

    lr: float = 8e-3
    warmup: float = 0.1
    decay_to: float = 0.1
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    grad_clip: float = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"
    kernels: Literal["auto", "own", "flash-linear-attention", "mamba-ssm", "torch"] = "auto"

    def __post_init__(self) -> None:
        two = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
        for key, allowed, holds in (
            ("lr", "above 0, at most 1", 0 < self.lr <= 1),
            ("warmup", "from 0 to less than 1", 0 <= self.warmup < 1),
            ("decay_to", "from 0 to 1", 0 <= self.decay_to <= 1),
            ("weight_decay", "of at least 0", 0 <= self.weight_decay < math.inf),
            ("betas", "from 0 to less than 1, two of them", two),
            ("grad_clip", "above 0", self.grad_clip > 0),
        ):
            if not holds:
                raise InvalidInput(f"'recipe.{key}' must be a number {allowed}, got {getattr(self, key)}")
