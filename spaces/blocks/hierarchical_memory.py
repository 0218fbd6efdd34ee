"""Hierarchical memory: units of a feed-forward that are fetched from a large bank by what was read so far.

Letters in tensor names: B batch, L length, D width, M chunks, C tokens of a chunk, P levels, K branches, N chunks of
all sequences, U units that a chunk fetches.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spaces.blocks.base import Block, State, at_least_float32, check_sizes
from spaces.blocks.documents import each_alone, positions, refuse_both
from spaces.blocks.mlp import SwiGLU

HASTE = 4
"""How many times what is learned prices are. A step of Adam moves a distance, the mean of squares, by about twice its
rate, whatever the width: prices that moved by less than the distances would let the first child that is near keep all
contexts, while it comes nearer still."""


class FetchState(NamedTuple):
    """The sum of all inputs, [B, D], the nodes of the chunk that has begun, [B, P], and how many tokens went by."""

    sum_BD: Tensor
    path_BP: Tensor
    offset: int


class HierarchicalMemory(Block):
    """A feed-forward beside a bank of others, after Pouransari et al. (arXiv 2510.02375).

    mult: hidden units of the feed-forward that every token uses, per unit of width. levels: of a tree in which every
    node has as many children as there are branches. units: hidden units of each node. chunk: tokens that use the same
    nodes.

    As in the paper the tree is of clusters within clusters, a context goes down it to the nearest centroid of each
    level, and the units of all nodes on its way are as if concatenated to those of the feed-forward. There a context is
    a document, embedded by another model, and centroids come from k-means over all documents before training. Here
    that of a chunk is the direction of the mean of the inputs up to its first token, so that no token waits for later
    ones, and centroids learn with everything else (see `narrow`): both are ours, and so is that all levels have
    equally many units.

    A chunk copies the units that it fetches and no more of the bank, so that time and memory hang on
    `levels * units` (and chunks of few tokens pay most for the copies). sparse: gradients of the bank do too, as sparse
    tensors, for optimizers that take them (`torch.optim.SparseAdam`, `SGD`); otherwise each is as large as the bank.

    Raises ValueError for a size below 1, or branches below 2, of which a context can choose.
    """

    def __init__(
        self,
        width: int,
        *,
        mult: float,
        branches: int,
        levels: int,
        units: int,
        chunk: int,
        sparse: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(width=width, levels=levels, units=units, chunk=chunk)
        if branches < 2:
            raise ValueError(f"branches {branches} is below 2: a context chooses among them")
        self.branches, self.levels, self.units, self.chunk = branches, levels, units, chunk
        self.sparse = sparse
        self.common = SwiGLU(width, mult=mult)
        nodes = sum(branches**level for level in range(1, levels + 1))
        self.centroids = nn.Parameter(torch.randn(nodes, width))
        self.prices = nn.Parameter(torch.zeros(nodes))
        self.gate = nn.Parameter(torch.randn(nodes * units, width) * width**-0.5)
        self.up = nn.Parameter(torch.randn(nodes * units, width) * width**-0.5)
        self.out = nn.Parameter(torch.randn(nodes * units, width) * (levels * units) ** -0.5)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        refuse_both(state, segments_BL)
        if segments_BL is not None:
            y_BLD = each_alone(lambda x_BLD: self(x_BLD)[0], x_BLD, segments_BL)
            # The loss again, by what is of documents and not of the zeros after them.
            sum_BLD = each_alone(sums, x_BLD, segments_BL)
            self.narrow(sum_BLD[positions(segments_BL) % self.chunk == 0])
            return y_BLD, None
        self.aux_loss = None  # that of a call in which no chunk begins
        batch, length, _ = x_BLD.shape
        before = self.init_state(batch) if state is None else FetchState(*state)
        begun = before.offset % self.chunk
        sum_BLD = before.sum_BD[:, None] + sums(x_BLD)
        paths = [before.path_BP[:, None]] if begun else []
        first_BMD = sum_BLD[:, -begun % self.chunk :: self.chunk]
        if first_BMD.shape[1]:
            paths.append(self.narrow(first_BMD.flatten(0, 1)).unflatten(0, first_BMD.shape[:2]))
        path_BMP = torch.cat(paths, dim=1)

        # The end of a chunk that had begun, whole chunks, and the beginning of the last.
        head = min(-begun % self.chunk, length)
        tail = (length - head) % self.chunk
        fetched, done = [], 0
        pieces = x_BLD.split([head, length - head - tail, tail], dim=1)
        for piece_BLD, size in zip(pieces, (head, self.chunk, tail), strict=True):
            if piece_BLD.shape[1]:
                x_BMCD = piece_BLD.unflatten(1, (-1, size))
                now_BMP = path_BMP[:, done : done + x_BMCD.shape[1]]
                y_NCD = self.fetched(x_BMCD.flatten(0, 1), now_BMP.flatten(0, 1))
                fetched.append(y_NCD.view_as(piece_BLD))
                done += x_BMCD.shape[1]
        y_BLD = self.common(x_BLD)[0] + torch.cat(fetched, dim=1)
        if state is None:
            return y_BLD, None
        return y_BLD, FetchState(sum_BLD[:, -1].clone(), path_BMP[:, -1].clone(), before.offset + length)

    def narrow(self, sum_ND: Tensor) -> Tensor:
        """The nodes [N, P] on the way of each context down the tree; sets the auxiliary loss.

        A context goes to the child of least distance, the mean square of differences, plus price. The loss is the mean
        over contexts of the distance, which k-means lessens too, less how far the price lies above the mean of its
        siblings: prices rise where more than an equal share goes. In prices this is the dual of optimal transport to
        centroids of equal weight (Genevay et al., arXiv 1605.08527, section 4). Without them the first centroid that
        comes near what all contexts have in common would be the nearest of all. The loss moves nothing but centroids
        and prices, and nothing else moves these.
        """
        context_ND = F.rms_norm(sum_ND, sum_ND.shape[-1:], eps=1e-6)
        branch_K = torch.arange(self.branches, device=sum_ND.device)
        node_N = torch.full(sum_ND.shape[:1], -1, device=sum_ND.device)  # the root, which has no units
        path, loss_N = [], context_ND.new_zeros(context_ND.shape[:1])
        for _ in range(self.levels):
            child_NK = self.branches * (node_N[:, None] + 1) + branch_K
            away_NKD = F.embedding(child_NK, self.centroids) - context_ND[:, None]
            distance_NK = away_NKD.square().mean(dim=-1)
            price_NK = HASTE * at_least_float32(self.prices[child_NK])
            best_N1 = (distance_NK + price_NK).argmin(dim=1, keepdim=True)
            loss_N = loss_N + (distance_NK - price_NK).gather(1, best_N1)[:, 0] + price_NK.mean(dim=1)
            node_N = child_NK.gather(1, best_N1)[:, 0]
            path.append(node_N)
        self.aux_loss = loss_N.mean() if self.training else None
        return torch.stack(path, dim=1)

    def fetched(self, x_NCD: Tensor, path_NP: Tensor) -> Tensor:
        """What the units of their nodes give for the tokens of chunks."""
        unit_U = torch.arange(self.units, device=x_NCD.device)
        unit_NU = (self.units * path_NP[..., None] + unit_U).flatten(1)
        gate_NUD, up_NUD, out_NUD = (
            F.embedding(unit_NU, rows, sparse=self.sparse) for rows in (self.gate, self.up, self.out)
        )
        gate_NCU, up_NCU = x_NCD @ gate_NUD.transpose(1, 2), x_NCD @ up_NUD.transpose(1, 2)
        return (F.silu(gate_NCU) * up_NCU) @ out_NUD

    def init_state(self, batch: int) -> FetchState:
        sum_BD = at_least_float32(self.centroids.new_zeros(batch, self.centroids.shape[1]))
        return FetchState(sum_BD, torch.zeros(batch, self.levels, dtype=torch.long, device=sum_BD.device), 0)


def sums(x_BLD: Tensor) -> Tensor:
    """The sum of inputs up to each, which has the direction of their mean; no gradient passes it."""
    return at_least_float32(x_BLD.detach()).cumsum(dim=1)
