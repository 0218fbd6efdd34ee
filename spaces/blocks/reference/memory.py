"""Product-key memory that scores every one of its keys^2 rows."""

import torch
from torch import Tensor

from spaces.blocks.memory import ProductKeyMemory


def product_key_memory(block: ProductKeyMemory, x_BLD: Tensor) -> Tensor:
    """What `block(x_BLD)` should return, [B, L, D]."""
    rows = []
    for x_D in x_BLD.flatten(0, 1):
        y_D = torch.zeros_like(x_D)
        for score_S in scores(block, x_D):
            best = sorted(range(len(score_S)), key=score_S.tolist().__getitem__)[-block.top_k :]
            weights = score_S[best].exp() / score_S[best].exp().sum()
            y_D = y_D + weights @ block.values[best]
        rows.append(y_D)
    return torch.stack(rows).view_as(x_BLD)


def scores(block: ProductKeyMemory, x_D: Tensor) -> Tensor:
    """Score [heads, keys^2] of every row for one token: the query times the row's two half-keys in one."""
    keys = block.keys.shape[2]
    norm = block.query_norm
    per_head = []
    for h, query in enumerate((block.query.weight @ x_D).chunk(block.heads)):
        centred = query - query.mean()
        query = centred / torch.sqrt(centred.square().mean() + norm.eps) * norm.weight + norm.bias
        first, second = block.keys[h]
        whole_SQ = torch.cat([first.repeat_interleave(keys, dim=0), second.repeat(keys, 1)], dim=1)
        per_head.append(whole_SQ @ query)
    return torch.stack(per_head)
