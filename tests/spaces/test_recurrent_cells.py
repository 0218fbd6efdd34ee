"""Recurrent cells as NAS-Bench-NLP has them."""

import json

import networkx
import numpy as np
import pytest
import torch
from networkx.algorithms.isomorphism import DiGraphMatcher

import spaces
from spaces.catalog.nasbench_nlp import COMMUTING, NAMED, NASBenchNLP, Operator, RecurrentCell

SPACE = NASBenchNLP(spaces.tokens(11, 6), nodes=8, layers=2, hidden=9)


def shuffled(cell, rng):
    """Another writing of a cell: operators in another order, operands that commute swapped, states renamed."""
    left, order = [*range(len(cell.nodes))], []
    while left:
        ready = [k for k in left if all(kind != "n" or n in order for kind, n in cell.nodes[k].operands)]
        order.append(ready[rng.integers(len(ready))])
        left.remove(order[-1])
    states = [0, *(1 + rng.permutation(len(cell.states) - 1)).tolist()]
    place = {("n", old): ("n", new) for new, old in enumerate(order)}
    place |= {("h", old): ("h", new) for new, old in enumerate(states)} | {("x", 0): ("x", 0)}
    nodes = []
    for old in order:
        name, operands = cell.nodes[old]
        taken = [place[value] for value in operands]
        nodes.append(
            Operator(
                name, tuple(rng.permutation(np.array(taken, object)).tolist() if name in COMMUTING else taken)
            )
        )
    nodes = [Operator(name, tuple(map(tuple, operands))) for name, operands in nodes]
    return RecurrentCell(nodes, [place["n", cell.states[old]][1] for old in states])


def drawing(cell):
    """A cell as a labelled graph, where users of operands that do not commute stand behind a node for the place."""
    graph = networkx.DiGraph()
    live, states = cell.live
    for k in states:
        graph.add_node(("h", k), label="h0" if k == 0 else "h")
        graph.add_edge(("n", cell.states[k]), ("h", k))
    for k in live:
        name, operands = cell.nodes[k]
        graph.add_node(("n", k), label=name)
        for port, value in enumerate(operands):
            between = ("port", k, port)
            graph.add_node(between, label="any" if name in COMMUTING else f"port {port}")
            graph.add_edge(value, between)
            graph.add_edge(between, ("n", k))
    if ("x", 0) in graph:
        graph.nodes["x", 0]["label"] = "x"
    return graph


def test_writings_of_a_cell_have_one_digest():
    rng = np.random.default_rng(0)
    for _ in range(200):
        genome = SPACE.sample(rng)
        other = shuffled(genome.tree, rng)
        assert spaces.Genome(other).digest == genome.digest, (genome.text, other.text)
        assert SPACE.parse(other.text).digest == genome.digest


def test_digests_tell_what_isomorphism_tells():
    """Against networkx, over cells so small that many are the same."""
    small = NASBenchNLP(SPACE.io, nodes=3)
    rng = np.random.default_rng(1)
    cells = {genome.text: genome for genome in (small.sample(rng) for _ in range(400))}
    kinds = {}
    for genome in cells.values():
        kinds.setdefault(genome.digest, []).append(drawing(genome.tree))
    assert 20 < len(kinds) < len(cells)

    def same(a, b):
        return DiGraphMatcher(a, b, node_match=lambda one, two: one["label"] == two["label"]).is_isomorphic()

    assert all(same(group[0], other) for group in kinds.values() for other in group[1:])
    firsts = [group[0] for group in kinds.values()]
    by_size = {}
    for graph in firsts:
        key = (
            len(graph),
            graph.number_of_edges(),
            tuple(sorted(networkx.get_node_attributes(graph, "label").values())),
        )
        by_size.setdefault(key, []).append(graph)
    for group in by_size.values():
        assert not any(same(a, b) for k, a in enumerate(group) for b in group[:k])


def test_what_does_not_reach_the_output_does_not_count():
    one = SPACE.parse("recurrent_cell(nodes=[linear(a=x, b=h0), activation_tanh(a=n0)], h0=n1)")
    dead = SPACE.parse(
        "recurrent_cell(nodes=[linear(a=x, b=h0), linear(a=n0, b=h1), activation_tanh(a=n0)], h0=n2, h1=n1)"
    )
    later = SPACE.parse("recurrent_cell(nodes=[linear(a=x, b=h1), activation_tanh(a=n0)], h0=n1, h1=n0)")
    assert one.digest == dead.digest != later.digest
    assert SPACE.cost(dead).parameters > SPACE.cost(one).parameters, "what was trained had them"


def test_shared_operators_are_not_copies():
    """One linear operator that is used twice has one matrix; two have two."""
    shared = SPACE.parse("recurrent_cell(nodes=[linear(a=x, b=h0), elementwise_prod(a=n0, b=n0)], h0=n1)")
    twice = SPACE.parse(
        "recurrent_cell(nodes=[linear(a=x, b=h0), linear(a=x, b=h0), elementwise_prod(a=n0, b=n1)], h0=n2)"
    )
    assert shared.digest != twice.digest


