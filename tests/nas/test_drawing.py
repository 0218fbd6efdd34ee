"""Drawings of genomes: their texts and arrows, as SVG tells them."""

import re

import numpy as np
import pytest

import spaces
from nas.cli import main
from nas.report.drawing import draw
from nas.types import InvalidInput
from spaces import choice

LAYERS = "residual(body=mlp(mult=2, activation=gelu)), residual(body=gated_conv(kernel=4))"


@pytest.fixture(autouse=True)
def texts_as_text(monkeypatch):
    import matplotlib

    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "none")


def texts(path):
    return [text.strip() for text in re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text())]


def test_repeats_are_folded_and_operators_named(tmp_path):
    space = spaces.load("hybrid")
    genome = space.parse(f"stack(layers=[{LAYERS}], repeat=3)")
    found = texts(draw(space, genome, tmp_path / "genome.svg"))
    assert sorted(found) == sorted(
        [
            "input",
            "output",
            "stack ×3",
            "mlp",
            "mult=2",
            "activation=gelu",
            "gated_conv",
            "kernel=4",
            "+",
            "+",
        ]
    )


def test_every_operator_of_a_random_genome_is_drawn(tmp_path):
    space = spaces.load("hybrid", nodes=40)
    rng = np.random.default_rng(0)
    for _ in range(8):
        genome = space.sample(rng)
        found = texts(draw(space, genome, tmp_path / "genome.svg"))
        for name in space.operators:
            assert found.count(name) == len(re.findall(rf"\b{name}\(", genome.text))


def test_cells_are_drawn_as_graphs(tmp_path):
    space = spaces.load("nasbench201")
    rng = np.random.default_rng(0)
    for genome in [space.architecture("resnet"), space.unrank(0), *(space.sample(rng) for _ in range(8))]:
        graph = space.graph(genome)
        path = draw(space, genome, tmp_path / "cell.svg")
        names = [text for text in texts(path) if not text.startswith("×")]
        assert sorted(names) == sorted(graph.operators)
        assert path.read_text().count('id="patch_') >= len(
            set(zip(graph.sources, graph.targets, strict=True))
        )


def test_shapes_that_flow_are_drawn_with_repeats_folded(tmp_path):
    space = spaces.load("einspace")
    found = texts(draw(space, space.architecture("vit"), tmp_path / "vit.svg"))
    assert found.count("×4") == found.count("×8 side by side") == 1
    assert found.count("softmax") == found.count("permute_21") == 1
    assert found.count("64 × 2048") == 2
    rng = np.random.default_rng(0)
    for _ in range(5):
        draw(space, space.sample(rng), tmp_path / "drawn.svg")


def test_convolutions_are_one_box(tmp_path):
    space = spaces.load("einspace")
    found = texts(draw(space, space.architecture("resnet18"), tmp_path / "resnet.svg"))
    assert found.count("conv_3_2_1") == found.count("conv_1_2_0") == 3
    assert not [text for text in found if "im2col" in text or "col2im" in text or "linear" in text]


def test_backbones_have_their_classes_by_name_and_equal_ones_folded(tmp_path):
    space = spaces.load("star", layers=6, levels="operators")
    genome = space.parse("11112-11112-11112-51211-51211-21111 | 2=12123")
    found = texts(draw(space, genome, tmp_path / "star.svg"))
    assert found == [
        *("input", "SA-1", "LIV 1", "+", "×2, LIVs 2 to 3", "SA-1", "features BV of LIV 1", "+"),
        *("Rec-1", "LIV 4", "+", "Rec-1", "LIV 5", "weights ABCTV of LIV 4", "+", "2=12123", "LIV 6", "+"),
        "output",
    ]


def test_equal_operators_in_a_row_are_folded(tmp_path):
    space = spaces.load("regnet")
    genome = space.parse("regnet(depth=13, w_0=24, w_a=32, w_m=2.5, group_width=8)")
    found = texts(draw(space, genome, tmp_path / "regnet.svg"))
    assert [text for text in found if not text.startswith("group_width")] == [
        *("input", "halving_block", "width=24", "halving_block", "width=64", "block", "width=64"),
        *("halving_block", "width=152", "×3", "block", "width=152"),
        *("halving_block", "width=376", "×5", "block", "width=376", "output"),
    ]


def test_hyperparameters_stand_below_the_network(tmp_path):
    space = spaces.joint(spaces.load("hybrid"), {"lr": choice(0.01)})
    found = texts(draw(space, space.architecture("mamba-2"), tmp_path / "joint.svg"))
    assert found[-3:] == ["output", "hyperparameters", "lr=0.01"]


def test_other_forms_and_spaces(tmp_path):
    space = spaces.ProductSpace("svm", {"kernel": choice("rbf", "linear")}, spaces.vector(2))
    assert draw(space, space.unrank(0), tmp_path / "svm.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(InvalidInput) as caught:
        draw(space, space.unrank(0), tmp_path / "svm.jpeg")
    assert str(caught.value) == "a drawing cannot be written as 'svm.jpeg': its name ends in .svg, .png, .pdf"


def test_the_command(tmp_path, capsys):
    path = tmp_path / "resnet.svg"
    assert main(["space", "draw", "nasbench201", "resnet", "--out", str(path)]) == 0
    assert capsys.readouterr().out == f"Drawn in {path}\n"
    assert "nor_conv_3x3" in texts(path)
    assert main(["space", "draw", "nasbench201", "resnet", "--out", str(tmp_path / "none" / "x.svg")]) == 2
    assert "x.svg cannot be written: " in capsys.readouterr().err
