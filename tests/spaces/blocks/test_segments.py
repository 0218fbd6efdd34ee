import pytest
import torch

from spaces.blocks.attention import Attention
from spaces.blocks.documents import numbered


def test_cumulative_lengths_number_documents() -> None:
    numbers_1L = numbered(torch.tensor([0, 2, 2, 5, 6], dtype=torch.int32))
    assert numbers_1L.tolist() == [[0, 0, 2, 2, 2, 3]]
    block, x_1LD = Attention(8, heads=2, kv_heads=1, position="rope", window=None), torch.randn(1, 6, 8)
    y_1LD, _ = block(x_1LD, None, numbers_1L)
    assert torch.allclose(y_1LD[:, 2:5], block(x_1LD[:, 2:5])[0], atol=1e-6)


@pytest.mark.parametrize("lengths", [[1, 2], [0, 3, 2], [0], [[0, 2]]])
def test_what_are_no_cumulative_lengths_is_refused(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="cumulative lengths begin at 0 and nowhere fall"):
        numbered(torch.tensor(lengths))
