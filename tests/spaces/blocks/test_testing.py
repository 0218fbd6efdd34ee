"""The conformance suite finds what it is meant to find: each broken block fails its check."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spaces.blocks import testing
from spaces.blocks.base import Block, State, Whole
from spaces.blocks.documents import refuse_both, starts
from spaces.blocks.testing import BlockCase
from spaces.cost import Cost

WIDTH = 4


class Decay(Block):
    """A correct block: y[t] = a y[t-1] + x[t]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.full((width,), 0.5))

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        refuse_both(state, segments_BL)
        h_BD = torch.zeros_like(x_BLD[:, 0]) if state is None else state[0]
        first_BL = starts(torch.zeros(x_BLD.shape[:2]) if segments_BL is None else segments_BL)
        rows = []
        for t, x_BD in enumerate(x_BLD.unbind(1)):
            if t:
                h_BD = h_BD.masked_fill(first_BL[:, t, None], 0)
            h_BD = self.step(h_BD, x_BD)
            rows.append(h_BD)
        return torch.stack(rows, dim=1), None if state is None else (h_BD,)

    def step(self, h_BD: Tensor, x_BD: Tensor) -> Tensor:
        return self.rate * h_BD + x_BD

    def init_state(self, batch: int) -> State:
        return (self.rate.new_zeros(batch, len(self.rate)),)


class WrongGradient(Decay):
    def step(self, h_BD: Tensor, x_BD: Tensor) -> Tensor:
        return self.rate * h_BD.detach() + x_BD


class SeesTheFuture(Decay):
    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        y_BLD, state = super().forward(x_BLD, state, segments_BL)
        return y_BLD + 1e-6 * x_BLD.roll(-1, dims=1), state


class Forgets(Decay):
    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        y_BLD, _ = super().forward(x_BLD)
        return y_BLD, state


class CutsGradients(Decay):
    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        y_BLD, after = super().forward(x_BLD, state, segments_BL)
        return y_BLD, None if after is None else (after[0].detach(),)


class KeepsAnOldLoss(Decay):
    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        y_BLD, state = super().forward(x_BLD, state, segments_BL)
        if x_BLD.shape[1] > 1:
            self.aux_loss = y_BLD.square().mean()
        return y_BLD, state


class OverwritesState(Decay):
    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        y_BLD, after = super().forward(x_BLD, state, segments_BL)
        if state is not None:
            state[0].copy_(y_BLD[:, -1])
        return y_BLD, after


class MixesDocuments(Decay):
    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        return super().forward(x_BLD, state)


class LeaksGradients(Decay):
    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        y_BLD, state = super().forward(x_BLD, state, segments_BL)
        return y_BLD + 1e-12 * (x_BLD.sum() - x_BLD.sum().detach()), state


class ContinuesAState(Decay):
    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        y_BLD, _ = super().forward(x_BLD, None, segments_BL)
        return y_BLD, None if state is None else (y_BLD[:, -1],)


class BranchesOnValues(Decay):
    def step(self, h_BD: Tensor, x_BD: Tensor) -> Tensor:
        return super().step(h_BD, x_BD) if x_BD.sum() > 0 else h_BD


class BranchesOnExport(Decay):
    def step(self, h_BD: Tensor, x_BD: Tensor) -> Tensor:
        return super().step(h_BD, x_BD) * (2 if torch.compiler.is_exporting() else 1)


class ForgetsOnExport(Decay):
    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        begun = self.init_state(len(x_BLD)) if torch.compiler.is_exporting() and state else state
        return super().forward(x_BLD, begun, segments_BL)


class BreaksUnderCompilation(Decay):
    def step(self, h_BD: Tensor, x_BD: Tensor) -> Tensor:
        return super().step(h_BD, x_BD) * (2 if torch.compiler.is_compiling() else 1)


class ChangesWithWidth(Decay):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        if width > WIDTH:
            self.wide = nn.Parameter(torch.zeros(1))


class KeepsPairs(Decay):
    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        pairs_BLL = (x_BLD @ x_BLD.transpose(1, 2)).exp()
        return pairs_BLL @ x_BLD * self.rate, state


class MixesSequences(Decay):
    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        return super().forward(x_BLD - x_BLD.mean(dim=0), state, segments_BL)


class Overflows(Decay):
    def step(self, h_BD: Tensor, x_BD: Tensor) -> Tensor:
        return self.rate * h_BD + x_BD.exp()


class InfiniteGradient(Decay):
    def step(self, h_BD: Tensor, x_BD: Tensor) -> Tensor:
        return super().step(h_BD, x_BD) + (self.rate - 0.5).sqrt()


