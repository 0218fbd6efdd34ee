import copy
import itertools
import math

import numpy as np
import pytest
import torch
from torch.nn import functional

import predictors
import spaces
from spaces.catalog.darts import CELLS, NAMED, NODES, OPERATORS
from tests.spaces.helpers import check_cost, draws, refusal

SPACE = spaces.load("darts")
V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('skip_connect', 0), ('sep_conv_3x3', 1), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=range(2, 6), "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('max_pool_3x3', 1), ('skip_connect', 2)], reduce_concat=range(2, 6))"
)


def edges_of(genome):
    """The operators of both cells as published, two for each node."""
    genotype = eval(genome.text, {"Genotype": dict, "range": range})
    assert [*genotype["normal_concat"]] == [*genotype["reduce_concat"]] == [2, 3, 4, 5]
    return {cell: genotype[cell] for cell in CELLS}


def write(edges):
    return f"Genotype(normal={edges['normal']}, normal_concat=[2, 3, 4, 5], reduce={edges['reduce']}, reduce_concat=range(2, 6))"


def relabelled(edges, order):
    """The edges of a cell with its nodes in another order."""
    names = {0: 0, 1: 1, **{node: 2 + place for place, node in enumerate(order)}}
    pairs = [edges[2 * node - 4 : 2 * node - 2] for node in order]
    return [(name, names[source]) for pair in pairs for name, source in reversed(pair)]


def orders(edges):
    """All orders of the nodes in which each stands after those that it reads."""
    for order in itertools.permutations(NODES):
        place = {0: -1, 1: -1, **{node: place for place, node in enumerate(order)}}
        if all(place[edges[2 * node - 4 + k][1]] < place[node] for node in NODES for k in (0, 1)):
            yield order


def test_published_genotypes():
    assert SPACE.named == ("DARTS_V1", "DARTS_V2")
    genome = SPACE.architecture("DARTS_V2")
    assert genome.text == V2
    assert SPACE.parse(V2) == genome
    assert SPACE.genome(**SPACE.values(genome)) == genome
    assert {key: value for key, value in SPACE.values(genome).items() if key.startswith("normal_4")} == {
        "normal_4_inputs": "0,1",
        "normal_4_first": "skip_connect",
        "normal_4_second": "sep_conv_3x3",
    }
    loose = (
        V2.replace("'", '"').replace("=", " = ").replace("range(2, 6)", "[2,3,4,5,]").replace(")]", "),\n]")
    )
    assert SPACE.parse(f"  {loose[:-1]},)\n") == genome
    for name, text in NAMED.items():
        published = eval(text, {"Genotype": dict})
        for cell, edges in edges_of(SPACE.architecture(name)).items():
            pairs = [sorted(published[cell][k : k + 2], key=lambda edge: edge[1]) for k in range(0, 8, 2)]
            assert edges == [edge for pair in pairs for edge in pair]
    assert refusal(SPACE.architecture, "darts_v") == (
        "space 'darts' has no architecture 'darts_v', did you mean 'DARTS_V2'? allowed: DARTS_V1, DARTS_V2"
    )


ALLOWED = ", ".join(OPERATORS)
EXPECTED = (
    "is no genotype: expected Genotype(normal=[('operator', input), ...], normal_concat=range(2, 6), reduce=[...], "
    "reduce_concat=range(2, 6))"
)


@pytest.mark.parametrize(
    "old, new, message",
    [
        (V2, "", f"'' {EXPECTED}"),
        ("Genotype", "genotype", f"{('genotype' + V2[8:60] + '...')!r} {EXPECTED}"),
        ("normal_concat=range(2, 6)", "normal_concat=range(3, 6)", f"{(V2[:60] + '...')!r} {EXPECTED}"),
        ("('skip_connect', 0), ", "", "the normal cell has 6 operators, but must have 8"),
        (
            "('sep_conv_3x3', 0)",
            "('sep_conv_7x7', 0)",
            f"normal_2_first: sep_conv_7x7 is not allowed, did you mean 'sep_conv_5x5'? allowed: {ALLOWED}",
        ),
        (
            "('dil_conv_3x3', 2)",
            "('dil_conv_3x3', 5)",
            'normal_5_inputs: "0,5" is not allowed, did you mean \'"0,4"\'? allowed: "0,1", "0,2", "0,3", "0,4", '
            '"1,2", "1,3", "1,4", "2,3", "2,4", "3,4"',
        ),
        (
            "('max_pool_3x3', 1)",
            "('max_pool_3x3', 0)",
            'reduce_2_inputs: "0,0" is not allowed, did you mean \'"0,1"\'? allowed: "0,1"',
        ),
    ],
)
def test_texts_that_are_no_genotypes(old, new, message):
    assert refusal(SPACE.parse, V2.replace(old, new)) == message


