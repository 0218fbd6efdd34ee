"""Graph networks of chosen components (Auto-GNN: Zhou et al. 2019, arXiv 1909.03184; GraphNAS: Gao et al. 2019).

A layer is an attention function over edges, a way to aggregate what comes along them, an activation, a number of heads
and the features of each. The heads of a layer are concatenated; those of the last are averaged and have a feature for
each class. Values are those of the papers; the network is that of GraphNAS's code without its normalisation of
features before each layer.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Lt

from spaces.cost import Cost
from spaces.errors import InvalidSpace
from spaces.fields import Choice, Real, choice
from spaces.genome import Genome
from spaces.graph import Graph
from spaces.io import IO, NodeIO, nodes
from spaces.product import ProductSpace, chain

if TYPE_CHECKING:
    from torch import nn

COMPONENTS = {
    "attention": choice("const", "gcn", "gat", "sym_gat", "cos", "linear", "gene_linear"),
    "aggregation": choice("sum", "mean", "max"),
    "activation": choice("sigmoid", "tanh", "relu", "linear", "softplus", "leaky_relu", "relu6", "elu"),
    "heads": choice(1, 2, 4, 6, 8, 16, ordered=True),
    "hidden": choice(4, 8, 16, 32, 64, 128, 256, ordered=True),
}
"""Of a layer, and their values."""

ATTENTION_VECTORS = {"const": 0, "gcn": 0, "gat": 2, "sym_gat": 2, "cos": 2, "linear": 1, "gene_linear": 3}
"""How many learnt vectors of `hidden` features each head of an attention function has."""


class GraphNetworks(ProductSpace):
    """The space of graph networks.

    Args:
        io: the features of a node, and its classes.
        layers: how many layers there are.
        dropout: the share of the features before each layer that is dropped in training; 0.6 in GraphNAS.

    Raises:
        InvalidSpace: the input and output are not those of the classification of nodes, or an option is impossible.
    """

    def __init__(
        self,
        io: IO | None = None,
        layers: Annotated[int, Ge(1)] = 2,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.6,
    ) -> None:
        io = nodes() if io is None else io
        if not isinstance(io, NodeIO):
            raise InvalidSpace(f"space 'graph_network' reads the nodes of a graph, but it was given {io}")
        if type(layers) is not int or layers < 1:
            raise InvalidSpace(
                f"space 'graph_network': layers = {layers!r}, but it must be an integer of at least 1"
            )
        if type(dropout) not in (int, float) or not 0 <= dropout < 1:
            raise InvalidSpace(
                f"space 'graph_network': dropout = {dropout!r}, but it must be at least 0 and below 1"
            )
        fields = {
            f"{key}_{layer}": values
            for layer in range(1, layers + 1)
            for key, values in COMPONENTS.items()
            if key != "hidden" or layer < layers
        }
        super().__init__("graph_network", fields, io)
        self.io: NodeIO = io
        self.layers, self.dropout = layers, dropout

    @property
    def operators(self) -> dict[str, dict[str, Choice | Real]]:
        last = {key: values for key, values in COMPONENTS.items() if key != "hidden"}
        return {"layer": COMPONENTS, "last_layer": last} if self.layers > 1 else {"last_layer": last}

    def at(self, io: IO) -> GraphNetworks:
        return GraphNetworks(io, self.layers, self.dropout)

    def layer_choices(self, genome: Genome) -> list[dict[str, Any]]:
        """The choices of each layer; the features of the last are the classes."""
        values = {**self.values(genome), f"hidden_{self.layers}": self.io.classes}
        return [{key: values[f"{key}_{layer}"] for key in COMPONENTS} for layer in range(1, self.layers + 1)]

    def graph(self, genome: Genome) -> Graph:
        *others, last = self.layer_choices(genome)
        del last["hidden"]
        return chain([*(("layer", chosen) for chosen in others), ("last_layer", last)])

    def cost(self, genome: Genome, context: int | None = None) -> Cost:
        """The parameters, and the FLOPs for one node; what comes along edges is elementwise work, and free."""
        chosen = self.layer_choices(genome)
        widths = [self.io.features, *(layer["heads"] * layer["hidden"] for layer in chosen)]
        weights = sum(a * b for a, b in itertools.pairwise(widths))
        vectors = sum(
            ATTENTION_VECTORS[layer["attention"]] * width
            for layer, width in zip(chosen, widths[1:], strict=True)
        )
        parameters = weights + vectors + sum(widths[1:-1]) + self.io.classes
        return Cost(parameters, parameters, 2 * weights, 0)

    def build(self, genome: Genome) -> nn.Module:
        """A network from features [N, features] and edges (source, target) [2, E] to logits [N, classes]."""
        from spaces.networks.graph_network import GraphNetwork

        return GraphNetwork(self.io.features, self.layer_choices(genome), self.dropout)
