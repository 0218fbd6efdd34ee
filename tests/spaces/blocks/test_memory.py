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


def test_a_sparse_gradient_holds_the_rows_that_were_read_and_trains_the_same() -> None:
    x_BLD = torch.randn(2, 6, 12, dtype=torch.float64)
    values = []
    for sparse in (False, True):
        torch.manual_seed(0)
        block = ProductKeyMemory(12, keys=9, heads=3, top_k=4, sparse=sparse).double()
        block(x_BLD)[0].square().sum().backward()
        gradient = block.values.grad
        assert gradient is not None
        assert gradient.is_sparse == sparse
        if sparse:
            rows, _ = block.lookup(x_BLD.flatten(0, 1))
            assert gradient.coalesce().indices().flatten().tolist() == rows.unique().tolist()
        torch.optim.SGD([block.values], lr=0.1).step()
        values.append(block.values.detach())
    torch.testing.assert_close(values[1], values[0])