def test_other_inputs_and_options():
    space = spaces.load("darts", spaces.image(1, 9, 8, classes=3), channels=4, layers=5).at(spaces.image())
    assert (space.io, space.channels, space.layers) == (spaces.image(), 4, 5)
    assert refusal(spaces.load, "darts", spaces.vector(4)) == (
        "space 'darts' reads images, but it was given VectorIO(features=4, outputs=1)"
    )
    assert refusal(spaces.load, "darts", layers=2) == (
        "space 'darts': layers = 2, but it must be an integer of at least 3"
    )
    assert refusal(spaces.load, "darts", channels=True) == (
        "space 'darts': channels = True, but it must be an integer of at least 1"
    )
    assert "has no limit 'layer', did you mean 'layers'?" in refusal(spaces.load, "darts", layer=5)


def test_there_are_as_many_cells_as_published():
    """About 10^9 for each of the two, and 10^18 in all."""
    cells = math.prod(math.comb(node, 2) for node in NODES) * len(OPERATORS) ** 8
    assert cells == 1_037_664_180
    assert SPACE.size == cells**2


def test_the_order_of_nodes_does_not_count():
    rng = np.random.default_rng(0)
    moved = 0
    for genome in draws(SPACE, 200):
        edges = edges_of(genome)
        other = {}
        for cell in CELLS:
            allowed = [*orders(edges[cell])]
            other[cell] = relabelled(edges[cell], allowed[rng.integers(len(allowed))])
        twin = SPACE.parse(write(other))
        moved += twin != genome
        assert twin.digest == genome.digest
        one, two = SPACE.graph(genome), SPACE.graph(twin)
        assert one.operators == two.operators
        assert (one.sources.tolist(), one.targets.tolist()) == (two.sources.tolist(), two.targets.tolist())
        assert SPACE.cost(twin) == SPACE.cost(genome)
    assert moved > 100


def test_skips_are_operators_where_they_halve():
    normal, reduce = SPACE.canonical(SPACE.code(V2)).split(" / ")
    assert normal == (
        "sep_conv_3x3(0) sep_conv_3x3(0) sep_conv_3x3(1) sep_conv_3x3(1) sep_conv_3x3(1) dil_conv_3x3(2,4) "
        "=0,5|0,7|2,4|3,6"
    )
    assert "factorized_reduce" not in reduce
    halving = V2.replace("reduce=[('max_pool_3x3', 0)", "reduce=[('skip_connect', 0)")
    assert "factorized_reduce(0)" in SPACE.canonical(SPACE.code(halving))


def test_skips_are_spliced():
    """Node 5 adds node 4 and input 1, or nodes 2 and 3: the same sum, as node 3 is that of the inputs."""
    cell = "('dil_conv_5x5', 0), ('avg_pool_3x3', 1), ('skip_connect', 0), ('skip_connect', 1), ('skip_connect', 0), ('skip_connect', 2), "
    one = cell + "('skip_connect', 1), ('skip_connect', 4)"
    two = cell + "('skip_connect', 2), ('skip_connect', 3)"
    form = "Genotype(normal=[{}], normal_concat=range(2, 6), reduce=[{}], reduce_concat=range(2, 6))"
    assert SPACE.parse(form.format(one, one)).digest != SPACE.parse(form.format(one, two)).digest
    assert SPACE.parse(form.format(one, one)).digest == SPACE.parse(form.format(two, one)).digest


def test_the_graph_is_a_normal_and_a_reduction_cell():
    graph = SPACE.graph(SPACE.parse(V2))
    known = {"input", "output", "concat", "add", *SPACE.operators}
    assert set(graph.operators) <= known
    assert graph.operators[:3] == ("input", "normal_input_0", "normal_input_1")
    assert [graph.operators.count(name) for name in ("normal_sep_conv_3x3", "reduce_max_pool_3x3")] == [5, 5]
    first, second = (place for place, name in enumerate(graph.operators) if name == "concat")
    edges = list(zip(graph.sources.tolist(), graph.targets.tolist(), strict=True))
    assert [target for _, target in edges].count(first) == [target for _, target in edges].count(second) == 4
    assert [graph.operators[target] for source, target in edges if source == first] == [
        "reduce_input_0",
        "reduce_input_1",
    ]
    assert edges[-1] == (second, len(graph.operators) - 1)


@pytest.mark.parametrize("name", ["darts", "sharpdarts"])
@pytest.mark.parametrize(
    "io, channels, layers",
    [
        (spaces.image(), 3, 8),
        (spaces.image(1, 9, 7, classes=3), 4, 3),
        (spaces.image(2, 1, 13, classes=5), 1, 4),
    ],
)
def test_cost_is_that_of_the_network_as_built(io, channels, layers, name):
    space = spaces.load(name, io, channels=channels, layers=layers)
    for genome in [space.architecture("DARTS_V2"), *draws(space, 3)]:
        check_cost(space, genome, torch.zeros(2, io.channels, io.height, io.width), io.classes)


