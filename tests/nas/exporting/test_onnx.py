import pytest
import torch

import spaces
from nas.exporting import export, verify
from nas.exporting.onnx import to_onnx
from nas.types import InvalidInput
from spaces.blocks.base import Block, linear
from spaces.catalog.einspace_models import chain
from tests.nas.exporting.genomes import FEW, MIXERS, RANDOM, SMALL, built, known, one


@pytest.mark.parametrize("mixer", MIXERS)
def test_every_block_runs_in_onnx_runtime(mixer, tmp_path):
    genome = one(mixer)
    files, single, whole = export(SMALL, genome, built(SMALL, genome), "onnx", tmp_path)
    assert files.passed
    assert single.difference <= 1e-4
    assert whole.difference <= 1e-4


def test_blocks_over_images_run_in_onnx_runtime(tmp_path):
    space = spaces.load("vision", spaces.image(3, 12, 8, classes=5))
    layers = ["patches_2_32", "scan_columns_back", "fourier_4_2", "fourier_4_1", "einfft_4"]
    coarse = "routing(pre=unshuffle_2, inner=computation(op=swiglu_1), post=shuffle_2)"
    genome = space.parse(chain(*[f"computation(op={layer})" for layer in layers], coarse))
    for check in export(space, genome, built(space, genome), "onnx", tmp_path):
        assert check.passed, check


@pytest.mark.slow
@pytest.mark.parametrize("space, genome", known(FEW) + RANDOM)
def test_a_genome_runs_in_onnx_runtime(space, genome, tmp_path):
    checks = export(space, genome, built(space, genome), "onnx", tmp_path)
    assert all(check.passed for check in checks)


def test_a_tampered_graph_is_found(tmp_path):
    genome = one("swiglu")
    export(SMALL, genome, built(SMALL, genome), "onnx", tmp_path)
    graph = tmp_path / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1000])
    files, *logits = verify(tmp_path)
    assert files.error == "changed or missing since the export: model.onnx"
    assert not any(check.passed for check in logits)
    assert all(check.error for check in logits)


class DataDependent(Block):
    def __init__(self) -> None:
        super().__init__()
        self.inside = linear(32, 64)

    def forward(self, x_BLD, state=None, segments_BL=None):
        return self.inside(x_BLD[x_BLD > 0].sum().nonzero().tolist()[0][0] * x_BLD), state


def test_a_block_without_a_form_for_onnx_is_refused(tmp_path):
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.block = torch.nn.Embedding(64, 32), DataDependent()

        def forward(self, tokens):
            return self.block(self.embedding(tokens))[0]

    with pytest.raises(InvalidInput, match=r"cannot be exported to ONNX.*torch\.compiler\.is_exporting\(\)"):
        to_onnx(SMALL, one("swiglu"), Model(), tmp_path)


def test_a_network_for_one_batch_size_is_refused(tmp_path):
    class Fixed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(64, 64)

        def forward(self, tokens):
            return self.embedding(tokens) + torch.zeros(len(tokens), 1, 64)

    with pytest.raises(InvalidInput, match=r"fixes the batch at 2.*x\.shape\[0\], not len\(x\)"):
        to_onnx(SMALL, one("swiglu"), Fixed().eval(), tmp_path)
    assert list(tmp_path.iterdir()) == []
