import itertools

import numpy as np
import pyarrow.parquet
import pytest

import predictors
import spaces
from spaces.catalog.nasbench_graph import LINKS, OPERATORS
from tests.spaces.helpers import refusal

SPACE = spaces.load("nasbench_graph")
TEXT = 'nasbench_graph(links="0,0,1,2", op1=gcn, op2=gat, op3=skip, op4=fc)'


def genome(links, *operators):
    return SPACE.genome(
        links=links, **{f"op{number}": name for number, name in enumerate(operators, start=1)}
    )


@pytest.fixture(scope="module")
def digests():
    return [SPACE.unrank(rank).digest for rank in range(SPACE.size)]


def test_text_and_values():
    assert genome("0,0,1,2", "gcn", "gat", "skip", "fc").text == TEXT
    assert SPACE.parse(TEXT) == genome("0,0,1,2", "gcn", "gat", "skip", "fc")
    assert SPACE.size == len(LINKS) * len(OPERATORS) ** 4 == 59_049
    assert refusal(SPACE.parse, TEXT.replace("0,0,1,2", "0,1,2,1")) == (
        'links: "0,1,2,1" is not allowed, did you mean \'"0,1,2,3"\'? allowed: '
        + ", ".join(f'"{links}"' for links in LINKS)
    )
    assert refusal(spaces.load, "nasbench_graph", spaces.image()) == (
        "space 'nasbench_graph' reads the nodes of a graph, but it was given "
        "ImageIO(channels=3, height=32, width=32, classes=10)"
    )
    assert SPACE.at(spaces.nodes(500, 3)).io == spaces.nodes(500, 3)


def test_the_links_are_all_trees_of_four_operators():
    def shape(links, node=0):
        return tuple(sorted(shape(links, child) for child, read in enumerate(links, start=1) if read == node))

    listed = [shape([int(number) for number in links.split(",")]) for links in LINKS]
    every = {shape(links) for links in itertools.product(range(1), range(2), range(3), range(4))}
    assert len(set(listed)) == len(listed) == len(every)
    assert set(listed) == every


def test_there_are_as_many_architectures_as_published(digests):
    skips = genome("0,0,0,0", *["skip"] * 4).digest
    assert {digests[SPACE.rank(genome(links, *["skip"] * 4))] for links in LINKS} == {skips}
    assert len(set(digests) - {skips}) == 26_206
    assert digests.count(skips) == len(LINKS)


def test_digests_are_the_architectures_of_the_benchmark(digests, shared_data):
    """Its table has one genome of each, but for that of skips alone."""
    rows = pyarrow.parquet.read_table(
        shared_data("nasbench_graph.parquet"), filters=[("dataset", "=", "cora")]
    )
    columns = [rows[name].cast("string").to_pylist() for name in ("links", "op1", "op2", "op3", "op4")]
    measured = [digests[SPACE.rank(genome(*row))] for row in zip(*columns, strict=True)]
    assert len(set(measured)) == len(measured) == 26_206
    assert set(digests) - set(measured) == {genome("0,0,0,0", *["skip"] * 4).digest}


@pytest.mark.parametrize(
    "one, two",
    [
        (("0,0,1,2", "gcn", "gat", "fc", "gin"), ("0,0,1,2", "gat", "gcn", "gin", "fc")),
        (("0,1,2,3", "skip", "gcn", "skip", "gat"), ("0,1,2,3", "gcn", "gat", "skip", "skip")),
        (("0,1,1,2", "gcn", "skip", "gat", "fc"), ("0,1,2,2", "skip", "gcn", "gat", "fc")),
        (("0,0,1,1", "skip", "skip", "gcn", "fc"), ("0,1,2,2", "skip", "skip", "gcn", "fc")),
    ],
)
def test_equal_architectures(one, two):
    a, b = genome(*one), genome(*two)
    assert a.digest == b.digest
    assert SPACE.graph(a).operators == SPACE.graph(b).operators
    assert SPACE.graph(a).sources.tolist() == SPACE.graph(b).sources.tolist()
    assert SPACE.graph(a).targets.tolist() == SPACE.graph(b).targets.tolist()


def test_graphs_leave_from_what_nothing_reads():
    graph = SPACE.graph(SPACE.parse(TEXT))
    assert graph.operators == ("input", "gat", "gcn", "fc", "output")
    edges = sorted(zip(graph.sources.tolist(), graph.targets.tolist(), strict=True))
    assert edges == [(0, 1), (0, 2), (1, 3), (2, 4), (3, 4)]
    assert set(SPACE.operators) == set(OPERATORS) - {"skip"}
    empty = SPACE.graph(genome("0,1,2,3", *["skip"] * 4))
    assert (empty.operators, empty.sources.tolist()) == (("input", "output"), [])


def test_graphs_are_those_of_the_digests(digests):
    graphs = {}
    for rank in range(0, SPACE.size, 13):
        graph = SPACE.graph(SPACE.unrank(rank))
        whole = graph.operators, tuple(graph.sources.tolist()), tuple(graph.targets.tolist())
        assert graphs.setdefault(digests[rank], whole) == whole
    assert len(set(graphs.values())) == len(graphs)


def test_what_it_does_not_say():
    assert (
        refusal(SPACE.cost, SPACE.parse(TEXT)) == "space 'nasbench_graph' does not say what its genomes cost"
    )
    assert refusal(SPACE.build, SPACE.parse(TEXT)) == (
        "space 'nasbench_graph' does not say how its genomes are built"
    )


def test_a_predictor_learns_the_table(shared_data):
    rows = pyarrow.parquet.read_table(
        shared_data("nasbench_graph.parquet"), filters=[("dataset", "=", "cora")]
    )
    some = rows.take(np.random.default_rng(0).permutation(rows.num_rows)[:130])
    columns = [some[name].cast("string").to_pylist() for name in ("links", "op1", "op2", "op3", "op4")]
    genomes = [genome(*row) for row in zip(*columns, strict=True)]
    losses = -some["valid_perf"].to_numpy()
    predictor = predictors.load("trees", space=SPACE).fit(genomes[:30], losses[:30])
    guessed = predictor.predict(genomes[30:]).mean
    assert np.corrcoef(guessed, losses[30:])[0, 1] > 0.2