def test_parameters_are_the_published_ones():
    """3.3 M in table 1 of the paper; the authors' code prints 3.349342 M, and others report 528 M multiply-adds."""
    space = spaces.load("darts", channels=36, layers=20)
    cost = space.cost(space.architecture("DARTS_V2"))
    assert cost.parameters == 3_349_342
    assert cost.flops_per_token / 2e6 == pytest.approx(528, abs=0.5)


def test_sharp_blocks():
    """The authors' log of DARTS_V2 with sharp blocks, 36 channels and 20 layers, says 3.529270 M parameters."""
    space = spaces.load("sharpdarts", channels=36, layers=20)
    assert space.named == ("DARTS_V2", "SHARP_DARTS")
    assert space.cost(space.architecture("DARTS_V2")).parameters == 3_529_270
    assert space.size == (1 * 3 * 6 * 10 * 8**8) ** 2
    wide = spaces.load("sharpdarts", channels=8, layers=3)
    texts = [V2.replace("('sep_conv_3x3', 0)", f"('{name}_3x3', 0)") for name in ("flood_conv", "choke_conv")]
    channels = [
        {
            module.out_channels
            for module in wide.build(wide.parse(text)).cells[0].modules()
            if hasattr(module, "groups")
        }
        for text in texts
    ]
    assert channels == [{8, 32}, {8, 32}]
    assert refusal(space.parse, V2.replace("sep_conv_3x3", "sep_conv_5x5")).startswith(
        "normal_2_first: sep_conv_5x5 is not allowed, did you mean 'sep_conv_3x3'? allowed: max_pool_3x3, skip_connect"
    )
    assert refusal(spaces.load, "sharpdarts", layers=2) == (
        "space 'sharpdarts': layers = 2, but it must be an integer of at least 3"
    )


def perturbed(model):
    """The model with norms that do not merely scale by 1 and add 0, in double precision."""
    for key, tensor in model.double().state_dict().items():
        if tensor.is_floating_point() and tensor.dim() == 1:
            tensor.copy_(torch.rand_like(tensor) + ("var" in key))
    return model


