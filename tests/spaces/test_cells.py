"""Cells: canonical forms and graphs, held to what the cells of NAS-Bench-201 compute."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spaces
from spaces.catalog.nasbench201 import EDGES, OPERATORS
from spaces.cells import Cell

SPACE = spaces.load("nasbench201")
NONE, SKIP = OPERATORS.index("none"), OPERATORS.index("skip_connect")

# Each operator that is neither of the two is a function of its own kind, which maps zero to zero. There are as many
# of a kind as there are edges, which may apply one each.
WIDTH = 3
BENDS = {
    "nor_conv_1x1": np.tanh,
    "nor_conv_3x3": np.sin,
    "avg_pool_3x3": lambda x: x / (1 + np.abs(x)),
}
RNG = np.random.default_rng(0)
MATRICES = {name: RNG.standard_normal((len(EDGES), WIDTH, WIDTH)) for name in BENDS}
INPUT = RNG.standard_normal(WIDTH)
EQUAL = 1e-10
"""Outputs that are equal but for rounding differ by less, others by more."""


def evaluate(cells, functions):
    """What cells give, [n, WIDTH].

    cells: the operator on each edge, [n, 6]. functions: the number of the function that each edge applies, [n, 6].
    """
    nodes = np.zeros((4, len(cells), WIDTH))
    nodes[0] = INPUT
    for edge, (source, target) in enumerate(EDGES):
        for name, bend in BENDS.items():
            here = cells[:, edge] == OPERATORS.index(name)
            matrices = MATRICES[name][functions[here, edge]]
            nodes[target, here] += bend(np.einsum("nij,nj->ni", matrices, nodes[source, here]))
        skipped = cells[:, edge] == SKIP
        nodes[target, skipped] += nodes[source, skipped]
    return nodes[3]


class Twin:
    """Every cell, which of its operators count, and what it gives whichever functions these apply."""

    def __init__(self):
        self.genomes = [SPACE.unrank(rank) for rank in range(SPACE.size)]
        self.cells = np.array(list(itertools.product(range(len(OPERATORS)), repeat=len(EDGES))))
        own = np.broadcast_to(np.arange(len(EDGES)), self.cells.shape)
        whole = evaluate(self.cells, own)
        self.live = np.zeros(self.cells.shape, dtype=bool)
        for edge in range(len(EDGES)):
            cut = self.cells.copy()
            cut[:, edge] = NONE
            changed = np.abs(evaluate(cut, own) - whole).max(axis=1) > EQUAL
            self.live[:, edge] = changed & ~np.isin(self.cells[:, edge], (NONE, SKIP))

        rows, functions = [], []
        for row, (cell, live) in enumerate(zip(self.cells.tolist(), self.live.tolist(), strict=True)):
            for assigned in assignments(cell, live):
                rows.append(row)
                functions.append(assigned)
        self.rows = np.array(rows)
        self.outputs = evaluate(self.cells[self.rows], np.array(functions))


def assignments(cell, live):
    """All ways in which the live edges of each operator can apply the first functions of that operator."""
    edges = [
        [edge for edge, place in enumerate(cell) if live[edge] and OPERATORS[place] == name] for name in BENDS
    ]
    for orders in itertools.product(*(itertools.permutations(range(len(group))) for group in edges)):
        functions = [0] * len(cell)
        for group, order in zip(edges, orders, strict=True):
            for edge, function in zip(group, order, strict=True):
                functions[edge] = function
        yield functions


@pytest.fixture(scope="module")
def twin():
    return Twin()


def test_equal_digests_if_and_only_if_equal_functions(twin):
    """Two cells are equal if their live operators can be matched, by name, so that they give the same.

    That is, if what they give under all assignments of functions to live operators is the same set; and two such
    sets are the same if their least members are.
    """
    score = twin.outputs @ np.array([1, np.sqrt(2), np.pi])
    starts = np.flatnonzero(np.diff(twin.rows, prepend=-1))
    assert len(starts) == SPACE.size
    least = np.minimum.reduceat(score, starts)
    order = np.argsort(least)
    gaps = np.diff(least[order])
    assert not ((gaps > EQUAL / 1000) & (gaps < EQUAL)).any()  # else rounding might decide
    classes = np.empty(SPACE.size, dtype=int)
    classes[order] = np.cumsum(np.concatenate([[0], gaps > EQUAL]))
    digests = [genome.digest for genome in twin.genomes]
    assert len(set(digests)) == len(set(classes)) == 5_425
    assert len(set(zip(digests, classes.tolist(), strict=True))) == 5_425


def test_inner_nodes_without_an_edge_between_them_may_change_places(twin):
    swapped = 0
    for code in itertools.product(range(len(OPERATORS)), repeat=len(EDGES)):
        operators = dict(zip(EDGES, code, strict=True))
        if operators[1, 2] != NONE:
            continue
        names = {0: 0, 1: 2, 2: 1, 3: 3}
        other = tuple(
            operators[edge if edge == (1, 2) else (names[edge[0]], names[edge[1]])] for edge in EDGES
        )
        assert SPACE.canonical(code) == SPACE.canonical(other)
        swapped += code != other
    assert swapped == 5**5 - 5**3


def test_graphs_are_those_of_the_digests(twin):
    graphs = {}
    for genome, cell, live in zip(twin.genomes, twin.cells, twin.live, strict=True):
        graph = SPACE.graph(genome)
        whole = (graph.operators, graph.sources.tolist(), graph.targets.tolist(), graph.ports.tolist())
        assert graphs.setdefault(genome.digest, whole) == whole
        counted = sorted(OPERATORS[place] for place in cell[live])
        assert sorted(name for name in graph.operators[1:-1] if name != "add") == counted
    assert len({repr(whole) for whole in graphs.values()}) == len(graphs)
    for operators, sources, targets, ports in graphs.values():
        nodes = range(len(operators))
        assert (operators[0], operators[-1]) == ("input", "output")
        assert not {"input", "output"} & set(operators[1:-1])
        assert all(source < target for source, target in zip(sources, targets, strict=True))
        assert set(ports) <= {0}
        added = [
            sorted(source for source, target in zip(sources, targets, strict=True) if target == node)
            for node in nodes
            if operators[node] == "add"
        ]
        assert all(one != other for one, other in itertools.combinations(added, 2))
        into, out = ([ends.count(node) for node in nodes] for ends in (targets, sources))
        if sources:
            assert all(out[:-1])
            assert out[-1] == 0
            assert into[0] == 0
            assert all(into[node] > 1 if operators[node] == "add" else into[node] == 1 for node in nodes[1:])


def test_graphs_compute_what_cells_do(twin):
    starts = np.flatnonzero(np.diff(twin.rows, prepend=-1)).tolist()
    seen = set()
    for row, genome in enumerate(twin.genomes):
        if genome.digest in seen:
            continue
        seen.add(genome.digest)
        graph = SPACE.graph(genome)
        values = np.zeros((len(graph.operators), WIDTH))
        values[0] = INPUT
        used = dict.fromkeys(BENDS, 0)
        edges = list(zip(graph.sources.tolist(), graph.targets.tolist(), strict=True))
        for node, name in enumerate(graph.operators[1:], start=1):
            total = sum((values[source] for source, target in edges if target == node), np.zeros(WIDTH))
            if name in BENDS:
                total = BENDS[name](MATRICES[name][used[name]] @ total)
                used[name] += 1
            values[node] = total
        mine = twin.outputs[starts[row] : starts[row + 1] if row + 1 < len(starts) else None]
        assert np.abs(mine - values[-1]).max(axis=1).min() < EQUAL, genome


def test_cells_that_are_cut_in_two(twin):
    cut = 0
    for genome, cell in zip(twin.genomes, twin.cells.tolist(), strict=True):
        reached = {0}
        for (source, target), place in zip(EDGES, cell, strict=True):
            if source in reached and place != NONE:
                reached.add(target)
        graph = SPACE.graph(genome)
        assert (len(graph.targets) == 0) == (3 not in reached)
        if 3 not in reached:
            cut += 1
            assert graph.operators == ("input", "output")
    assert cut == 341


@pytest.mark.parametrize(
    "edges, text",
    [
        ([(0, 1, "same")], "=0"),
        ([(0, 1, "zero")], "="),
        ([(0, 1, "a"), (0, 1, "same"), (0, 1, "same")], "a(0) =0,0,1"),
        ([(0, 1, "a"), (1, 2, "b"), (1, 2, "same")], "a(0) b(1) =1,2"),
        ([(0, 1, "a"), (0, 1, "same"), (1, 2, "b")], "a(0) b(0,1) =2"),
        ([(0, 1, "a"), (0, 2, "b")], "b(0) =1"),
        ([(0, 1, "zero"), (1, 2, "a"), (0, 2, "b")], "b(0) =1"),
        ([(0, 1, "a"), (0, 2, "a"), (1, 3, "b"), (2, 3, "b")], "a(0) a(0) b(1) b(2) =3,4"),
        ([(0, 1, "a"), (1, 2, "b"), (1, 2, "b")], "a(0) b(1) b(1) =2,3"),
    ],
)
def test_canonical_forms(edges, text):
    assert Cell(edges, identity="same", nothing="zero").text == text


def test_cells_of_two_inputs_whose_nodes_are_concatenated():
    """All cells of three nodes that each add two of "a", "b" and the identity, held to what they compute.

    As above, two are equal if their operators can be matched so that they give the same outputs, in any order.
    """
    slots = [(node, k) for node in (2, 3, 4) for k in (0, 1)]
    texts, rows = [], []
    for pairs in itertools.product(*(itertools.combinations(range(node), 2) for node in (2, 3, 4))):
        sources = [source for pair in pairs for source in pair]
        for names in itertools.product(["a", "b", "same"], repeat=len(slots)):
            edges = [
                (source, node, name) for source, (node, _), name in zip(sources, slots, names, strict=True)
            ]
            texts.append(Cell(edges, identity="same", inputs=2, outputs=(2, 3, 4)).text)
            groups = [[slot for slot, name in enumerate(names) if name == kind] for kind in "ab"]
            for order in itertools.product(*(itertools.permutations(range(len(group))) for group in groups)):
                functions = [0] * len(slots)
                for kind, (group, numbers) in enumerate(zip(groups, order, strict=True)):
                    for slot, number in zip(group, numbers, strict=True):
                        functions[slot] = 1 + number + kind * len(slots)
                rows.append((len(texts) - 1, *sources, *functions))
    table = np.array(rows)
    cells, sources, functions = table[:, 0], table[:, 1:7], table[:, 7:]
    matrices = np.random.default_rng(1).standard_normal((1 + 2 * len(slots), WIDTH, WIDTH))
    nodes = np.zeros((5, len(table), WIDTH))
    nodes[:2] = np.random.default_rng(2).standard_normal((2, 1, WIDTH))
    every = np.arange(len(table))
    for slot, (node, _) in enumerate(slots):
        read = nodes[sources[:, slot], every]
        made = np.tanh(np.einsum("nij,nj->ni", matrices[functions[:, slot]], read))
        nodes[node] += np.where(functions[:, slot, None] > 0, made, read)
    score = np.sin(nodes[2:] @ np.array([1, np.sqrt(2), np.pi])).sum(axis=0)
    least = np.minimum.reduceat(score, np.flatnonzero(np.diff(cells, prepend=-1)))
    order = np.argsort(least)
    classes = np.empty(len(texts), dtype=int)
    classes[order] = np.cumsum(np.diff(least[order], prepend=-np.inf) > EQUAL)
    assert len(set(texts)) == len(set(classes)) == len(set(zip(texts, classes, strict=True)))
    assert len(set(texts)) < len(texts) == 18 * 3**6


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_larger_cells_whichever_way_they_are_written(data):
    """Edges in another order, inner nodes under other numbers, several edges between two nodes."""
    pairs = [(source, target) for target in range(1, 6) for source in range(target)]
    operators = st.sampled_from(["a", "b", "same", "zero"])
    drawn = data.draw(st.lists(st.tuples(st.sampled_from(pairs), operators), min_size=2, max_size=9))
    drawn.append(((data.draw(st.integers(0, 4)), 5), data.draw(operators)))
    edges = [(source, target, name) for (source, target), name in drawn]
    wanted, order = data.draw(st.permutations(range(1, 5))), [0]
    before = {node: {source for source, target, _ in edges if target == node} for node in wanted}
    while len(order) < 5:
        order.append(next(node for node in wanted if node not in order and before[node] <= set(order)))
    names = {node: number for number, node in enumerate([*order, 5])}
    other = [
        (names[source], names[target], name) for source, target, name in data.draw(st.permutations(edges))
    ]
    one, two = (Cell(written, identity="same", nothing="zero") for written in (edges, other))
    assert one.text == two.text
    assert one.graph().operators == two.graph().operators
