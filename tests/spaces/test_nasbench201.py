import pyarrow.parquet
import pytest
import torch
from torch.nn import functional

import spaces
from spaces.catalog.nasbench201 import CELLS, CHANNELS, EDGES
from tests.spaces.helpers import check_cost, draws, refusal

SPACE = spaces.load("nasbench201")
RESNET = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"
CUT = "|avg_pool_3x3~0|+|none~0|none~1|+|none~0|none~1|nor_conv_1x1~2|"


def test_every_cell_has_a_text_and_a_number():
    texts = set()
    for rank in range(SPACE.size):
        genome = SPACE.unrank(rank)
        parsed = SPACE.parse(genome.text)
        assert parsed == genome
        assert SPACE.rank(parsed) == rank
        texts.add(genome.text)
    assert len(texts) == SPACE.size == 15_625


def test_official_texts():
    genome = SPACE.parse(RESNET)
    assert genome.text == RESNET
    assert SPACE.values(genome) == {
        "edge_0to1": "nor_conv_3x3",
        "edge_0to2": "none",
        "edge_1to2": "nor_conv_3x3",
        "edge_0to3": "skip_connect",
        "edge_1to3": "none",
        "edge_2to3": "skip_connect",
    }
    assert SPACE.genome(**SPACE.values(genome)) == genome
    assert SPACE.unrank(0).text == "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
    assert SPACE.values(SPACE.unrank(1))["edge_2to3"] == "skip_connect"
    assert genome.outline == RESNET


def test_known_cells():
    assert SPACE.named == ("resnet",)
    assert SPACE.architecture("resnet").text == RESNET
    assert refusal(SPACE.architecture, "resnets") == (
        "space 'nasbench201' has no architecture 'resnets', did you mean 'resnet'? allowed: resnet"
    )


ALLOWED = "none, skip_connect, nor_conv_1x1, nor_conv_3x3, avg_pool_3x3"


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "'' is no cell: expected |a~0|+|b~0|c~1|+|d~0|e~1|f~2| with six operators"),
        (
            "|none~0|+|none~0|none~1|",
            "'|none~0|+|none~0|none~1|' is no cell: expected |a~0|+|b~0|c~1|+|d~0|e~1|f~2| with six operators",
        ),
        (
            "|none~0|none~1|+|none~0|none~1|+|none~0|none~1|none~2|",
            "'|none~0|none~1|+|none~0|none~1|+|none~0|none~1|none~2|' is no cell: expected "
            "|a~0|+|b~0|c~1|+|d~0|e~1|f~2| with six operators",
        ),
        (
            RESNET + "+|none~0|",
            "'|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|non...' is no cell: expected "
            "|a~0|+|b~0|c~1|+|d~0|e~1|f~2| with six operators",
        ),
        (
            RESNET.replace("nor_conv_3x3~1", "nor_conv_3x3~0"),
            "node 2: 'nor_conv_3x3~0' should end in '~1', the node it comes from",
        ),
        (RESNET.replace("none~1", "none"), "node 3: 'none' should end in '~1', the node it comes from"),
        (
            RESNET.replace("skip_connect~2", "skip_conect~2"),
            f"edge 2 to 3: unknown operator 'skip_conect', did you mean 'skip_connect'? allowed: {ALLOWED}",
        ),
        (RESNET.replace("none~0", "zero~0"), f"edge 0 to 2: unknown operator 'zero'; allowed: {ALLOWED}"),
    ],
)
def test_texts_that_are_no_cells(text, message):
    assert refusal(SPACE.parse, text) == message


def test_fields_that_are_not_those_of_a_cell():
    values = SPACE.values(SPACE.parse(RESNET))
    fields = ", ".join(values)
    assert refusal(SPACE.genome, **values, edge_0to4="none") == (
        f"'nasbench201' has no field 'edge_0to4', did you mean 'edge_0to3'? allowed: {fields}"
    )
    assert refusal(SPACE.genome, **{**values, "edge_1to3": "nor_conv_3"}) == (
        f"edge_1to3: nor_conv_3 is not allowed, did you mean 'nor_conv_3x3'? allowed: {ALLOWED}"
    )
    del values["edge_0to1"]
    assert refusal(SPACE.genome, **values) == "'nasbench201' lacks its field 'edge_0to1'"


def test_other_inputs_and_outputs():
    assert spaces.load("nasbench201").io == spaces.image(channels=3, height=32, width=32, classes=10)
    assert SPACE.at(spaces.image(1, 9, 8, classes=3)).io == spaces.image(1, 9, 8, classes=3)
    assert refusal(spaces.load, "nasbench201", spaces.vector(4)) == (
        "space 'nasbench201' reads images, but it was given VectorIO(features=4, outputs=1)"
    )


def test_fields_and_operators():
    assert list(SPACE.fields) == [f"edge_{source}to{target}" for source, target in EDGES]
    assert SPACE.operators == {"nor_conv_1x1": {}, "nor_conv_3x3": {}, "avg_pool_3x3": {}}


@pytest.mark.parametrize(
    "io", [spaces.image(), spaces.image(1, 9, 7, classes=3), spaces.image(2, 1, 13, classes=5)]
)
def test_cost_is_that_of_the_network_as_built(io):
    space = SPACE.at(io)
    for genome in [space.parse(RESNET), space.parse(CUT), *draws(SPACE, 3)]:
        check_cost(space, genome, torch.zeros(1, io.channels, io.height, io.width), io.classes)


