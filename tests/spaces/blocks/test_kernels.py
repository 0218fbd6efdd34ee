"""Kernels of other packages, for which stand-ins with their layouts are put in place.

`test_foreign_packages.py` does the same with the packages, where they are installed.
"""

import dataclasses
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from spaces.blocks import kernels, linear_attention
from spaces.blocks.adapters import KERNELS
from spaces.blocks.base import Block
from spaces.blocks.delta import GatedDeltaNet
from spaces.blocks.kernels import preferring
from spaces.blocks.linear_attention import GatedLinearAttention
from spaces.blocks.mamba import Mamba2
from spaces.blocks.moe import MoE
from spaces.blocks.routing import ExpertChoiceMoE
from spaces.blocks.selective_ssm import Mamba
from spaces.errors import InvalidInput


def mamba_chunk_scan_combined(x, dt, A, B, C, chunk_size, *, initial_states, return_final_states):
    """x [B, L, H, P], dt [B, L, H], A [H], B and C [B, L, groups, N], states [B, H, P, N]."""
    assert return_final_states
    assert B.shape[2] == C.shape[2] == 1
    state, outputs = initial_states, []
    for t in range(x.shape[1]):
        written = torch.einsum("bh,bhp,bn->bhpn", dt[:, t], x[:, t], B[:, t, 0])
        state = (dt[:, t] * A).exp()[..., None, None] * state + written
        outputs.append(torch.einsum("bhpn,bn->bhp", state, C[:, t, 0]))
    return torch.stack(outputs, dim=1), state


def selective_scan_fn(u, delta, A, B, C):
    """u and delta [B, D, L], A [D, N], B and C [B, N, L]."""
    state, outputs = u.new_zeros(*u.shape[:2], A.shape[1]), []
    for t in range(u.shape[2]):
        written = (delta * u)[:, :, t, None] * B[:, None, :, t]
        state = (delta[:, :, t, None] * A).exp() * state + written
        outputs.append((state * C[:, None, :, t]).sum(dim=-1))
    return torch.stack(outputs, dim=2)


def each_document(chunk: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., tuple[Tensor, Tensor]]:
    """Lets a kernel take documents in one sequence, which begin and end at cu_seqlens, [N + 1]; states [N, H, K, V]."""

    def chunked(*parts, initial_state, cu_seqlens=None, **options):
        if cu_seqlens is None:
            return chunk(*parts, initial_state=initial_state, **options)
        assert all(len(part) == 1 for part in parts)
        found = [
            chunk(*(part[:, begin:end] for part in parts), initial_state=initial_state[[number]], **options)
            for number, (begin, end) in enumerate(pairwise(cu_seqlens.tolist()))
        ]
        outputs, states = zip(*found, strict=True)
        return torch.cat(outputs, dim=1), torch.cat(states)

    return chunked


@each_document
def chunk_gla(q, k, v, g, scale, initial_state, output_final_state):
    """q, k and g [B, L, H, K], v [B, L, H, V], states [B, H, K, V]."""
    assert output_final_state
    state, outputs = initial_state, []
    for t in range(q.shape[1]):
        state = g[:, t, ..., None].exp() * state + k[:, t, ..., None] * v[:, t, :, None]
        outputs.append(scale * torch.einsum("bhk,bhkv->bhv", q[:, t], state))
    return torch.stack(outputs, dim=1), state


@each_document
def chunk_gated_delta_rule(q, k, v, g, beta, scale, initial_state, output_final_state):
    """As `chunk_gla`, but g and beta [B, L, H]."""
    assert output_final_state
    state, outputs = initial_state, []
    for t in range(q.shape[1]):
        state = g[:, t, :, None, None].exp() * state
        missing = v[:, t] - torch.einsum("bhk,bhkv->bhv", k[:, t], state)
        state = state + k[:, t, ..., None] * (beta[:, t, :, None] * missing)[:, :, None]
        outputs.append(scale * torch.einsum("bhk,bhkv->bhv", q[:, t], state))
    return torch.stack(outputs, dim=1), state