def test_the_plain_recurrent_network_is_torchs():
    torch.manual_seed(0)
    model = SPACE.build(SPACE.architecture("rnn"))
    tokens = torch.randint(11, (3, 7))
    x = model.embedding(tokens)
    for layer, (inputs, width) in zip(model.layers, SPACE.widths, strict=True):
        twin = torch.nn.RNN(inputs, width, batch_first=True)
        of_x, of_h = layer.linears["0_0"], layer.linears["0_1"]
        twin.weight_ih_l0.data, twin.weight_hh_l0.data = of_x.weight.data, of_h.weight.data
        twin.bias_ih_l0.data, twin.bias_hh_l0.data = of_x.bias.data, torch.zeros(width)
        x, _ = twin(x)
    torch.testing.assert_close(model(tokens), x @ model.embedding.weight.T + model.bias)


def test_the_gated_unit_step_by_step():
    torch.manual_seed(0)
    model = SPACE.build(SPACE.architecture("gru"))
    layer, x = model.layers[0], torch.randn(2, 5, 6)
    h, outputs = torch.zeros(2, 9), []

    def linear(place, *values):
        modules = [layer.linears[f"{place}_{k}"] for k in range(len(values))]
        return sum(v @ m.weight.T for v, m in zip(values, modules, strict=True)) + modules[0].bias

    for token in range(5):
        reset = torch.sigmoid(linear(0, x[:, token], h))
        update = torch.sigmoid(linear(2, x[:, token], h))
        new = torch.tanh(linear(5, x[:, token], reset * h))
        h = update * h + (1 - update) * new
        outputs.append(h)
    torch.testing.assert_close(layer(x), torch.stack(outputs, dim=1))
    torch.testing.assert_close(layer.double()(x.double()), torch.stack(outputs, dim=1).double())


def test_published_cells_are_genomes():
    recipe = {
        "h_new_0": {"op": "activation_tanh", "input": ["f"]},
        "f": {"op": "linear", "input": ["x", "h_prev_0"]},
    }
    genome = SPACE.parse(json.dumps(recipe))
    assert genome.text == NAMED["rnn"]
    assert genome == SPACE.recipe(recipe) == SPACE.architecture("rnn")


def test_costs_of_the_benchmark():
    """The sizes that it publishes for its hand-made cells."""
    space = spaces.load("nasbench_nlp", spaces.tokens(33_278, 400))
    assert space.cost(space.architecture("rnn")).parameters == 15_066_078
    assert space.widths == [(400, 600), (600, 600), (600, 400)]


@pytest.mark.parametrize(
    "text, message",
    [
        ("cell(nodes=[])", "the genome: found 'cell', expected recurrent_cell(nodes=[...], h0=...)"),
        ("recurrent_cell(nodes=[], h0=n0)", "nodes: found [], expected a list of operators"),
        (
            "recurrent_cell(nodes=[linear(a=x, b=h0)])",
            "states: found none, expected h0, and up to 2 more in order",
        ),
        (
            "recurrent_cell(nodes=[linear(a=x, b=h0)], h1=n0)",
            "states: found h1, expected h0, and up to 2 more in order",
        ),
        (
            "recurrent_cell(nodes=[linear(a=x, b=h0)], h0=n1)",
            "h0: found n1, expected an operator from n0 to n0",
        ),
        (
            "recurrent_cell(nodes=[linaer(a=x, b=h0)], h0=n0)",
            "operator n0: unknown 'linaer', did you mean 'linear'? allowed: linear, activation_tanh, ",
        ),
        (
            "recurrent_cell(nodes=[linear(a=x)], h0=n0)",
            "operator n0: linear takes 2 to 3 operands, a, b, c; found a",
        ),
        (
            "recurrent_cell(nodes=[linear(a=x, b=h1)], h0=n0)",
            "operator n0, b: found h1, expected x, a state below h1 or an operator before n0",
        ),
        (
            "recurrent_cell(nodes=[activation_tanh(a=x)], h0=n0)",
            "operator n0, a: found x, expected a state below h1 or an operator before n0",
        ),
        (
            "recurrent_cell(nodes=[activation_tanh(a=h0)], h0=n0)",
            "h0 of recurrent_cell(nodes=[activation_tanh(a=h0)], h0=n0) never depends on x, the input",
        ),
        ('{"a": 3}', "'{\"a\": 3}' is no cell as the benchmark publishes it"),
        (
            '{"a": {"op": "linear", "input": ["x", "a"]}}',
            "'a' is neither an input nor a node that comes before",
        ),
        (
            '{"h_new_1": {"op": "linear", "input": ["x", "h_prev_0"]}}',
            "the cell has 1 new states, but no 'h_new_0'",
        ),
    ],
)
def test_what_is_no_cell(text, message):
    with pytest.raises(spaces.InvalidGenome) as caught:
        SPACE.parse(text)
    assert str(caught.value).startswith(message)


def test_what_a_space_refuses():
    with pytest.raises(spaces.InvalidSpace, match="reads tokens"):
        NASBenchNLP(spaces.vector(3))
    with pytest.raises(spaces.InvalidSpace, match="layers = 0, but it must be at least 1"):
        NASBenchNLP(layers=0)
    with pytest.raises(spaces.InvalidSpace, match="no architecture 'lst', did you mean 'lstm'"):
        SPACE.architecture("lst")
