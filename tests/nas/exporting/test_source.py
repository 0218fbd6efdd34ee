import importlib.util
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import spaces
from nas.exporting import ExportFailed, export, verify
from nas.exporting.constructor import constructor
from nas.exporting.inline import inline
from nas.exporting.layout import Group, render
from nas.exporting.source import source
from nas.types import InvalidInput
from spaces.blocks.base import Block, linear
from tests.nas.exporting.genomes import MIXERS, RANDOM, SMALL, SPACE, built, known, one


def imported(path):
    spec = importlib.util.spec_from_file_location("exported_for_a_test", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("space, genome", known(SPACE) + RANDOM)
def test_a_genome_as_source_computes_the_same_in_a_clean_process(space, genome, tmp_path):
    model = built(space, genome)
    files, clean, decoding = export(space, genome, model, "source", tmp_path / "out", {"valid_bpb": 2.5})
    assert files.passed
    assert clean.difference <= 1e-5
    assert decoding.difference <= 1e-4
    loaded = imported(tmp_path / "out/model.py").load()
    x = torch.randint(64, (2, 77))
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), model(x), rtol=0, atol=1e-5)
        _, state = loaded.step(x[:, :50], loaded.init_state(2))
        torch.testing.assert_close(loaded.step(x[:, 50:], state)[0], model(x)[:, 50:], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["einspace", "vision"])
def test_networks_of_images_as_source_compute_the_same(name, tmp_path):
    """Their layers hold modules of PyTorch itself, which are written as such."""
    space = spaces.load(name, spaces.image(3, 12, 12, classes=5))
    rng = np.random.default_rng(0)
    genome = space.sample(rng)
    files, clean = export(space, genome, space.build(genome), "source", tmp_path / "out")
    assert files.passed
    assert clean.difference <= 1e-5
    for drawn in (space.sample(rng) for _ in range(6)):
        compile(source(space, drawn, space.build(drawn)), "model.py", "exec")


