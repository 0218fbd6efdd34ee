import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spaces
from spaces.graph import to_networkx, weisfeiler_lehman

SPACE = spaces.load("hybrid")
A = "mlp(mult=1, activation=gelu)"
B = "swiglu(mult=2)"
C = "gated_conv(kernel=3)"


def stack(*layers, repeat=1):
    return f"stack(layers=[{', '.join(layers)}], repeat={repeat})"


def residual(body):
    return f"residual(body={body})"


def parallel(*branches):
    return f"parallel(branches=[{', '.join(branches)}])"


def digest(text):
    return SPACE.parse(text).digest


@pytest.mark.parametrize(
    "one, other",
    [
        (stack(residual(A), residual(A)), stack(residual(A), repeat=2)),
        (stack(stack(residual(A), residual(B)), residual(C)), stack(residual(A), residual(B), residual(C))),
        (stack(stack(residual(A), repeat=2), repeat=2), stack(residual(A), repeat=4)),
        (stack(parallel(A, B)), stack(parallel(B, A))),
        (stack(parallel(A, B, C)), stack(parallel(C, A, B))),
    ],
)
def test_the_same_network_written_twice_has_one_digest_and_one_graph(one, other):
    assert one != other
    assert digest(one) == digest(other)
    first, second = (SPACE.graph(SPACE.parse(text)) for text in (one, other))
    assert first.operators == second.operators
    assert first.choices == second.choices
    assert np.array_equal(first.sources, second.sources)
    assert np.array_equal(first.targets, second.targets)


@pytest.mark.parametrize(
    "one, other",
    [
        (stack(residual(A), residual(B)), stack(residual(B), residual(A))),
        (stack(residual(A), residual(B)), stack(parallel(A, B))),
        (stack(residual(A), repeat=2), stack(residual(A), repeat=3)),
        (stack(parallel(A, A)), stack(residual(A))),
        (
            stack(residual(A), residual(B), repeat=2),
            stack(residual(A), residual(A), residual(B), residual(B)),
        ),
    ],
)
def test_different_networks_differ(one, other):
    assert digest(one) != digest(other)


def test_equal_digests_compute_equal_functions():
    import torch

    one, other = (SPACE.build(SPACE.parse(stack(parallel(*order)))) for order in ((A, B), (B, A)))
    swap = {
        "body.blocks.0.blocks.0": "body.blocks.0.blocks.1",
        "body.blocks.0.blocks.1": "body.blocks.0.blocks.0",
    }
    weights = {swap.get(key[:22], key[:22]) + key[22:]: value for key, value in one.state_dict().items()}
    other.load_state_dict(weights)
    tokens = torch.randint(256, (2, 9))
    torch.testing.assert_close(one(tokens), other(tokens))


def test_graph_of_a_known_model():
    graph = SPACE.graph(SPACE.parse(stack(residual(A), parallel(B, C))))
    assert graph.operators == ("input", "mlp", "add", "gated_conv", "swiglu", "add", "output")
    assert list(zip(graph.sources.tolist(), graph.targets.tolist(), strict=True)) == [
        (0, 1), (0, 2), (1, 2), (2, 3), (2, 4), (2, 5), (3, 5), (4, 5), (5, 6),
    ]  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6))
def test_graphs_are_acyclic_from_input_to_output(seed):
    genome = SPACE.sample(np.random.default_rng(seed))
    graph = SPACE.graph(genome)
    assert (graph.sources < graph.targets).all()
    view = to_networkx(graph)
    assert view.nodes[0]["operator"] == "input"
    last = len(graph.operators) - 1
    assert view.nodes[last]["operator"] == "output"
    assert networkx.ancestors(view, last) == set(range(last))
    assert networkx.descendants(view, 0) == set(range(1, last + 1))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_weisfeiler_lehman_agrees_with_networkx(one, other):
    """Two graphs have the same multiset of labels exactly where networkx's hashes of the same rounds agree."""
    rng = np.random.default_rng(one)
    genomes = [SPACE.sample(rng, size=8), SPACE.sample(np.random.default_rng(other), size=8)]
    genomes.append(SPACE.mutate(genomes[0], rng))
    graphs = [SPACE.graph(genome) for genome in genomes]
    labels = [sorted(weisfeiler_lehman(graph)[-1].tolist()) for graph in graphs]
    views = []
    for graph in graphs:
        view = networkx.DiGraph(to_networkx(graph))
        for node, chosen in enumerate(graph.choices):
            view.nodes[node]["label"] = repr((graph.operators[node], sorted(chosen.items())))
        views.append(view)
    for i, j in ((0, 1), (0, 2), (1, 2), (0, 0)):
        match = lambda a, b: a["label"] == b["label"]  # noqa: E731
        if networkx.is_isomorphic(views[i], views[j], node_match=match):
            assert labels[i] == labels[j]
        else:
            assert labels[i] != labels[j]


def test_labels_are_local_at_first_and_reach_further_each_round():
    one = weisfeiler_lehman(SPACE.graph(SPACE.parse(stack(residual(A), residual(B)))))
    other = weisfeiler_lehman(SPACE.graph(SPACE.parse(stack(residual(A), residual(C)))))
    assert one.shape == (4, 6)
    assert one[0, 1] == other[0, 1]
    assert one[1, 1] == other[1, 1]
    assert one[2, 1] != other[2, 1]
