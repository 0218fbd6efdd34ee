"""What every flow grammar builds with: clones, sums, branchings, the head. Batches come first, shapes follow.

Letters in names: N samples, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Identity, Sequential

__all__ = ["Add", "Branching", "Clone", "Head", "Identity", "Sequential", "tried"]


class Clone(nn.Module):
    """Hands its input to every branch."""

    def __init__(self, ways: int) -> None:
        super().__init__()
        self.ways = ways

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x] * self.ways


class Add(nn.Module):
    """The sum of all branches."""

    def forward(self, branches: Sequence[Tensor]) -> Tensor:
        total = branches[0]
        for branch in branches[1:]:
            total = total + branch
        return total


class Branching(nn.Module):
    """A fork, one module for each of its outputs, a join."""

    def __init__(self, fork: nn.Module, branches: Sequence[nn.Module], join: nn.Module) -> None:
        super().__init__()
        self.fork, self.branches, self.join = fork, nn.ModuleList(branches), join

    def forward(self, x: Tensor) -> Tensor:
        parts = self.fork(x)
        return self.join([branch(part) for branch, part in zip(self.branches, parts, strict=True)])


class Head(nn.Module):
    """The mean over all positions (of [N, C, H, W] over H and W, of [N, L, C] over L), and a linear layer."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 4:
            x = x.mean(dim=(2, 3))
        elif x.dim() > 2:
            x = torch.flatten(x, 1, -2).mean(dim=1)
        return self.linear(x)


def tried(module: nn.Module, shape: Any, several: bool) -> Any:
    """The shape of what a module gives for two random samples, without the batch, a list where it gives several.

    What is no tensor is told by its type. The random state is left as it was.

    Args:
        shape: of the input, or with `several` those of all inputs, which come as a list.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        given = module([torch.randn(2, *each) for each in shape] if several else torch.randn(2, *shape))
    return [_shape(each) for each in given] if isinstance(given, list | tuple) else _shape(given)


def _shape(given: Any) -> tuple[int, ...] | str:
    return tuple(given.shape[1:]) if isinstance(given, Tensor) else type(given).__name__
