"""Recurrent cells made of a few operators, and a language model of layers of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

# B: samples, L: tokens, D: features, S: states.

Node = tuple[str, tuple[tuple[str, int], ...]]
"""The name of an operator and its operands: ("h", state), ("n", an operator before it), or ("x", 0), the token."""

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
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

    steps_by_token = True

    def __init__(self, nodes: Sequence[Node], states: Sequence[int], inputs: int, width: int) -> None:
        super().__init__()
        self.nodes, self.states, self.width = tuple(nodes), tuple(states), width
        self.linears = nn.ModuleDict(
            {
                f"{place}_{k}": nn.Linear(inputs if kind == "x" else width, width, bias=not k)
                for place, (name, operands) in enumerate(nodes)
                if name == "linear"
                for k, (kind, _) in enumerate(operands)
            }
        )

    def forward(self, x_BLD: Tensor) -> Tensor:
        """The output after each token, [B, L, width]; states begin at zero."""
        # What only the token decides is computed for all tokens at once.
        of_x = {
            f"{place}_{k}": self.linears[f"{place}_{k}"](x_BLD)
            for place, (_, operands) in enumerate(self.nodes)
            for k, (kind, _) in enumerate(operands)
            if kind == "x"
        }
        h_S = [x_BLD.new_zeros(x_BLD.shape[0], self.width)] * len(self.states)
        outputs = []
        for token in range(x_BLD.shape[1]):
            n: list[Tensor] = []
            for place, (name, operands) in enumerate(self.nodes):
                terms = []
                for k, (kind, number) in enumerate(operands):
                    key = f"{place}_{k}"
                    if kind == "x":
                        terms.append(of_x[key][:, token])
                        continue
                    value = n[number] if kind == "n" else h_S[number]
                    terms.append(self.linears[key](value) if name == "linear" else value)
                n.append(_applied(name, terms))
            h_S = [n[place] for place in self.states]
            outputs.append(h_S[0])
        return torch.stack(outputs, dim=1)


def _applied(name: str, values: Sequence[Tensor]) -> Tensor:
    """An operator without weights, or the sum of a linear one's products."""
    if name in ACTIVATIONS:
        return ACTIVATIONS[name](values[0])
    if name in ("linear", "elementwise_sum"):
        return torch.stack(list(values)).sum(dim=0)
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