def test_networks_of_equal_cells_differ_in_their_dead_edges_alone():
    dead = "|none~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|none~2|"
    straight = dead.replace("nor_conv_1x1", "none")
    a, b = SPACE.parse(dead), SPACE.parse(straight)
    assert a.digest == b.digest
    more = sum(CELLS * (channels**2 + 2 * channels) for channels in CHANNELS)
    assert SPACE.cost(a).parameters == SPACE.cost(b).parameters + more


@pytest.mark.parametrize("training", [True, False])
def test_forward_is_that_of_a_naive_network(training):
    io = spaces.image(2, 9, 6, classes=3)
    space = SPACE.at(io)
    for genome in [space.parse(CUT), *draws(SPACE, 4, seed=1)]:
        torch.manual_seed(0)
        model = space.build(genome).double().train(training)
        for key, tensor in model.state_dict().items():
            if tensor.is_floating_point() and tensor.dim() == 1:  # else norms scale by 1 and add 0
                tensor.copy_(torch.rand_like(tensor) + ("var" in key))
        x_NCHW = torch.randn(3, io.channels, io.height, io.width, dtype=torch.float64)
        expected = naive(model.state_dict(), space.values(genome).values(), x_NCHW, training)
        torch.testing.assert_close(model(x_NCHW), expected)


def naive(state, operators, x_NCHW, training):
    """The network of the paper, step by step, with the tensors of a model in the order of its steps."""
    tensors = iter(
        [tensor.clone() for key, tensor in state.items() if not key.endswith("num_batches_tracked")]
    )

    def conv(x_NCHW, stride=1):
        weight = next(tensors)
        return functional.conv2d(x_NCHW, weight, stride=stride, padding=weight.shape[-1] // 2)

    def norm(x_NCHW):
        scale, shift, mean, variance = (next(tensors)[:, None, None] for _ in range(4))
        if training:
            mean = x_NCHW.mean(dim=(0, 2, 3), keepdim=True)
            variance = (x_NCHW - mean).square().mean(dim=(0, 2, 3), keepdim=True)
        return (x_NCHW - mean) / (variance + 1e-5).sqrt() * scale + shift

    def pool(x_NCHW, before, after, stride):
        """The mean of the pixels of each window that lie inside the image."""
        height, width = x_NCHW.shape[2:]
        rows = [slice(max(0, i - before), i + after + 1) for i in range(0, height, stride)]
        columns = [slice(max(0, j - before), j + after + 1) for j in range(0, width, stride)]
        means = [[x_NCHW[:, :, i, j].mean(dim=(2, 3)) for j in columns] for i in rows]
        return torch.stack([torch.stack(line, dim=-1) for line in means], dim=-2)

    def cell(x_NCHW):
        sums = [x_NCHW] + [torch.zeros_like(x_NCHW)] * 3
        for (source, target), name in zip(EDGES, operators, strict=True):
            x_NCHW = sums[source]
            if name == "avg_pool_3x3":
                sums[target] = sums[target] + pool(x_NCHW, 1, 1, stride=1)
            elif name == "skip_connect":
                sums[target] = sums[target] + x_NCHW
            elif name != "none":
                sums[target] = sums[target] + norm(conv(x_NCHW.relu()))
        return sums[3]

    x_NCHW = norm(conv(x_NCHW))
    for stage in range(3):
        if stage:
            body = norm(conv(norm(conv(x_NCHW.relu(), stride=2)).relu()))
            x_NCHW = conv(pool(x_NCHW, 0, 1, stride=2)) + body
        for _ in range(5):
            x_NCHW = cell(x_NCHW)
    features = norm(x_NCHW).relu().mean(dim=(2, 3))
    logits = features @ next(tensors).T + next(tensors)
    assert next(tensors, None) is None
    return logits


@pytest.mark.parametrize("data, classes", [("c10", 10), ("c100", 100)])
def test_parameters_are_the_published_ones(shared_data, data, classes):
    """All but those of 204 cells, published as means over runs one of which counted a convolution more or less."""
    columns = ["arch_str", f"{data}_params_m", f"{data}_n_seeds"]
    table = pyarrow.parquet.read_table(shared_data("nb201_cifar.parquet"), columns=columns)
    space = SPACE.at(spaces.image(classes=classes))
    convs = [sum(CELLS * (taps * width**2 + 2 * width) for width in CHANNELS) for taps in (1, 9)]
    exact = 0
    for text, millions, runs in zip(*table.to_pydict().values(), strict=True):
        off = abs(space.cost(space.parse(text)).parameters - 1e6 * millions)
        exact += off < 0.5
        assert off < 0.5 or any(abs(runs * off - k * conv) < 2 for conv in convs for k in (1, 2)), text
    assert table.num_rows == space.size
    assert exact >= 0.98 * space.size


def test_unique_strings():
    space = spaces.load("nasbench201")
    strings = {space.unrank(rank).text: space.unique_string(space.unrank(rank)) for rank in range(space.size)}
    assert len(set(strings.values())) == 6466
    resnet = space.architecture("resnet")
    assert strings[resnet.text] == "#+#+((0)@nor_conv_3x3)@nor_conv_3x3+0"


def test_unique_strings_are_the_published_ones(shared_data):
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(shared_data("nb201_cifar.parquet"), columns=["arch_str", "unique_str"])
    space = spaces.load("nasbench201")
    for text, unique in zip(*(column.to_pylist() for column in table.columns), strict=True):
        assert space.unique_string(space.parse(text)) == unique
