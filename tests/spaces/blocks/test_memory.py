import pytest
import torch

from spaces.blocks.memory import ProductKeyMemory
from spaces.blocks.reference.memory import scores


@pytest.mark.parametrize("top_k", [1, 5, 9])
def test_the_rows_read_are_the_best_of_all(top_k: int) -> None:
    block = ProductKeyMemory(12, keys=9, heads=3, top_k=top_k).double()
    x_TD = torch.randn(20, 12, dtype=torch.float64)
    with torch.no_grad():
        rows, weights = block.lookup(x_TD)
        for token, x_D in enumerate(x_TD):
            all_scores, best = (part for part in scores(block, x_D).topk(top_k, dim=-1))
            assert torch.equal(rows[token], best)
            torch.testing.assert_close(weights[token], all_scores.softmax(dim=-1))


@pytest.mark.parametrize("top_k", [0, 5])
def test_impossible_top_k_is_refused(top_k: int) -> None:
    with pytest.raises(ValueError, match=f"top_k {top_k} is not .* number of keys of a half, 4"):
        ProductKeyMemory(8, keys=4, heads=1, top_k=top_k)