@pytest.mark.parametrize("space, genome", known(SPACE) + RANDOM)
def test_source_is_clean_and_formatted(space, genome, tmp_path, request):
    path = tmp_path / "model.py"
    path.write_text(source(space, genome, built(space, genome)))
    ruff = [sys.executable, "-m", "ruff"]
    config = ["--config", str(request.config.rootpath / "pyproject.toml"), str(path)]
    for command in (["check"], ["format", "--diff"]):
        done = subprocess.run([*ruff, *command, *config], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("mixer", MIXERS)
def test_only_the_blocks_in_use_are_written(mixer):
    genome = one(mixer)
    model = built(SMALL, genome)
    text = source(SMALL, genome, model)
    blocks = {
        "Attention",
        "DifferentialAttention",
        "GatedDeltaNet",
        "LinearAttention",
        "GatedLinearAttention",
        "Mamba2",
        "Mamba",
        "RGLRU",
        "TokenParameterAttention",
        "Workspace",
        "GatedConv",
        "SwiGLU",
        "MLP",
        "MoE",
        "ProductKeyMemory",
    }
    used = {cls.__name__ for module in model.modules() for cls in type(module).__mro__}
    assert {name for name in blocks if f"class {name}(" in text} == blocks & used
    assert "import nas" not in text
    assert "from spaces" not in text
    assert "Letters in tensor names" in text
    assert max(map(len, text.splitlines())) <= 120, "the legend of a module is too wide for a comment"


def test_all_blocks_together_fit_in_one_file():
    models = [built(SMALL, one(mixer)) for mixer in MIXERS]
    classes = {
        type(module)
        for model in models
        for module in model.modules()
        if "torch" not in type(module).__module__
    }
    definitions = inline(sorted(classes, key=lambda cls: cls.__name__), {}, ()).definitions
    assert all(f"class {cls.__name__}(" in definitions for cls in classes)


def test_repeats_are_loops():
    genome = SPACE.parse(
        "stack(layers=[stack(layers=[residual(body=swiglu(mult=1))], repeat=3),"
        " residual(body=mlp(mult=1, activation=gelu))], repeat=2)"
    )
    text = source(SPACE, genome, built(SPACE, genome))
    assert text.count("SwiGLU(32, mult=1)") == 1
    assert "[Residual(32, SwiGLU(32, mult=1)) for _ in range(3)]" in text
    assert "for _ in range(2)" in text


class Own(Block):
    """A block of a user's own."""

    def __init__(self, width: int, scale: object) -> None:
        super().__init__()
        self.inside, self.scale = linear(width, width), scale

    def forward(self, x_BLD, state=None, segments_BL=None):
        return self.inside(x_BLD) * self.scale, state


def test_a_layout_breaks_where_a_line_is_full():
    call = Group("f(", ["a" * 60, Group("g(", ["b" * 60, "c"], ")")], ")")
    assert render(call) == f"f(\n    {'a' * 60},\n    g({'b' * 60}, c),\n)"
    assert render(Group("[", ["x", "for _ in range(2)"], "]", commas=False)) == "[x for _ in range(2)]"


def test_a_block_of_a_users_own_is_written_with_what_it_needs():
    expression, classes = constructor(lambda: Own(4, 0.5), Own(4, 0.5))
    assert render(expression) == "Own(4, 0.5)"
    definitions = inline(classes, {}, ()).definitions
    assert "class Own(Block)" in definitions
    assert "def linear(" in definitions


def test_what_has_no_literal_form_is_refused():
    with pytest.raises(
        InvalidInput, match="a complex is passed to one of its blocks, which may be made from numbers"
    ):
        constructor(lambda: Own(4, 1j), Own(4, 1j))
    assert Own(4, 2).scale == 2  # the constructors are as they were


def module_of(tmp_path, monkeypatch, name, text):
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module(name)


def test_names_that_clash_are_told_apart(tmp_path, monkeypatch):
    text = "def helper(x):\n    return {}\n\n\nclass A:\n    x = helper(1)\n\n    def sum(self, items):\n        {}\n"
    one = module_of(tmp_path, monkeypatch, "clash_one", text.format("x", "return sum(items)"))
    module_of(tmp_path, monkeypatch, "clash_two", text.format("helper", "return A, helper(3)"))
    three = module_of(
        tmp_path,
        monkeypatch,
        "clash_three",
        "from clash_two import A, helper\n\n\ndef sum(x): ...\n\n\nclass B(A):\n    y = [helper(2), helper, sum, 'ä', A]\n",
    )
    made = inline([one.A, three.B], {}, ["load"])
    assert made.names == {one.A: "A", three.B: "B"}
    assert inline([one.A], {}, ["A"]).names == {one.A: "A_clash_one"}
    room = {}
    exec(made.definitions, room)
    (first, second, summed, _, base) = room["B"].y
    assert (room["A"].x, first) == (1, second)
    assert room["A"]().sum([2, 3]) == 5, "what is built in is not hidden"
    assert summed is room["sum_clash_three"]
    assert room["B"].mro()[1] is base is room["A_clash_two"] is not room["A"]
    assert base().sum(0)[0] is base
    assert "def helper_clash_two(x):\n    return helper_clash_two\n" in made.definitions
    hiding = "def helper(): ...\n\n\nclass C:\n    def f(self, helper): ...\n\n    x = helper()\n"
    hides = module_of(tmp_path, monkeypatch, "clash_hides", hiding)
    with pytest.raises(
        InvalidInput, match="'helper' of clash_hides would be exported as helper_clash_hides, as"
    ):
        inline([one.A, hides.C], {}, ())


def test_what_does_not_fit_in_one_file_is_refused(tmp_path, monkeypatch):
    inner = module_of(tmp_path, monkeypatch, "clash_inner", "class Outer:\n    class Inner: ...\n")
    with pytest.raises(
        InvalidInput, match=r"class Outer\.Inner must stand at the top of its module, clash_inner"
    ):
        inline([inner.Outer.Inner], {}, ())
    foreign = module_of(
        tmp_path, monkeypatch, "clash_foreign", "import numpy as np\n\n\nclass C:\n    x = np.pi\n"
    )
    with pytest.raises(
        InvalidInput, match="'clash_foreign' imports numpy as 'np', but a block that is exported may"
    ):
        inline([foreign.C], {}, ())


def test_a_tampered_or_missing_file_is_found(tmp_path):
    genome = one("swiglu")
    export(SMALL, genome, built(SMALL, genome), "source", tmp_path)
    weights = tmp_path / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-2] ^= 0x40  # the exponent of one weight
    weights.write_bytes(data)
    files, clean, _ = verify(tmp_path)
    assert not files.passed
    assert files.error == "changed or missing since the export: model.safetensors"
    assert not clean.passed
    assert clean.difference > 1e-5
    weights.unlink()
    files, clean = verify(tmp_path)
    assert not files.passed
    assert not clean.passed
    assert "No such file" in clean.error


class Forgetful(Block):
    """Takes what stood before each token from the part that it is given, and keeps no state."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inside = linear(width, width)

    def forward(self, x_BLD, state=None, segments_BL=None):
        return self.inside(nn.functional.pad(x_BLD, (0, 0, 1, -1))), state


def test_a_block_that_forgets_decodes_to_something_else(tmp_path):
    grammar = spaces.Grammar("own", start="model")
    grammar.add(
        "forgetful",
        ("model",),
        {},
        build=lambda at: Forgetful(16),
        cost=lambda at, context: spaces.Cost(256, 256, 512, 0),
    )
    space = spaces.GrammarSpace(grammar, spaces.tokens(vocab=64, width=16))
    genome = space.sample(np.random.default_rng(0))
    with pytest.raises(
        ExportFailed, match=r"decoding with a state failed, .*: a block forgets what its state is for"
    ):
        export(space, genome, space.build(genome), "source", tmp_path / "out")
    assert not (tmp_path / "out").exists()