def test_networks_of_equal_cells_are_equal_up_to_the_order_of_channels():
    space = spaces.load("darts", spaces.image(2, 9, 6, classes=3), channels=3, layers=6)
    kinds = ["normal", "normal", "reduce", "normal", "reduce", "normal"]
    torch.manual_seed(0)
    moved = 0
    for genome in draws(space, 8, seed=3):
        edges = edges_of(genome)
        order = {cell: [*orders(edges[cell])][-1] for cell in CELLS}
        moved += all(order[cell] != NODES for cell in CELLS)
        twin = space.parse(write({cell: relabelled(edges[cell], order[cell]) for cell in CELLS}))
        model, other = perturbed(space.build(genome)).eval(), space.build(twin).double().eval()

        def reorder(weight, kind):
            """The inputs of a layer in the order in which the other network concatenates them."""
            blocks = weight.data.chunk(len(NODES), dim=1)
            weight.data = torch.cat([blocks[NODES.index(node)] for node in order[kind]], dim=1)  # noqa: B023

        for layer, kind in enumerate(kinds):
            mine, theirs = model.cells[layer], other.cells[layer]
            names = [0, 1, *(2 + order[kind].index(node) for node in NODES)]
            goals = [(2 + place // 2, source) for place, (_, source) in enumerate(edges_of(twin)[kind])]
            for place, (_, source) in enumerate(edges[kind]):
                goal = goals.index((names[2 + place // 2], names[source]))
                theirs.operators[goal] = mine.operators[place]
            theirs.inputs = copy.deepcopy(mine.inputs)
            for k, read in enumerate([None, None, *kinds][layer : layer + 2]):
                for weight in theirs.inputs[k].parameters():
                    if read is not None and weight.dim() == 4:  # the stem's channels stay where they are
                        reorder(weight, read)
        other.stem, other.head = model.stem, copy.deepcopy(model.head)
        reorder(other.head.weight, kinds[-1])
        x_NCHW = torch.randn(2, 2, 9, 6, dtype=torch.float64)
        torch.testing.assert_close(model(x_NCHW), other(x_NCHW))
    assert moved


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["darts", "sharpdarts"])
def test_forward_is_that_of_a_naive_network(name, training):
    space = spaces.load(name, spaces.image(2, 11, 6, classes=3), channels=3, layers=4)
    for genome in draws(space, 3, seed=1):
        torch.manual_seed(0)
        model = perturbed(space.build(genome)).train(training)
        x_NCHW = torch.randn(3, 2, 11, 6, dtype=torch.float64)
        expected = naive(model.state_dict(), edges_of(genome), x_NCHW, training)
        torch.testing.assert_close(model(x_NCHW), expected)


def naive(state, edges, x_NCHW, training):
    """The network of the paper of four cells, with the tensors of a model, by the names of its parts."""

    def conv(x_NCHW, key, **options):
        return functional.conv2d(x_NCHW, state[f"{key}.weight"], **options)

    def norm(x_NCHW, key):
        scale, shift = (state[f"{key}.{name}"][:, None, None] for name in ("weight", "bias"))
        if training:
            mean = x_NCHW.mean(dim=(0, 2, 3), keepdim=True)
            variance = (x_NCHW - mean).square().mean(dim=(0, 2, 3), keepdim=True)
        else:
            mean, variance = (state[f"{key}.running_{name}"][:, None, None] for name in ("mean", "var"))
        return (x_NCHW - mean) / (variance + 1e-5).sqrt() * scale + shift

    def factorized(x_NCHW, key):
        x_NCHW = x_NCHW.relu()
        height, width = (-(-size // 2) for size in x_NCHW.shape[2:])
        odd = torch.zeros(*x_NCHW.shape[:2], height, width, dtype=x_NCHW.dtype)
        part = x_NCHW[:, :, 1::2, 1::2]
        odd[:, :, : part.shape[2], : part.shape[3]] = part
        halves = [conv(x_NCHW[:, :, ::2, ::2], f"{key}.even"), conv(odd, f"{key}.odd")]
        return norm(torch.cat(halves, dim=1), f"{key}.norm")

    def separable(x_NCHW, key, stride, dilation):
        channels, padding = x_NCHW.shape[1], state[f"{key}.1.weight"].shape[-1] // 2 * dilation
        x_NCHW = conv(
            x_NCHW.relu(), f"{key}.1", stride=stride, padding=padding, dilation=dilation, groups=channels
        )
        return norm(conv(x_NCHW, f"{key}.2"), f"{key}.3")

    def pool(x_NCHW, stride, of):
        height, width = x_NCHW.shape[2:]
        rows = [slice(max(0, i - 1), i + 2) for i in range(0, height, stride)]
        columns = [slice(max(0, j - 1), j + 2) for j in range(0, width, stride)]
        pooled = [[of(x_NCHW[:, :, i, j].flatten(2)) for j in columns] for i in rows]
        return torch.stack([torch.stack(line, dim=-1) for line in pooled], dim=-2)

    def operator(name, x_NCHW, key, stride):
        if name == "skip_connect":
            return x_NCHW if stride == 1 else factorized(x_NCHW, key)
        if name == "max_pool_3x3":
            return pool(x_NCHW, stride, lambda x: x.amax(dim=-1))
        if name == "avg_pool_3x3":
            return pool(x_NCHW, stride, lambda x: x.mean(dim=-1))
        x_NCHW = separable(x_NCHW, f"{key}.0", stride, 2 if name.startswith("dil") else 1)
        return separable(x_NCHW, f"{key}.1", 1, 1) if f"{key}.1.1.weight" in state else x_NCHW

    before = last = norm(conv(x_NCHW, "stem.0", padding=1), "stem.1")
    for layer, kind in enumerate(["normal", "reduce", "reduce", "normal"]):
        key = f"cells.{layer}"
        if layer in (2, 3):
            first = factorized(before, f"{key}.inputs.0")
        else:
            first = norm(conv(before.relu(), f"{key}.inputs.0.1"), f"{key}.inputs.0.2")
        nodes = [first, norm(conv(last.relu(), f"{key}.inputs.1.1"), f"{key}.inputs.1.2")]
        for place in range(0, 8, 2):
            made = [
                operator(
                    name,
                    nodes[source],
                    f"{key}.operators.{place + k}",
                    2 if kind == "reduce" and source < 2 else 1,
                )
                for k, (name, source) in enumerate(edges[kind][place : place + 2])
            ]
            nodes.append(sum(made))
        before, last = last, torch.cat(nodes[2:], dim=1)
    return last.mean(dim=(2, 3)) @ state["head.weight"].T + state["head.bias"]


def test_a_predictor_learns_the_space():
    genomes = draws(SPACE, 60, seed=2)
    sizes = [SPACE.cost(genome).parameters for genome in genomes]
    predictor = predictors.load("trees", space=SPACE).fit(genomes[:30], sizes[:30])
    guessed = predictor.predict(genomes[30:]).mean
    assert np.corrcoef(guessed, sizes[30:])[0, 1] > 0.8