STAND_INS = {
    "ssd": mamba_chunk_scan_combined,
    "selective scan": selective_scan_fn,
    "gated linear attention": chunk_gla,
    "delta": chunk_gated_delta_rule,
}
BLOCKS = {
    "ssd": lambda: Mamba2(16, state=8, expand=2, head_dim=8),
    "selective scan": lambda: Mamba(16, state=4, expand=1, init="decaying"),
    "gated linear attention": lambda: GatedLinearAttention(16, heads=2),
    "delta": lambda: GatedDeltaNet(16, heads=2, expand=2),
}


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Packages whose kernels run on CPUs, in float32."""
    for operator, function in STAND_INS.items():
        kernel = KERNELS[operator]
        module = ModuleType(kernel.module)
        setattr(module, kernel.name, function)
        parts = kernel.module.split(".")
        for number in range(1, len(parts)):
            package = ".".join(parts[:number])
            monkeypatch.setitem(sys.modules, package, ModuleType(package))
        monkeypatch.setitem(sys.modules, kernel.module, module)
        on_cpu = dataclasses.replace(kernel, devices=("cpu",), dtypes=(torch.float32,))
        monkeypatch.setitem(KERNELS, operator, on_cpu)
    kernels._imported.cache_clear()
    yield
    kernels._imported.cache_clear()


def outcomes(block: Block, x_BLD: Tensor) -> list[Tensor]:
    """Outputs in training form and after a state, and the gradients."""
    y_BLD, _ = block(x_BLD)
    gradients = torch.autograd.grad(y_BLD.square().sum(), list(block.parameters()))
    _, state = block(x_BLD[:, :30], block.init_state(2))
    continued_BLD, _ = block(x_BLD[:, 30:], state)
    return [y_BLD, continued_BLD, *gradients]


@pytest.mark.parametrize("operator", STAND_INS)
@pytest.mark.usefixtures("stand_ins")
def test_kernels_get_their_layout_and_give_ours(operator: str) -> None:
    torch.manual_seed(0)
    block, x_BLD = BLOCKS[operator](), torch.randn(2, 50, 16)
    with preferring("own") as foreign:
        own = outcomes(block, x_BLD)
    assert not foreign.used
    with preferring(KERNELS[operator].package) as foreign:
        theirs = outcomes(block, x_BLD)
    assert foreign.used == {operator}
    for our, their in zip(own, theirs, strict=True):
        torch.testing.assert_close(their, our, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("stand_ins")
def test_packed_documents_and_export_are_computed_by_our_own_form() -> None:
    block, x_BLD = BLOCKS["ssd"](), torch.randn(1, 20, 16)
    segments_BL = torch.arange(2).repeat_interleave(10)[None]
    with preferring("mamba-ssm") as foreign:
        block(x_BLD, None, segments_BL)
        torch.export.export(block.eval(), (x_BLD,), strict=False)
    assert foreign == kernels.Foreign()


@pytest.mark.parametrize("operator", ["gated linear attention", "delta"])
@pytest.mark.usefixtures("stand_ins")
def test_packed_documents_are_told_to_kernels_that_keep_them_apart(operator: str) -> None:
    torch.manual_seed(0)
    block, x_BLD = BLOCKS[operator](), torch.randn(2, 20, 16)
    segments_BL = torch.stack([torch.arange(20) // 7, torch.arange(20) // 15])
    own_BLD, _ = block(x_BLD, None, segments_BL)
    with preferring("flash-linear-attention") as foreign:
        theirs_BLD, _ = block(x_BLD, None, segments_BL)
    assert foreign.used == {operator}
    torch.testing.assert_close(theirs_BLD, own_BLD, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("stand_ins")
def test_auto_leaves_cpus_to_our_own_forms() -> None:
    with preferring("auto") as foreign:
        BLOCKS["delta"]()(torch.randn(1, 20, 16))
    assert not foreign.used


@pytest.mark.skipif(not hasattr(torch.nn.functional, "grouped_mm"), reason="PyTorch has no grouped_mm yet")
def test_experts_are_one_grouped_product_where_torch_has_it() -> None:
    torch.manual_seed(0)
    block = MoE(16, experts=8, top_k=2, mult=1).bfloat16()
    x_BLD = torch.randn(2, 40, 16, dtype=torch.bfloat16)
    own_BLD, _ = block(x_BLD)
    own = torch.autograd.grad(own_BLD.float().square().sum(), list(block.parameters()))
    with preferring("torch") as foreign:
        theirs_BLD, _ = block(x_BLD)
        theirs = torch.autograd.grad(theirs_BLD.float().square().sum(), list(block.parameters()))
    assert foreign.used == {"experts"}
    torch.testing.assert_close(theirs_BLD, own_BLD, rtol=0.05, atol=0.05)
    for our, their in zip(own, theirs, strict=True):
        assert (their - our).float().norm() <= 0.02 * our.float().norm()


def test_experts_of_sizes_that_grouped_products_refuse_are_computed_by_our_own_form() -> None:
    torch.manual_seed(0)
    block = MoE(12, experts=4, top_k=2, mult=1).bfloat16()
    x_BLD = torch.randn(2, 40, 12, dtype=torch.bfloat16)
    with pytest.warns(UserWarning, match="torch is not used for experts: "), preferring("torch") as foreign:
        y_BLD, _ = block(x_BLD)
    assert not foreign.used
    assert set(foreign.refused) == {"experts"}
    torch.testing.assert_close(y_BLD, block(x_BLD)[0])


def test_a_call_without_rows_says_nothing_of_a_kernel() -> None:
    """Where no expert takes a token, as may be while decoding; what the kernel cannot do shows at the next."""
    torch.manual_seed(0)
    block = ExpertChoiceMoE(20, experts=4, capacity=2, mult=1).bfloat16()
    x_BLD = torch.randn(2, 40, 20, dtype=torch.bfloat16)
    with torch.no_grad(), preferring("torch") as foreign:
        before_E = block.threshold.clone()
        block.threshold.fill_(1e3)
        block(x_BLD)
        assert foreign == kernels.Foreign()
        block.threshold.copy_(before_E)
        with pytest.warns(UserWarning, match="torch is not used for experts: "):
            block(x_BLD)


@pytest.mark.usefixtures("stand_ins")
def test_a_kernel_is_tried_on_a_small_part_of_what_came_around_a_border_of_documents(monkeypatch) -> None:
    """So that the first step takes hardly more memory than the others."""
    calls = []

    def watched(*parts, cu_seqlens=None, **options):
        calls.append((parts[0].shape[:2].numel(), None if cu_seqlens is None else cu_seqlens.tolist()))
        return chunk_gla(*parts, cu_seqlens=cu_seqlens, **options)

    monkeypatch.setattr(sys.modules["fla.ops.gla"], "chunk_gla", watched)
    block, x_BLD = BLOCKS["gated linear attention"](), torch.randn(5, 400, 16)
    segments_BL = torch.stack([torch.arange(400) // 250] + [torch.zeros(400, dtype=torch.long)] * 4)
    with preferring("flash-linear-attention") as foreign, torch.no_grad():
        block(x_BLD)
        block(x_BLD, None, segments_BL)
    assert foreign.used == {"gated linear attention"}
    assert calls[:2] == [(2 * 160, None), (5 * 400, None)]
    # From 80 tokens before the border on.
    assert calls[2] == (2 * 160, [0, 80, 160, 320])
    assert calls[3] == (5 * 400, [0, 250, 400, 800, 1200, 1600, 2000])


@pytest.mark.skipif(not hasattr(torch.nn.functional, "grouped_mm"), reason="PyTorch has no grouped_mm yet")
def test_few_rows_of_few_experts_are_tried(monkeypatch) -> None:
    compute, calls = torch.nn.functional.grouped_mm, []

    def watched(rows, weight, offs):
        calls.append((len(rows), len(weight)))
        return compute(rows, weight, offs=offs)

    monkeypatch.setattr(torch.nn.functional, "grouped_mm", watched)
    kernels._imported.cache_clear()
    block = MoE(16, experts=8, top_k=2, mult=1).bfloat16()
    with preferring("torch") as foreign, torch.no_grad():
        block(torch.randn(2, 300, 16, dtype=torch.bfloat16))
    kernels._imported.cache_clear()
    assert foreign.used == {"experts"}
    tried, _, whole, _ = calls
    assert tried[0] <= 4 * 64
    assert tried[1] == 4
    assert whole == (2 * 300 * 2, 8)


def wrongly(change: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, Tensor]]:
    """A kernel that gives something else than `chunk_gla`."""

    def chunk(q, k, v, g, scale, initial_state, output_final_state):
        y, state = chunk_gla(
            q, k, v, g, scale=scale, initial_state=initial_state, output_final_state=output_final_state
        )
        return change(y), state

    return chunk


class Backwards(torch.autograd.Function):
    """The identity, with a gradient of another sign."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, pull):
        return -pull


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda y: 0.9 * y, "output 0 is off by "),
        (lambda y: y * float("nan"), "output 0 is off by nan"),
        (lambda y: y.transpose(1, 2), "output 0 has shape \\(2, 2, 50, 8\\), not \\(2, 50, 2, 8\\)"),
        (Backwards.apply, "gradient 0 is off by "),
        (lambda y: y.undefined, "AttributeError: "),
    ],
)
@pytest.mark.usefixtures("stand_ins")
def test_kernels_that_fail_or_give_something_else_are_not_used(change, reason, monkeypatch) -> None:
    torch.manual_seed(0)
    block, x_BLD = BLOCKS["gated linear attention"](), torch.randn(2, 50, 16)
    monkeypatch.setattr(sys.modules["fla.ops.gla"], "chunk_gla", wrongly(change))
    told = f"flash-linear-attention is not used for gated linear attention: {reason}"
    with preferring("flash-linear-attention") as foreign:
        with pytest.warns(UserWarning, match=told):
            y_BLD, _ = block(x_BLD)
        assert not foreign.used
        assert re.match(reason, foreign.refused.pop("gated linear attention"))
        block(x_BLD)  # known by now: refused without another warning
        assert set(foreign.refused) == {"gated linear attention"}
    torch.testing.assert_close(y_BLD, block(x_BLD)[0], rtol=0, atol=0)


