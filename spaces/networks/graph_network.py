"""Layers of graph networks from chosen components (Auto-GNN, arXiv 1909.03184, table 1; GraphNAS).

Letters in names: N nodes, E edges with one from every node to itself, F features, H heads, C features of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "linear": lambda x: x,
    "softplus": functional.softplus,
    "leaky_relu": functional.leaky_relu,
    "relu6": functional.relu6,
    "elu": functional.elu,
}
SLOPE = 0.2
"""Of the leaky ReLU of attention, as in GAT (arXiv 1710.10903)."""


class GraphLayer(nn.Module):
    """h_i = activation(aggregate over edges j -> i of a_ij W x_j + bias), each head by itself.

    attention: a_ij before the softmax over the edges into i, with vectors l, r, g that are learnt:
        gat: leaky_relu(l . h_i + r . h_j); sym_gat: that of i and j plus that of j and i; cos: (l * h_i) . (r * h_j);
        linear: tanh(l . h_j); gene_linear: g . tanh(l * h_i + r * h_j).
    Without a softmax, const is 1, and gcn is 1 / sqrt(d_i d_j), of the edges into i and j.
    """

    def __init__(
        self,
        features: int,
        *,
        attention: str,
        aggregation: str,
        activation: str,
        heads: int,
        hidden: int,
        last: bool,
    ) -> None:
        super().__init__()
        self.attention, self.aggregation, self.last = attention, aggregation, last
        self.activation = ACTIVATIONS[activation]
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(features, heads * hidden)))
        names = {"gat": "lr", "sym_gat": "lr", "cos": "lr", "linear": "l", "gene_linear": "lrg"}
        self.vectors = nn.ParameterDict(
            {name: nn.init.xavier_uniform_(torch.empty(heads, hidden)) for name in names.get(attention, "")}
        )
        self.bias = nn.Parameter(torch.zeros(hidden if last else heads * hidden))
        self.heads = heads

    def forward(self, x_NF: Tensor, edges_2E: Tensor) -> Tensor:
        """[N, H * C], or [N, C] where it is the last."""
        source_E, target_E = edges_2E
        h_NHC = (x_NF @ self.weight).unflatten(1, (self.heads, -1))
        message_EHC = h_NHC[source_E]
        weight_EH = self._attention(h_NHC, source_E, target_E)
        if weight_EH is not None:
            message_EHC = message_EHC * weight_EH[..., None]
        reduce = {"sum": "sum", "mean": "mean", "max": "amax"}[self.aggregation]
        index_EHC = target_E[:, None, None].expand_as(message_EHC)
        y_NHC = torch.zeros_like(h_NHC).scatter_reduce(0, index_EHC, message_EHC, reduce, include_self=False)
        y_NF = y_NHC.mean(dim=1) if self.last else y_NHC.flatten(1)
        return self.activation(y_NF + self.bias)

    def _attention(self, h_NHC: Tensor, source_E: Tensor, target_E: Tensor) -> Tensor | None:
        """The weight of every edge in every head; None where all are 1."""
        nodes = len(h_NHC)
        if self.attention == "const":
            return None
        if self.attention == "gcn":
            degree_N = torch.zeros(nodes, dtype=h_NHC.dtype, device=h_NHC.device)
            degree_N = degree_N.index_add(0, target_E, torch.ones_like(target_E, dtype=h_NHC.dtype))
            return (degree_N[source_E] * degree_N[target_E]).rsqrt()[:, None].expand(-1, self.heads)
        h_i, h_j = h_NHC[target_E], h_NHC[source_E]
        left = self.vectors["l"]
        right = self.vectors.get("r", left)
        if self.attention == "linear":
            score_EH = torch.tanh((left * h_j).sum(dim=-1))
        elif self.attention == "cos":
            score_EH = (left * h_i * right * h_j).sum(dim=-1)
        elif self.attention == "gene_linear":
            score_EH = (self.vectors["g"] * torch.tanh(left * h_i + right * h_j)).sum(dim=-1)
        else:
            score_EH = functional.leaky_relu((left * h_i + right * h_j).sum(dim=-1), SLOPE)
            if self.attention == "sym_gat":
                score_EH = score_EH + functional.leaky_relu((left * h_j + right * h_i).sum(dim=-1), SLOPE)
        index_EH = target_E[:, None].expand_as(score_EH)
        zero_NH = score_EH.new_zeros(nodes, self.heads)
        highest_NH = zero_NH.scatter_reduce(0, index_EH, score_EH.detach(), "amax", include_self=False)
        exp_EH = (score_EH - highest_NH[target_E]).exp()
        return exp_EH / zero_NH.index_add(0, target_E, exp_EH)[target_E]


class GraphNetwork(nn.Module):
    """Layers one after the other, with dropout before each.

    Takes features [N, F] and edges (source, target) [2, E], gives [N, features of the last layer]. Edges from a node to
    itself are left out, and one is added for every node.
    """

    def __init__(self, features: int, layers: Sequence[Mapping[str, Any]], dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.layers = nn.ModuleList()
        for chosen in layers:
            self.layers.append(GraphLayer(features, **chosen, last=chosen is layers[-1]))
            features = chosen["heads"] * chosen["hidden"]

    def forward(self, x_NF: Tensor, edges_2E: Tensor) -> Tensor:
        loops_N = torch.arange(len(x_NF), device=x_NF.device)
        edges_2E = torch.cat([edges_2E[:, edges_2E[0] != edges_2E[1]], loops_N.expand(2, -1)], dim=1)
        for layer in self.layers:
            x_NF = layer(functional.dropout(x_NF, self.dropout, self.training), edges_2E)
        return x_NF
