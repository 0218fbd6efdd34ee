import importlib.util
import json

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

import spaces
from nas.exporting import Check, ExportFailed, export, verify
from nas.exporting.folder import write_reference
from nas.types import InvalidInput
from tests.nas.exporting.genomes import SMALL, built, one

GENOME = one("swiglu")


def model():
    return built(SMALL, GENOME)


def test_the_folder_says_what_it_holds(tmp_path):
    out = tmp_path / "some/where"
    export(SMALL, GENOME, model(), "source", out, {"valid_bpb": 2.5})
    files = {"config.json", "model.py", "model.safetensors", "reference.safetensors"}
    assert {path.name for path in out.iterdir()} == files
    assert [path.name for path in out.parent.iterdir()] == ["where"]
    config = json.loads((out / "config.json").read_text())
    assert config["form"] == "source"
    assert SMALL.parse(config["architecture"]) == GENOME
    assert config["digest"] == GENOME.digest
    assert config["io"] == {"vocab": 64, "width": 32}
    assert config["metrics"] == {"valid_bpb": 2.5}
    assert config["files"].keys() == files - {"config.json"}
    assert all(check.passed for check in verify(out))


def test_the_model_is_left_as_it_was(tmp_path):
    original = model().double().train()
    before = {name: weight.clone() for name, weight in original.state_dict().items()}
    state = torch.random.get_rng_state()
    export(SMALL, GENOME, original, "source", tmp_path)
    assert original.training
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, weight in original.state_dict().items():
        assert torch.equal(weight, before[name])


def test_an_unknown_form_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(InvalidInput, match="unknown form of export 'onx', did you mean 'onnx'"):
        export(SMALL, GENOME, model(), "onx", tmp_path)


def test_a_folder_in_use_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InvalidInput, match="exists and is no export: give a new folder, or remove this one"):
        export(SMALL, GENOME, model(), "source", tmp_path)
    with pytest.raises(InvalidInput, match=r"thesis\.tex exists and is no export"):
        export(SMALL, GENOME, model(), "source", tmp_path / "thesis.tex")


def test_only_the_same_export_is_written_again(tmp_path):
    export(SMALL, GENOME, model(), "source", tmp_path)
    trained = SMALL.build(GENOME)
    export(SMALL, GENOME, trained, "source", tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    torch.testing.assert_close(saved["head.weight"], trained.head.weight.detach())
    with pytest.raises(InvalidInput, match="exists and holds an export to 'source' of stack"):
        export(SMALL, GENOME, model(), "onnx", tmp_path)
    other = one("gelu")
    with pytest.raises(InvalidInput, match="exists and holds an export to 'source' of stack"):
        export(SMALL, other, built(SMALL, other), "source", tmp_path)


def test_the_model_of_another_genome_is_refused(tmp_path):
    with pytest.raises(
        InvalidInput, match=r"is not that of genome .* the shape of body.* but the genome has"
    ):
        export(SMALL, one("gelu"), model(), "source", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_missing_packages_are_named_with_what_to_install(tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name.startswith("onnx") else find_spec(name, *rest),
    )
    with pytest.raises(InvalidInput) as refused:
        export(SMALL, GENOME, model(), "onnx", tmp_path)
    assert str(refused.value) == (
        "export to 'onnx' needs onnx, onnxscript, onnxruntime, not installed: pip install 'grammar-nas[export]'"
    )


def test_nothing_is_written_when_a_check_fails(tmp_path, monkeypatch):
    monkeypatch.setattr("nas.exporting.verify", lambda folder: [Check("logits", 0.5, 1e-5)])
    with pytest.raises(ExportFailed, match=r"to source: logits failed, difference 5\.0e-01, allowed 1e-05"):
        export(SMALL, GENOME, model(), "source", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_verify_refuses_what_is_no_export(tmp_path):
    with pytest.raises(InvalidInput, match=r"holds no export: its config\.json cannot be read"):
        verify(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(
        InvalidInput, match=r"holds no export: its config\.json was written by something else"
    ):
        verify(tmp_path)
    (tmp_path / "config.json").write_text('{"form": "gguf", "architecture": "", "files": {}}')
    with pytest.raises(InvalidInput, match="a form of export unknown to this version: 'gguf'"):
        verify(tmp_path)


class OnTheEdge(torch.nn.Module):
    """Where a sequence starts with an even token, the least change of the weight turns its logits over."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(8))

    def forward(self, tokens):
        turned = (tokens[:, :1] % 2 == 0) & (self.weight.max() != 1)
        return torch.nn.functional.one_hot(tokens, 64) * torch.where(turned, -1.0, 1.0)[..., None]


def test_the_reference_avoids_sequences_that_rounding_decides(tmp_path):
    write_reference(tmp_path, spaces.load("hybrid", spaces.tokens(64, 32), context=20), OnTheEdge())
    reference = load_file(tmp_path / "reference.safetensors")
    assert reference["input"].shape == (3, 20)
    assert reference["output"].shape == (3, 16, 64)
    assert (reference["input"][:, 0] % 2 == 1).all()


IMAGES = spaces.image(3, 17, 16, classes=5)
OTHERS = {
    "darts": spaces.load("darts", IMAGES, channels=4, layers=3),
    "mlp": spaces.load("mlp"),
    "nasbench201": spaces.load("nasbench201", IMAGES),
    "regnet": spaces.load("regnet", IMAGES, depth=6, width=16, stem_stride=1),
    "sharpdarts": spaces.load("sharpdarts", IMAGES, channels=4, layers=3),
}


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("darts", "sharpdarts")]


@pytest.mark.parametrize("form", ["onnx", "source"])
@pytest.mark.parametrize("name", ["mlp", "nasbench201", "regnet", *SLOW])
def test_models_over_images_and_vectors(name, form, tmp_path):
    space = OTHERS[name]
    genome = space.sample(np.random.default_rng(3))
    checks = export(space, genome, built(space, genome), form, tmp_path)
    assert all(check.passed for check in checks)
    if form == "onnx":
        [put] = onnxruntime.InferenceSession(tmp_path / "model.onnx").get_inputs()
        assert put.name == ("features" if name == "mlp" else "images")


def test_models_that_read_several_tensors_are_refused(tmp_path):
    space = spaces.load("graph_network")
    genome = space.unrank(0)
    with pytest.raises(InvalidInput, match=r"only models over tokens, images or vectors .* bound to NodeIO"):
        export(space, genome, space.build(genome), "source", tmp_path / "some" / "where")
    assert not (tmp_path / "some").exists()
