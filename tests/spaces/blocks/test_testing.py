"""The conformance suite finds what it is meant to find: each broken block fails its check."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spaces.blocks import testing
from spaces.blocks.base import Block, State
from spaces.blocks.costs import Cost
from spaces.blocks.testing import BlockCase

WIDTH = 4


class Decay(Block):
    """A correct block: y[t] = a y[t-1] + x[t]."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.full((WIDTH,), 0.5))

    def forward(self, x_BLD: Tensor, state: State | None = None) -> tuple[Tensor, State | None]:
        h_BD = torch.zeros_like(x_BLD[:, 0]) if state is None else state[0]
        rows = []
        for x_BD in x_BLD.unbind(1):
            h_BD = self.step(h_BD, x_BD)
            rows.append(h_BD)
        return torch.stack(rows, dim=1), None if state is None else (h_BD,)

    def step(self, h_BD: Tensor, x_BD: Tensor) -> Tensor:
        return self.rate * h_BD + x_BD

    def init_state(self, batch: int) -> State:
        return (self.rate.new_zeros(batch, WIDTH),)


class WrongGradient(Decay):
    def step(self, h_BD: Tensor, x_BD: Tensor) -> Tensor:
        return self.rate * h_BD.detach() + x_BD


class SeesTheFuture(Decay):
    def forward(self, x_BLD: Tensor, state: State | None = None) -> tuple[Tensor, State | None]:
        y_BLD, state = super().forward(x_BLD, state)
        return y_BLD + 1e-6 * x_BLD.roll(-1, dims=1), state


class Forgets(Decay):
    def forward(self, x_BLD: Tensor, state: State | None = None) -> tuple[Tensor, State | None]:
        y_BLD, _ = super().forward(x_BLD)
        return y_BLD, state


class OverwritesState(Decay):
    def forward(self, x_BLD: Tensor, state: State | None = None) -> tuple[Tensor, State | None]:
        y_BLD, after = super().forward(x_BLD, state)
        if state is not None:
            state[0].copy_(y_BLD[:, -1])
        return y_BLD, after


class MixesSequences(Decay):
    def forward(self, x_BLD: Tensor, state: State | None = None) -> tuple[Tensor, State | None]:
        return super().forward(x_BLD - x_BLD.mean(dim=0), state)


class Overflows(Decay):
    def step(self, h_BD: Tensor, x_BD: Tensor) -> Tensor:
        return self.rate * h_BD + x_BD.exp()


class InfiniteGradient(Decay):
    def step(self, h_BD: Tensor, x_BD: Tensor) -> Tensor:
        return super().step(h_BD, x_BD) + (self.rate - 0.5).sqrt()


class GrowsState(Decay):
    def init_state(self, batch: int) -> State:
        return (*super().init_state(batch), torch.zeros(3))

    def forward(self, x_BLD: Tensor, state: State | None = None) -> tuple[Tensor, State | None]:
        y_BLD, after = super().forward(x_BLD, state)
        return y_BLD, None if after is None else (*after, torch.zeros(3))


def twin(block: Decay, x_BLD: Tensor) -> Tensor:
    length = x_BLD.shape[1]
    return torch.stack(
        [sum(block.rate ** (t - s) * x_BLD[:, s] for s in range(t + 1)) for t in range(length)], dim=1
    )


def case(block: type[Block]) -> BlockCase:
    return BlockCase(block.__name__, block, twin, lambda context: Cost(WIDTH, WIDTH, 0, 4 * WIDTH), WIDTH)


@pytest.mark.parametrize("check", testing.CHECKS, ids=lambda check: check.__name__)
def test_a_correct_block_passes(check: Callable[..., None]) -> None:
    check(case(Decay), lengths=(1, 5)) if check is testing.matches_twin else check(case(Decay))


@pytest.mark.parametrize(
    "check, broken, message",
    [
        (testing.matches_twin, WrongGradient, "WrongGradient: gradient of input at length 2 differs by"),
        (testing.matches_twin, SeesTheFuture, "SeesTheFuture: output at length 1 differs by"),
        (testing.is_causal, SeesTheFuture, "SeesTheFuture: outputs before the changed token 1 differs by"),
        (testing.continues_from_state, Forgets, "Forgets: output token by token differs by"),
        (testing.keeps_states_intact, OverwritesState, "OverwritesState: continuing the same state twice"),
        (testing.ignores_batch_order, MixesSequences, "MixesSequences: outputs of a reordered part"),
        (testing.survives_bfloat16, Overflows, "Overflows: output is not finite"),
        (testing.runs_under_autocast, InfiniteGradient, "InfiniteGradient: gradient of rate is not finite"),
        (testing.costs_as_declared, GrowsState, "GrowsState: 16 state bytes declared at 1, 28 kept"),
    ],
)
def test_a_broken_block_is_found(check: Callable[[Any], None], broken: type[Block], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check(case(broken))
