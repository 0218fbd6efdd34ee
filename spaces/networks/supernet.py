"""Networks of mixed operators, whose architecture is learned by gradient descent (Liu et al. 2019, arXiv 1806.09055).

Letters in names: N images, C channels, H height, W width, E edges of a cell, K operators of an edge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from spaces.networks import cell as cells
from spaces.networks import darts

Mixture = Literal["softmax", "max-w"]


class Architecture(nn.Module):
    """How much each operator counts on each edge of a cell.

    "softmax" weighs the operators of an edge by the softmax w of their logits (DARTS, equation 2); "max-w" by
    1 - max(w) + w, which leaves the best one as it is and the others with less (Max-W regularisation of sharpDARTS,
    Hundt et al. 2019, arXiv 1903.09900).

    Attributes:
        logits_EK: the parameters, drawn from N(0, 1e-3^2) as in the code of DARTS.
    """

    def __init__(self, edges: int, operators: int, mixture: Mixture) -> None:
        super().__init__()
        self.logits_EK = nn.Parameter(1e-3 * torch.randn(edges, operators))
        self.mixture = mixture

    def forward(self) -> Tensor:
        """The weights, [E, K]."""
        weights_EK = self.logits_EK.softmax(dim=1)
        if self.mixture == "softmax":
            return weights_EK
        return 1 - weights_EK.amax(dim=1, keepdim=True) + weights_EK


class MixedOperator(nn.Module):
    """The weighted sum of what operators give; None gives zero."""

    def __init__(self, operators: Sequence[nn.Module | None]) -> None:
        super().__init__()
        self.operators = nn.ModuleDict({str(k): m for k, m in enumerate(operators) if m is not None})

    def forward(self, x_NCHW: Tensor, weights_K: Tensor) -> Tensor:
        terms = [weights_K[int(k)] * operator(x_NCHW) for k, operator in self.operators.items()]
        return torch.stack(terms).sum(dim=0)


class MixedCell(nn.Module):
    """A cell as of `cell.CellBlock`, every edge of which is a mixture of all operators."""

    def __init__(
        self,
        edges: Sequence[tuple[int, int]],
        names: Sequence[str],
        channels: int,
        weights: Callable[[], Tensor],
    ) -> None:
        super().__init__()
        self.edges, self.last = tuple(edges), max(target for _, target in edges)
        self.mixed = nn.ModuleList(
            MixedOperator([cells.operator(name, channels) for name in names]) for _ in self.edges
        )
        self._weights = [weights]  # in a list, so that the architecture is no part of each cell

    def forward(self, x_NCHW: Tensor) -> Tensor:
        nodes = [x_NCHW] + [torch.zeros_like(x_NCHW) for _ in range(self.last)]
        weights_EK = self._weights[0]()
        for (source, target), mixed, weights_K in zip(self.edges, self.mixed, weights_EK, strict=True):
            nodes[target] = nodes[target] + mixed(nodes[source], weights_K)
        return nodes[self.last]


class MixedDARTSCell(nn.Module):
    """A cell as of `darts.DARTSCell`, whose nodes add a mixture of all operators on every input and earlier node.

    Poolings are normalised, as in the code of DARTS, lest their outputs outgrow those of convolutions.

    Args:
        nodes: how many there are besides the two inputs.
        kinds: the operators of an edge, as `darts.operator` takes them; None gives zero.
        before, last, channels, halves, halved: see `darts.DARTSCell`.
        weights: those of the edges, in the order of the nodes that they lead to.
    """

    def __init__(
        self,
        nodes: int,
        kinds: Sequence[str | darts.Convolutions | None],
        before: int,
        last: int,
        channels: int,
        halves: bool,
        halved: bool,
        weights: Callable[[], Tensor],
    ) -> None:
        super().__init__()
        self.inputs = darts.cell_inputs(before, last, channels, halved)
        self.edges = [(source, node) for node in range(2, 2 + nodes) for source in range(node)]
        self.mixed = nn.ModuleList(
            MixedOperator([_normed(kind, channels, 2 if halves and source < 2 else 1) for kind in kinds])
            for source, _ in self.edges
        )
        self._weights = [weights]

    def forward(self, before_NCHW: Tensor, last_NCHW: Tensor) -> Tensor:
        nodes = [self.inputs[0](before_NCHW), self.inputs[1](last_NCHW)]
        for (source, node), mixed, weights_K in zip(self.edges, self.mixed, self._weights[0](), strict=True):
            term = mixed(nodes[source], weights_K)
            if node == len(nodes):
                nodes.append(term)
            else:
                nodes[node] = nodes[node] + term
        return torch.cat(nodes[2:], dim=1)


def _normed(kind: str | darts.Convolutions | None, channels: int, stride: int) -> nn.Module | None:
    if kind is None:
        return None
    operator = darts.operator(kind, channels, stride)
    if isinstance(kind, str) and "pool" in kind:
        return nn.Sequential(operator, nn.BatchNorm2d(channels))
    return operator


class Supernet(nn.Module):
    """A network whose cells are mixed, with the architectures that they share.

    Args:
        network: takes images [N, inputs, H, W], gives logits [N, classes].
        architectures: by the name of the cell.
    """

    def __init__(self, network: nn.Module, architectures: dict[str, Architecture]) -> None:
        super().__init__()
        self.network, self.architectures = network, nn.ModuleDict(architectures)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.network(x_NCHW)