class GrowsState(Decay):
    def init_state(self, batch: int) -> State:
        return (*super().init_state(batch), torch.zeros(3))

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        y_BLD, after = super().forward(x_BLD, state, segments_BL)
        return y_BLD, None if after is None else (*after, torch.zeros(3))


class TakesNothing(Decay):
    def __call__(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        return self.forward(x_BLD, state, segments_BL)


class Running(Whole):
    """Causal, though it is declared not to be."""

    def __init__(self, width: int) -> None:
        super().__init__()

    def mixed(self, x_BLD: Tensor) -> Tensor:
        return x_BLD.cumsum(dim=1)


class TakesAState(Whole):
    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        return x_BLD + x_BLD.flip(1), state


def twin(block: Decay, x_BLD: Tensor) -> Tensor:
    length = x_BLD.shape[1]
    return torch.stack(
        [sum(block.rate ** (t - s) * x_BLD[:, s] for s in range(t + 1)) for t in range(length)], dim=1
    )


def case(block: type[Block]) -> BlockCase:
    return BlockCase(block.__name__, block, twin, lambda context: Cost(WIDTH, WIDTH, 0, 4 * WIDTH), WIDTH)


SHORT = {
    testing.matches_twin: {"lengths": (1, 5)},
    testing.exports: {"length": 5},
    testing.exports_states_and_documents: {"length": 10},
    testing.compiles: {"length": 5},
}
"""Where a loop over tokens would take long."""


@pytest.mark.parametrize("check", testing.CHECKS, ids=lambda check: check.__name__)
def test_a_correct_block_passes(check: Callable[..., None]) -> None:
    check(replace(case(Decay), name="Decay {'rate': 0.5}"), **SHORT.get(check, {}))


@pytest.mark.parametrize(
    "check, broken, message",
    [
        (testing.matches_twin, WrongGradient, "WrongGradient: gradient of input at length 2 differs by"),
        (testing.matches_twin, SeesTheFuture, "SeesTheFuture: output at length 1 differs by"),
        (testing.is_causal, SeesTheFuture, "SeesTheFuture: outputs before the changed token 1 differs by"),
        (testing.is_not_causal, Decay, "Decay: is declared causal"),
        (testing.is_not_causal, Running, "Running: token 65 changes none before it"),
        (testing.is_not_causal, TakesAState, "TakesAState: a state is not refused"),
        (testing.continues_from_state, Forgets, "Forgets: output token by token differs by"),
        (
            testing.trains_in_pieces,
            CutsGradients,
            "CutsGradients: gradient of input through states differs by",
        ),
        (testing.trains_in_pieces, KeepsAnOldLoss, "KeepsAnOldLoss: a piece has no loss of its own: "),
        (testing.keeps_states_intact, OverwritesState, "OverwritesState: continuing the same state twice"),
        (
            testing.packs_documents,
            MixesDocuments,
            "MixesDocuments: output of the document of 63 tokens at 1 ",
        ),
        (testing.packs_documents, LeaksGradients, "gradient of the document of 1 tokens at 0 reaches other"),
        (testing.packs_documents, ContinuesAState, "ContinuesAState: packed documents continue a state"),
        (partial(testing.exports, length=5), BranchesOnValues, "BranchesOnValues: cannot be exported: "),
        (
            partial(testing.exports, length=5),
            BranchesOnExport,
            "BranchesOnExport: exported output differs by",
        ),
        (
            partial(testing.exports_states_and_documents, length=10),
            ForgetsOnExport,
            "ForgetsOnExport: exported output after a state differs by",
        ),
        (
            partial(testing.compiles, length=5),
            BreaksUnderCompilation,
            "BreaksUnderCompilation: compiled output or gradient differs by",
        ),
        (
            testing.tells_width,
            ChangesWithWidth,
            "ChangesWithWidth: wide is a parameter at only one of the widths 4",
        ),
        (testing.keeps_linear_memory, KeepsPairs, "KeepsPairs: .* bytes are kept for the gradient at 512"),
        (testing.ignores_batch_order, MixesSequences, "MixesSequences: outputs of a reordered part"),
        (testing.survives_bfloat16, Overflows, "Overflows: output is not finite"),
        (testing.runs_under_autocast, InfiniteGradient, "InfiniteGradient: gradient of rate is not finite"),
        (
            testing.refuses_empty_inputs,
            TakesNothing,
            "TakesNothing: an input of shape \\(0, 3, 4\\) alone is not refused",
        ),
        (testing.costs_as_declared, GrowsState, "GrowsState: 16 state bytes declared at 1, 28 kept"),
    ],
)
def test_a_broken_block_is_found(check: Callable[[Any], None], broken: type[Block], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check(case(broken))
