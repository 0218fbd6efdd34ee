import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spaces.blocks.chunking import CPU, LARGEST, UNMODELLED, chunk_size
from spaces.blocks.linear_attention import LinearAttention
from tests.speed import chunks

OPERATORS = chunks.OPERATORS


@given(st.sampled_from(sorted(CPU)), st.integers(1, 100_000), st.integers(1, 4096))
def test_chunks_are_powers_of_two_that_are_no_longer_than_they_must_be(
    operator: str, length: int, width: int
) -> None:
    size = chunk_size(operator, length, width)
    assert math.log2(size).is_integer()
    assert size <= LARGEST
    assert size < 2 * length


def test_chunks_cost_least_of_all_sizes_by_the_model() -> None:
    """The filter of S4D has two parts that cost alike, of as many positions as a chunk has and as there are chunks."""
    assert [chunk_size("filter", length, 256) for length in (256, 1024, 4096, 16384)] == [32, 64, 128, 256]


def test_other_devices_have_chunks_of_their_own() -> None:
    assert chunk_size("delta", 4096, 256, "cuda") == UNMODELLED
    assert chunk_size("delta", 5, 256, "cuda") == 8
    assert chunk_size("delta", 4096, 256, "meta") == chunk_size("delta", 4096, 256, "cpu")


def test_every_operator_has_a_measurement() -> None:
    assert set(OPERATORS) == set(CPU)


@pytest.mark.parametrize("name", OPERATORS)
def test_outputs_do_not_depend_on_the_chunks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, apply = OPERATORS[name]
    outcomes = []
    for size in (8, 32, 128):
        monkeypatch.setattr(module, "chunk_size", lambda *_, size=size: size)
        torch.manual_seed(0)
        outcome = apply(2, 150, 64)
        outcomes.append(outcome if isinstance(outcome, Tensor) else outcome[0])
    for other in outcomes[1:]:
        torch.testing.assert_close(other, outcomes[0], rtol=1e-4, atol=1e-4)


@pytest.mark.slow  # the first compilation of a process takes seconds
def test_compiled_blocks_stay_whole_where_the_length_is_a_symbol() -> None:
    torch.manual_seed(0)
    block = LinearAttention(8, heads=2)
    torch._dynamo.reset()
    compiled = torch.compile(block, backend="eager", fullgraph=True, dynamic=True)
    x_BLD = torch.randn(1, 20, 8)
    torch.testing.assert_close(compiled(x_BLD)[0], block(x_BLD)[0])