@pytest.mark.usefixtures("stand_ins")
def test_where_the_trial_finds_no_memory_our_own_form_goes_on(monkeypatch) -> None:
    """At the next call the kernel is tried again."""
    torch.manual_seed(0)
    block, x_BLD = BLOCKS["gated linear attention"](), torch.randn(2, 50, 16)
    compute, calls = linear_attention.gated_scan, []

    def at_first_without_memory(*inputs):
        calls.append(None)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("no memory is left")
        return compute(*inputs)

    monkeypatch.setattr(linear_attention, "gated_scan", at_first_without_memory)
    untried = wrongly(lambda y_BLHV: y_BLHV)
    monkeypatch.setattr(sys.modules["fla.ops.gla"], "chunk_gla", untried)
    told = "is not used for gated linear attention: OutOfMemoryError: no memory is left"
    with pytest.warns(UserWarning, match=told), preferring("flash-linear-attention") as foreign:
        y_BLD, _ = block(x_BLD)
    assert set(foreign.refused) == {"gated linear attention"}
    torch.testing.assert_close(y_BLD, block(x_BLD)[0])
    with preferring("flash-linear-attention") as foreign:
        block(x_BLD)
    assert foreign == kernels.Foreign(used={"gated linear attention"})


@pytest.mark.parametrize("content, refused", [(None, set()), ("raise OSError('no driver')", {"delta"})])
def test_packages_that_cannot_be_imported_stop_nothing(content, refused, monkeypatch, tmp_path) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "fla"]:
        monkeypatch.delitem(sys.modules, name)
    if content is None:
        monkeypatch.setattr(sys, "path", [path for path in sys.path if not (Path(path) / "fla").is_dir()])
    else:
        (tmp_path / "fla").mkdir()
        (tmp_path / "fla" / "__init__.py").write_text(content, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(kernels, "AUTO_DEVICES", ("cpu",))
    kernels._imported.cache_clear()
    with warnings.catch_warnings(record=True) as told, preferring("auto") as foreign:
        warnings.simplefilter("always")
        BLOCKS["delta"]()(torch.randn(1, 20, 16))
    kernels._imported.cache_clear()
    assert not foreign.used
    assert set(foreign.refused) == refused
    assert [str(one.message) for one in told] == [
        f"flash-linear-attention is not used for {operator}: OSError: no driver" for operator in refused
    ]


@pytest.mark.usefixtures("stand_ins")
def test_trying_leaves_no_trace_in_what_is_saved_for_gradients() -> None:
    block, x_BLD = BLOCKS["delta"](), torch.randn(2, 50, 16)

    def saved() -> int:
        counts = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda part: counts.append(part) or part, lambda part: part
        ):
            block(x_BLD)
        return len(counts)

    with preferring("flash-linear-attention"):
        assert saved() == saved()


def test_what_cannot_be_had_is_refused() -> None:
    with (
        pytest.raises(
            InvalidInput,
            match="unknown kernels 'mamba_ssm', did you mean 'mamba-ssm'\\? allowed: auto, own, ",
        ),
        preferring("mamba_ssm"),
    ):
        raise AssertionError
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "fla.ops.gla", None)
        kernels._imported.cache_clear()
        with (
            pytest.raises(
                InvalidInput,
                match=r"'flash-linear-attention' were asked for, but fla.ops.gla.chunk_gla cannot be imported here: "
                "ModuleNotFoundError: import of fla.ops.gla halted",
            ),
            preferring("flash-linear-attention"),
        ):
            raise AssertionError
    kernels._imported.cache_clear()


@pytest.mark.usefixtures("stand_ins")
def test_kernels_are_put_back_afterwards() -> None:
    block, x_BLD = BLOCKS["delta"](), torch.randn(1, 20, 16)
    with preferring("flash-linear-attention") as foreign:
        with preferring("own"):
            block(x_BLD)
        assert not foreign.used
        block(x_BLD)
        assert foreign.used
        foreign.used.clear()
    block(x_BLD)
    assert not foreign.used
