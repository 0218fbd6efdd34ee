import math

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import spaces
from spaces import InvalidSpace
from spaces.catalog.graph_network import COMPONENTS

SPACE = spaces.load("graph_network", spaces.nodes(5, 3))
TEXT = (
    "graph_network(attention_1=gat, aggregation_1=sum, activation_1=elu, heads_1=2, hidden_1=8, "
    "attention_2=gcn, aggregation_2=mean, activation_2=linear, heads_2=1)"
)


def test_size_and_text():
    assert SPACE.size == (7 * 3 * 8 * 6 * 7) * (7 * 3 * 8 * 6)
    genome = SPACE.parse(TEXT)
    assert genome.text == TEXT
    assert SPACE.layer_choices(genome)[1]["hidden"] == 3
    graph = SPACE.graph(genome)
    assert graph.operators == ("input", "layer", "last_layer", "output")
    assert graph.choices[1] == {
        "attention": "gat",
        "aggregation": "sum",
        "activation": "elu",
        "heads": 2,
        "hidden": 8,
    }
    assert "hidden" not in graph.choices[2]
    assert spaces.load("graph_network", layers=1).size == 7 * 3 * 8 * 6


@pytest.mark.parametrize(
    "options, message",
    [
        ({"layers": 0}, "layers = 0, but it must be an integer of at least 1"),
        ({"dropout": 1}, "dropout = 1, but it must be at least 0 and below 1"),
        ({"io": spaces.vector(3)}, "reads the nodes of a graph, but it was given VectorIO"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(InvalidSpace, match=message):
        spaces.load("graph_network", **options)


def naive(model, choices, x_NF, edges):
    """A network one node, one head and one edge at a time, from the equations of table 1 of Auto-GNN."""
    nodes = len(x_NF)
    into = [sorted([s for s, t in edges if t == node and s != node] + [node]) for node in range(nodes)]
    for layer, chosen in zip(model.layers, choices, strict=True):
        hidden, rows = chosen["hidden"], []
        for i in range(nodes):
            made = []
            for head in range(chosen["heads"]):
                weight = layer.weight[:, head * hidden : (head + 1) * hidden]
                vector = {name: values[head] for name, values in layer.vectors.items()}
                h = x_NF @ weight

                def gat(a, b, vector=vector):
                    score = vector["l"] @ a + vector["r"] @ b
                    return score if score > 0 else 0.2 * score

                def score(j, h=h, i=i, vector=vector, kind=chosen["attention"], gat=gat):
                    if kind == "gat":
                        return gat(h[i], h[j])
                    if kind == "sym_gat":
                        return gat(h[i], h[j]) + gat(h[j], h[i])
                    if kind == "cos":
                        return (vector["l"] * h[i]) @ (vector["r"] * h[j])
                    if kind == "linear":
                        return torch.tanh(vector["l"] @ h[j])
                    return vector["g"] @ torch.tanh(vector["l"] * h[i] + vector["r"] * h[j])

                if chosen["attention"] == "const":
                    weights = [1.0] * len(into[i])
                elif chosen["attention"] == "gcn":
                    weights = [1 / math.sqrt(len(into[i]) * len(into[j])) for j in into[i]]
                else:
                    weights = torch.stack([score(j) for j in into[i]]).softmax(dim=0)
                messages = torch.stack([w * h[j] for w, j in zip(weights, into[i], strict=True)])
                made.append(
                    {"sum": messages.sum(0), "mean": messages.mean(0), "max": messages.amax(0)}[
                        chosen["aggregation"]
                    ]
                )
            last = layer is model.layers[-1]
            rows.append((torch.stack(made).mean(0) if last else torch.cat(made)) + layer.bias)
        name = chosen["activation"]
        apply = getattr(torch.nn.functional, name, None)
        x_NF = torch.stack(rows) if name == "linear" else apply(torch.stack(rows))
    return x_NF


@pytest.mark.parametrize("attention", COMPONENTS["attention"].values)
@pytest.mark.parametrize("aggregation", COMPONENTS["aggregation"].values)
def test_networks_equal_a_naive_one(attention, aggregation):
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    edges = [(0, 1), (1, 0), (1, 2), (3, 2), (2, 2), (0, 2), (4, 0)]
    for activation in COMPONENTS["activation"].values[::3]:
        genome = SPACE.genome(
            **{
                **SPACE.values(SPACE.sample(rng)),
                **{f"attention_{k}": attention for k in (1, 2)},
                **{f"aggregation_{k}": aggregation for k in (1, 2)},
                **{"activation_1": activation, "heads_1": 2, "heads_2": 4, "hidden_1": 4},
            }
        )
        model = SPACE.build(genome).double().eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter)
        x_NF = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
        leaves = [x_NF, *model.parameters()]
        ours = model(x_NF, torch.tensor(edges).T)
        theirs = naive(model, SPACE.layer_choices(genome), x_NF, edges)
        torch.testing.assert_close(ours, theirs)
        pull = torch.randn_like(ours)
        for mine, other in zip(
            torch.autograd.grad(ours, leaves, pull), torch.autograd.grad(theirs, leaves, pull), strict=True
        ):
            torch.testing.assert_close(mine, other)


def test_cost_is_that_of_the_network_as_built():
    rng = np.random.default_rng(1)
    for _ in range(20):
        genome = SPACE.sample(rng)
        model, cost = SPACE.build(genome), SPACE.cost(genome)
        assert cost.parameters == sum(p.numel() for p in model.parameters())
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            assert model(torch.randn(7, 5), torch.randint(7, (2, 11))).shape == (7, 3)
        assert 7 * cost.flops_per_token == counter.get_total_flops()


def test_dropout_is_of_training_alone():
    model = SPACE.build(SPACE.parse(TEXT))
    x, edges = torch.randn(7, 5), torch.randint(7, (2, 11))
    assert not torch.equal(model(x, edges), model(x, edges))
    model.eval()
    assert torch.equal(model(x, edges), model(x, edges))
