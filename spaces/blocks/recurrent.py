"""Recurrent cells made of a few operators, and a language model of layers of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

# B: samples, L: tokens, D: features, S: states.

Node = tuple[str, tuple[tuple[str, int], ...]]
"""The name of an operator and its operands: ("h", state), ("n", an operator before it), or ("x", 0), the token."""

ACTIVATIONS = {
    "activation_tanh": torch.tanh,
    "activation_sigm": torch.sigmoid,
    "activation_leaky_relu": functional.leaky_relu,
}


class RecurrentLayer(nn.Module):
    """One cell over all tokens.

    Args:
        nodes: the operators, each after those that it takes.
        states: the operator that gives each new state; the first is the layer's output.
        inputs, width: features of a token and of a state.
    """

    def __init__(self, nodes: Sequence[Node], states: Sequence[int], inputs: int, width: int) -> None:
        super().__init__()
        self.nodes, self.states, self.width = tuple(nodes), tuple(states), width
        self.linears = nn.ModuleDict(
            {
                str(place): nn.ModuleList(
                    nn.Linear(inputs if kind == "x" else width, width, bias=not k)
                    for k, (kind, _) in enumerate(operands)
                )
                for place, (name, operands) in enumerate(nodes)
                if name == "linear"
            }
        )

    def forward(self, x_BLD: Tensor) -> Tensor:
        """The output after each token, [B, L, width]; states begin at zero."""
        # What only the token decides is computed for all tokens at once.
        of_x: dict[str, list[Tensor | None]] = {
            key: [
                linear(x_BLD) if kind == "x" else None
                for linear, (kind, _) in zip(linears, self.nodes[int(key)][1], strict=True)
            ]
            for key, linears in self.linears.items()
        }
        zeros = x_BLD.new_zeros(x_BLD.shape[0], self.width)
        h_S = [zeros] * len(self.states)
        outputs = []
        for token in range(x_BLD.shape[1]):
            n: list[Tensor] = []
            for place, (name, operands) in enumerate(self.nodes):
                if name == "linear":
                    terms = [
                        linear(h_S[k] if kind == "h" else n[k]) if known is None else known[:, token]
                        for linear, known, (kind, k) in zip(
                            self.linears[str(place)], of_x[str(place)], operands, strict=True
                        )
                    ]
                    n.append(torch.stack(terms).sum(dim=0))
                    continue
                values = [n[k] if kind == "n" else h_S[k] for kind, k in operands]
                n.append(self._apply(name, values))
            h_S = [n[place] for place in self.states]
            outputs.append(h_S[0])
        return torch.stack(outputs, dim=1)

    @staticmethod
    def _apply(name: str, values: Sequence[Tensor]) -> Tensor:
        if name in ACTIVATIONS:
            return ACTIVATIONS[name](values[0])
        if name == "elementwise_sum":
            return values[0] + values[1]
        if name == "elementwise_prod":
            return values[0] * values[1]
        gate, one, other = values
        return gate * one + (1 - gate) * other


class RecurrentModel(nn.Module):
    """Embedding, layers, and logits by the weights of the embedding: tokens [B, L] to logits [B, L, vocab]."""

    def __init__(
        self, nodes: Sequence[Node], states: Sequence[int], vocab: int, widths: Sequence[tuple[int, int]]
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, widths[0][0])
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        self.layers = nn.ModuleList(RecurrentLayer(nodes, states, *each) for each in widths)
        self.bias = nn.Parameter(torch.zeros(vocab))

    def forward(self, tokens_BL: Tensor) -> Tensor:
        x_BLD = self.embedding(tokens_BL)
        for layer in self.layers:
            x_BLD = layer(x_BLD)
        return functional.linear(x_BLD, self.embedding.weight, self.bias)
