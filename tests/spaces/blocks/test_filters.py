import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spaces.blocks.filters import Parts, continued_filter
from spaces.blocks.reference import filters as slow


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 70), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_tokens_that_come_in_pieces_are_filtered_as_at_once(sizes: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x_BLC = torch.randn(2, sum(sizes), 3, dtype=torch.float64, generator=generator)
    filter_LC = torch.randn(4 * sum(sizes), 3, dtype=torch.float64, generator=generator)
    parts: Parts = ()
    pieces = []
    for x_BSC in x_BLC.split(sizes, dim=1):
        y_BSC, parts = continued_filter(x_BSC, lambda length: filter_LC[:length], parts)
        pieces.append(y_BSC)
    torch.testing.assert_close(torch.cat(pieces, dim=1), slow.long_filter(x_BLC, filter_LC))
    binary = f"{sum(sizes):b}"
    powers = [2 ** (len(binary) - 1 - place) for place, bit in enumerate(binary) if bit == "1"]
    assert [inputs_BSC.shape[1] for inputs_BSC, _ in parts] == powers


def test_low_precision_rounds_outputs_once() -> None:
    """Not what each part of the tokens before adds to them."""
    generator = torch.Generator().manual_seed(0)
    x_BLC, filter_LC = (torch.randn(*shape, 8, generator=generator).bfloat16() for shape in ((2, 63), (128,)))
    parts: Parts = ()
    outputs = []
    for x_B1C in x_BLC.split(1, dim=1):
        y_B1C, parts = continued_filter(x_B1C, lambda length: filter_LC[:length], parts)
        outputs.append(y_B1C)
    exact_BLC = slow.long_filter(x_BLC.double(), filter_LC.double())
    y_BLC = torch.cat(outputs, dim=1)
    assert y_BLC.dtype == torch.bfloat16
    torch.testing.assert_close(y_BLC.double(), exact_BLC, rtol=2**-8, atol=1e-5)


def test_work_of_a_token_grows_with_the_logarithm_of_those_before() -> None:
    """Counted in numbers of the filter that are asked for, over 1,024 tokens one by one: 2^k of each 2^k, twice."""
    asked: list[int] = []

    def filter_of(length: int) -> torch.Tensor:
        asked.append(length)
        return torch.ones(length, 1)

    parts: Parts = ()
    for _ in range(1024):
        _, parts = continued_filter(torch.ones(1, 1, 1), filter_of, parts)
    assert sum(asked) == 1024 * (2 + 10)
