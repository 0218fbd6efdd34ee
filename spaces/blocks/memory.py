"""Product-key memory: a large table of which each token reads a few rows.

Letters in tensor names: B batch, L length, T = B * L tokens, D width, H heads, Q = 32 half of a query,
C keys of one half-codebook, K rows that a head picks (and half-keys that it picks them from), R = H * K.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spaces.blocks.base import Block, State, check_sizes, linear
from spaces.blocks.sizes import QUERY_DIM

HALF = QUERY_DIM // 2


class ProductKeyMemory(Block):
    """Product-key memory (Lample et al., arXiv 1907.05242, section 3): keys^2 value rows, found in O(keys).

    keys: size of each of the two half-codebooks. heads: queries a token asks; each has its own keys, all
    share the values. top_k: rows that one head reads.

    A row's key is a pair of half-keys and its score the sum of two half-scores, so the best top_k of all
    pairs are among the pairs of the best top_k of each half. Queries pass LayerNorm where the paper has
    BatchNorm: statistics of a batch would leak later tokens into earlier ones and differ between training
    and decoding.

    sparse: the gradient of the values is a sparse tensor of the rows that were read, for optimizers that take one
    (`torch.optim.SparseAdam`, `SGD`). Otherwise it is as large as the table, and so is the work of each step.

    Raises ValueError unless 1 <= top_k <= keys.
    """

    def __init__(self, width: int, *, keys: int, heads: int, top_k: int, sparse: bool = False) -> None:
        super().__init__()
        check_sizes(width=width, keys=keys, heads=heads)
        if not 1 <= top_k <= keys:
            raise ValueError(f"top_k {top_k} is not between 1 and the number of keys of a half, {keys}")
        self.heads, self.top_k, self.sparse = heads, top_k, sparse
        self.query = linear(width, heads * QUERY_DIM)
        self.query_norm = nn.LayerNorm(QUERY_DIM)
        self.keys = nn.Parameter(torch.empty(heads, 2, keys, HALF).uniform_(-(HALF**-0.5), HALF**-0.5))
        self.values = nn.Parameter(torch.randn(keys * keys, width) * width**-0.5)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        row_THK, weight_THK = self.lookup(x_BLD.flatten(0, 1))
        row_TR, weight_TR = row_THK.flatten(1), weight_THK.flatten(1).to(self.values.dtype)
        if torch.compiler.is_exporting():  # elsewhere an embedding bag becomes a loop over tokens
            y_TD = (weight_TR[:, None] @ F.embedding(row_TR, self.values)).squeeze(1)
        else:
            y_TD = F.embedding_bag(
                row_TR, self.values, per_sample_weights=weight_TR, mode="sum", sparse=self.sparse
            )
        return y_TD.view_as(x_BLD), state

    def lookup(self, x_TD: Tensor) -> tuple[Tensor, Tensor]:
        """Rows [T, H, top_k] that each head of each token reads, and their softmax weights."""
        keys = self.keys.shape[2]
        query_THD = self.query_norm(self.query(x_TD).unflatten(-1, (self.heads, QUERY_DIM)))
        query_TH2Q = query_THD.unflatten(-1, (2, HALF))
        half_TH2C = torch.einsum("thsq,hscq->thsc", query_TH2Q, self.keys)
        half_TH2K, index_TH2K = half_TH2C.topk(self.top_k, dim=-1)
        score_THKK = half_TH2K[:, :, 0, :, None] + half_TH2K[:, :, 1, None, :]
        row_THKK = index_TH2K[:, :, 0, :, None] * keys + index_TH2K[:, :, 1, None, :]
        score_THK, best_THK = score_THKK.flatten(2).topk(self.top_k, dim=-1)
        return row_THKK.flatten(2).gather(-1, best_THK), score_THK.softmax(dim=-1)
