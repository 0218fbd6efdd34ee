from collections import Counter

import pytest
import torch

from spaces.blocks.hierarchical_memory import HierarchicalMemory, sums
from spaces.blocks.reference.hierarchical_memory import hierarchical_memory, path


def learned(**choices: int) -> HierarchicalMemory:
    """A block in float64 whose prices and centroids are no longer those at the start."""
    block = HierarchicalMemory(
        12, mult=1, **{"branches": 3, "levels": 3, "units": 2, "chunk": 4, **choices}
    ).double()
    torch.nn.init.normal_(block.prices, std=0.3)
    return block


def test_contexts_go_down_the_tree_to_the_child_of_least_distance_and_price() -> None:
    torch.manual_seed(0)
    block = learned()
    context_ND = torch.randn(30, 12, dtype=torch.float64)
    path_NP = block.narrow(context_ND)
    assert path_NP.tolist() == [path(block, context_D) for context_D in context_ND]
    for first, second, third in path_NP.tolist():  # 3 children of the root, then 9 of those, then 27
        assert (second - 3) // 3 == first
        assert (third - 12) // 3 == second - 3
    x_BLD = torch.randn(2, 11, 12, dtype=torch.float64)
    torch.testing.assert_close(block(x_BLD)[0], hierarchical_memory(block, x_BLD))


def test_a_chunk_is_of_what_was_read_up_to_its_first_token() -> None:
    torch.manual_seed(0)
    block = learned()
    x_BLD = torch.randn(1, 9, 12, dtype=torch.float64)
    _, state = block(x_BLD, block.init_state(1))
    means = [x_BLD[0, :count].mean(dim=0) for count in (1, 5, 9)]
    assert state.path_BP[0].tolist() == path(block, means[-1])
    _, earlier = block(x_BLD[:, :8], block.init_state(1))
    assert earlier.path_BP[0].tolist() == path(block, means[1])
    torch.testing.assert_close(sums(x_BLD)[:, -1], state.sum_BD)


def test_only_what_was_fetched_has_gradients_and_sparse_ones_train_the_same() -> None:
    x_BLD = torch.randn(2, 6, 12, dtype=torch.float64)
    values = []
    for sparse in (False, True):
        torch.manual_seed(0)
        block = learned(sparse=sparse)
        block(x_BLD)[0].square().sum().backward()
        nodes = block.narrow(sums(x_BLD)[:, ::4].flatten(0, 1)).unique()
        units = {unit for node in nodes.tolist() for unit in (2 * node, 2 * node + 1)}
        for bank in (block.gate, block.up, block.out):
            gradient = bank.grad
            assert gradient is not None
            assert gradient.is_sparse == sparse
            touched = gradient.to_dense().abs().sum(dim=1).nonzero().flatten()
            assert set(touched.tolist()) == units
            torch.optim.SGD([bank], lr=0.1).step()
            values.append(bank.detach())
    for dense, thin in zip(values[:3], values[3:], strict=True):
        torch.testing.assert_close(thin, dense)


def test_the_loss_moves_centroids_to_their_contexts_and_prices_to_equal_shares() -> None:
    torch.manual_seed(0)
    block = learned(levels=1).train()
    x_BLD = torch.randn(8, 1, 12, dtype=torch.float64, requires_grad=True)
    block(x_BLD)
    assert block.aux_loss is not None
    block.aux_loss.backward()
    assert x_BLD.grad is None
    contexts = torch.nn.functional.rms_norm(x_BLD.detach()[:, 0], (12,), eps=1e-6)
    nodes = [path(block, x_D)[0] for x_D in x_BLD.detach()[:, 0]]
    shares = Counter(nodes)
    assert block.prices.grad is not None
    assert block.centroids.grad is not None
    expected = 4 * torch.tensor([1 / 3 - shares[node] / 8 for node in range(3)], dtype=torch.float64)
    torch.testing.assert_close(block.prices.grad, expected)
    for node in range(3):
        mine = contexts[[at == node for at in nodes]]
        pulled = 2 / 12 * (block.centroids[node] - mine).sum(dim=0) / 8
        torch.testing.assert_close(block.centroids.grad[node], pulled.detach())
    assert block.common.gate_up.weight.grad is None


def test_documents_have_the_loss_of_their_own_chunks() -> None:
    torch.manual_seed(0)
    block = learned().train()
    x_BLD = torch.randn(1, 19, 12, dtype=torch.float64)
    sizes = (5, 1, 13)  # of 2, 1 and 4 chunks
    losses = []
    for document_BLD, chunks in zip(x_BLD.split(sizes, dim=1), (2, 1, 4), strict=True):
        block(document_BLD)
        assert block.aux_loss is not None
        losses.append(chunks * block.aux_loss)
    block(x_BLD, None, torch.arange(3).repeat_interleave(torch.tensor(sizes))[None])
    torch.testing.assert_close(block.aux_loss, torch.stack(losses).sum() / 7)
    block.eval()(x_BLD)
    assert block.aux_loss is None


def test_a_tree_finds_clusters_within_clusters_although_all_have_much_in_common() -> None:
    torch.manual_seed(0)
    common_D, outer_KD, inner_KKD = 2 * torch.randn(16), torch.randn(4, 16), torch.randn(4, 4, 16) / 2
    centre_KKD = common_D + outer_KD[:, None] + inner_KKD
    block = HierarchicalMemory(16, mult=1, branches=4, levels=2, units=1, chunk=1)
    block.train()
    optimizer = torch.optim.Adam([block.centroids, block.prices], lr=0.02)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, total_iters=400)

    def kept() -> int:
        """How many of the 16 clusters have a leaf of their own."""
        with torch.no_grad():
            return len(set(block.narrow(centre_KKD.flatten(0, 1))[:, 1].tolist()))

    begun = kept()
    for _ in range(400):
        cluster_N = torch.randint(16, (64,))
        block.narrow(centre_KKD.flatten(0, 1)[cluster_N] + 0.1 * torch.randn(64, 16))
        assert block.aux_loss is not None
        optimizer.zero_grad()
        block.aux_loss.backward()
        optimizer.step()
        falling.step()
    assert kept() == 16 > begun


@pytest.mark.parametrize("seed", [0, 1])
def test_at_a_small_rate_too_no_child_stays_without_contexts(seed: int) -> None:
    """Prices rise faster than the first child that is near comes nearer."""
    torch.manual_seed(seed)
    block = HierarchicalMemory(32, mult=1, branches=4, levels=1, units=1, chunk=8).train()
    optimizer = torch.optim.Adam([block.centroids, block.prices], lr=1e-3)
    topic_KD = torch.randn(6, 32) + 1.5
    for _ in range(600):
        path_NP = block.narrow(topic_KD[torch.randint(6, (64,))] + 0.7 * torch.randn(64, 32))
        assert block.aux_loss is not None
        optimizer.zero_grad()
        block.aux_loss.backward()
        optimizer.step()
    assert torch.bincount(path_NP[:, 0], minlength=4).min() >= 64 / 4 / 2


def test_a_level_needs_a_choice() -> None:
    with pytest.raises(ValueError, match="branches 1 is below 2: a context chooses among them"):
        HierarchicalMemory(8, mult=1, branches=1, levels=1, units=1, chunk=4)
