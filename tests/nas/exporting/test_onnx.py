import pytest
import torch

from nas.exporting import export, verify
from nas.exporting.onnx import to_onnx
from nas.types import InvalidInput
from spaces.blocks.base import Block, linear
from spaces.blocks.memory import ProductKeyMemory
from spaces.blocks.moe import MoE
from tests.nas.exporting.genomes import FEW, MIXERS, RANDOM, SMALL, built, known, one


@pytest.mark.parametrize(
    "make",
    [
        lambda: MoE(16, experts=8, top_k=2, mult=1),
        lambda: MoE(16, experts=4, top_k=1, mult=2),
        lambda: ProductKeyMemory(16, keys=16, heads=2, top_k=4),
    ],
    ids=["moe", "moe-top-1", "product-key-memory"],
)
def test_the_form_for_export_computes_what_the_normal_form_does(make):
    torch.manual_seed(0)
    block = make().double().eval()
    x = torch.randn(2, 33, 16, dtype=torch.float64)
    program = torch.export.export(block, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=False)
    for batch in (1, 2, 5):
        x = torch.randn(batch, 33, 16, dtype=torch.float64)
        torch.testing.assert_close(program.module()(x)[0], block(x)[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("mixer", MIXERS)
def test_every_block_runs_in_onnx_runtime(mixer, tmp_path):
    genome = one(mixer)
    files, single, whole = export(SMALL, genome, built(SMALL, genome), "onnx", tmp_path)
    assert files.passed
    assert single.difference <= 1e-4
    assert whole.difference <= 1e-4


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

    def forward(self, x_BLD, state=None):
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
