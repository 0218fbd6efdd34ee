"""The kernels of flash-linear-attention and mamba-ssm themselves, where these are installed.

On a GPU they run as they are. Elsewhere Triton's interpreter runs them on the CPU, if the variable TRITON_INTERPRET is 1
before Triton is imported; what it lacks is put in its place here, in no file of a package:

- a driver that tunes nothing (the first configuration is taken), and a CUDA device to stand on;
- loop variables that are tensors, as in compiled kernels, not numbers of Python;
- mamba-ssm's compiled selective scan, which is not Triton: its arguments are checked as its source does, and computed by
  the reference that comes with the package.

Letters in tensor names: B batch, L length, H heads, K key and V value dimensions of a head, N state, I inner width.
"""

import ast
import dataclasses
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from spaces.blocks import kernels
from spaces.blocks.adapters import KERNELS
from spaces.blocks.delta import GatedDeltaNet, delta_scan, unit
from spaces.blocks.kernels import Foreign, preferring
from spaces.blocks.linear_attention import GatedLinearAttention, gated_scan
from spaces.blocks.mamba import Mamba2, scan_by_steps
from spaces.blocks.selective_ssm import Mamba, scan_from_nothing

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
PACKAGES = {"flash-linear-attention": "fla", "mamba-ssm": "mamba_ssm"}
if DEVICE == "cpu":
    if not INTERPRETED:
        pytest.skip("needs a GPU, or TRITON_INTERPRET=1", allow_module_level=True)
    pytest.importorskip("triton", reason="Triton is not installed")
# Interpreted products are exact to float32; those of GPUs are in TF32.
CLOSE = {torch.float32: 1e-5 if DEVICE == "cpu" else 1e-2, torch.float16: 2e-3 if DEVICE == "cpu" else 1e-2}


@pytest.fixture(scope="module", autouse=True)
def runnable() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if DEVICE == "cpu":
            interpret(patch)
            for operator, kernel in KERNELS.items():
                patch.setitem(KERNELS, operator, dataclasses.replace(kernel, devices=("cpu",)))
        kernels._imported.cache_clear()
        yield
    kernels._imported.cache_clear()


def interpret(patch: pytest.MonkeyPatch) -> None:
    """Gives Triton's interpreter what it lacks."""
    from triton.runtime import driver, interpreter

    class LoopsOverTensors(interpreter.ASTTransformer):
        def visit_For(self, node: ast.For) -> ast.For:
            self.generic_visit(node)
            if getattr(getattr(node.iter, "func", None), "id", None) == "range":
                name = node.target.id
                node.body[:0] = ast.parse(f"{name} = interpreter_semantic.to_tensor({name}, False)").body
            return node

    nowhere = SimpleNamespace(
        get_benchmarker=lambda: lambda call, quantiles: [0.0] * len(quantiles),
        get_current_target=lambda: SimpleNamespace(backend="cpu", arch="", warp_size=32),
    )
    patch.setattr(driver, "_active", nowhere)
    patch.setattr(interpreter.FunctionRewriter, "ast_transformer", LoopsOverTensors())
    patch.setattr(torch.cuda, "device", lambda index: nullcontext())
    patch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(multi_processor_count=1)
    )
    compiled = ModuleType("selective_scan_cuda")
    compiled.fwd, compiled.bwd = selective_scan_forward, selective_scan_backward
    patch.setitem(sys.modules, "selective_scan_cuda", compiled)


def selective_scan_forward(u, delta, A, B, C, D, z, delta_bias, delta_softplus):
    """u and delta [B, D, L], A [D, N], B and C [B, G, N, L]; gives the outputs and, last, decays and states."""
    batch, width, length = u.shape
    states = A.shape[1]
    assert u.dtype in (torch.float32, torch.float16, torch.bfloat16)
    assert A.dtype == torch.float32
    assert delta.dtype == B.dtype == C.dtype == u.dtype
    assert length == 1 or u.stride(-1) == delta.stride(-1) == B.stride(-1) == C.stride(-1) == 1
    assert delta.shape == u.shape
    assert A.shape == (width, states)
    assert B.shape == C.shape == (batch, 1, states, length)
    assert states <= 256
    reference = importlib.import_module("mamba_ssm.ops.selective_scan_interface").selective_scan_ref
    y, last = reference(u, delta, A, B, C, D, z, delta_bias, delta_softplus, return_last_state=True)
    return y, last.repeat_interleave(2, dim=-1)[:, :, None]


def selective_scan_backward(u, delta, A, B, C, D, z, delta_bias, pull, x, out, dz, delta_softplus, recompute):
    assert pull.dtype == u.dtype
    assert pull.shape[-1] == 1 or pull.stride(-1) == 1
    leaves = [part.detach().requires_grad_() for part in (u, delta, A, B, C)]
    with torch.enable_grad():
        y, _ = selective_scan_forward(*leaves, D, z, delta_bias, delta_softplus)
    return (*torch.autograd.grad(y, leaves, pull), None, None)


def installed(operator: str) -> None:
    """Skips a test where the package of an operator's kernel is not installed; that it cannot be imported is an error."""
    package = KERNELS[operator].package
    pytest.importorskip(PACKAGES[package], reason=f"{package} is not installed")


def example(operator: str, length: int, size: int = 16, values: int = 32) -> tuple[Any, list[Tensor]]:
    """Our own form of an operator, and inputs for it: two sequences, two heads of `size` and `values` dimensions."""
    torch.manual_seed(0)
    batch, heads = 2, 2
    q_BLHK, k_BLHK = torch.randn(2, batch, length, heads, size)
    v_BLHV = torch.randn(batch, length, heads, values)
    state_BHKV = torch.randn(batch, heads, size, values)
    step_BLH = F.softplus(torch.randn(batch, length, heads))
    b_BLN, c_BLN = torch.randn(2, batch, length, size)
    match operator:
        case "gated linear attention":
            own, inputs = (
                gated_scan,
                (q_BLHK, k_BLHK, v_BLHV, F.logsigmoid(torch.randn_like(k_BLHK)), state_BHKV),
            )
        case "delta":
            beta_BLH = torch.rand(batch, length, heads)
            own, inputs = delta_scan, (q_BLHK, unit(k_BLHK), v_BLHV, beta_BLH, -step_BLH, state_BHKV)
        case "ssd":
            a_H, state_BHVN = -4 * torch.rand(heads), state_BHKV.transpose(2, 3).contiguous()
            own, inputs = scan_by_steps, (v_BLHV, step_BLH, a_H, b_BLN, c_BLN, state_BHVN)
        case "selective scan":
            x_BLI, dt_BLI = torch.randn(batch, length, values), F.softplus(torch.randn(batch, length, values))
            own, inputs = scan_from_nothing, (x_BLI, dt_BLI, -4 * torch.rand(size, values), b_BLN, c_BLN)
    return own, [part.to(DEVICE).requires_grad_() for part in inputs]


def outcome(form: Any, inputs: list[Tensor]) -> list[Tensor]:
    """Outputs and last states, and the gradients where something pulls at all of them."""
    outputs = form(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    torch.manual_seed(1)
    pulls = [torch.randn(part.shape, dtype=part.dtype, device=part.device) for part in outputs]
    return [*outputs, *torch.autograd.grad(outputs, inputs, pulls)]


def assert_near(theirs: list[Tensor], ours: list[Tensor], tolerance: float) -> None:
    """The distance of each from ours is small beside the norm of ours."""
    for number, (their, our) in enumerate(zip(theirs, ours, strict=True)):
        assert their.shape == our.shape
        distance, norm = (their.double() - our.double()).norm(), our.double().norm()
        assert distance <= tolerance * norm, f"{number}: {distance} of {norm}"


OPERATORS = ("gated linear attention", "delta", "ssd", "selective scan")
SIZES = [(1, 16, 32), (70, 16, 32), (70, 24, 48), (130, 8, 8)]


def kernel_of(operator: str, dtype: torch.dtype) -> Any:
    kernel = KERNELS[operator]
    return partial(kernel.adapt, kernels._imported(kernel), dtype)


@pytest.mark.slow
@pytest.mark.parametrize("length, size, values", [(1, 16, 32), (70, 16, 32), (70, 24, 48), (130, 8, 8)])
@pytest.mark.parametrize("operator", OPERATORS)
def test_kernels_give_what_our_own_forms_give(operator: str, length: int, size: int, values: int) -> None:
    installed(operator)
    own, inputs = example(operator, length, size, values)
    assert_near(
        outcome(kernel_of(operator, torch.float32), inputs), outcome(own, inputs), CLOSE[torch.float32]
    )


@pytest.mark.slow
@pytest.mark.parametrize("operator", [operator for operator in OPERATORS if KERNELS[operator].documents])
def test_kernels_keep_documents_apart(operator: str) -> None:
    installed(operator)
    own, inputs = example(operator, 100)
    segments_BL = 5 + torch.stack(
        [(torch.arange(100) >= 30).int() + (torch.arange(100) >= 37), torch.arange(100) // 64]
    )
    segments_BL = segments_BL.to(DEVICE)
    form = partial(kernel_of(operator, torch.float32), segments_BL=segments_BL)
    assert_near(
        outcome(form, inputs), outcome(partial(own, segments_BL=segments_BL), inputs), CLOSE[torch.float32]
    )
    y_BLHV, _ = form(*inputs)
    first_BL = segments_BL == segments_BL[:, :1]
    changed = [torch.where(first_BL[..., *[None] * (part.dim() - 2)], 2 * part, part) for part in inputs[:-1]]
    changed_BLHV, _ = form(*changed, inputs[-1])
    assert not changed_BLHV[first_BL].equal(y_BLHV[first_BL])
    torch.testing.assert_close(changed_BLHV[~first_BL], y_BLHV[~first_BL], rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("operator", OPERATORS)
def test_kernels_compute_in_low_precision(operator: str) -> None:
    installed(operator)
    own, inputs = example(operator, 70)
    found = outcome(kernel_of(operator, torch.float16), inputs)
    assert found[0].dtype == torch.float16
    assert_near(found, outcome(own, inputs), CLOSE[torch.float16])


BLOCKS = {
    "ssd": lambda: Mamba2(16, state=8, expand=2, head_dim=8),
    "selective scan": lambda: Mamba(16, state=4, expand=1, init="decaying"),
    "gated linear attention": lambda: GatedLinearAttention(16, heads=2),
    "delta": lambda: GatedDeltaNet(16, heads=2, expand=2),
}


@pytest.mark.slow
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("operator", OPERATORS)
def test_blocks_compute_with_kernels(operator: str, autocast: bool) -> None:
    installed(operator)
    torch.manual_seed(0)
    block, x_BLD = BLOCKS[operator]().to(DEVICE), torch.randn(2, 50, 16, device=DEVICE)

    def outcomes() -> list[Tensor]:
        with torch.autocast(DEVICE, torch.float16, enabled=autocast):
            y_BLD, _ = block(x_BLD)
            _, state = block(x_BLD[:, :30], block.init_state(2))
            continued_BLD, _ = block(x_BLD[:, 30:], state)
        gradients = torch.autograd.grad(y_BLD.float().square().sum(), list(block.parameters()))
        return [y_BLD, continued_BLD, *gradients]

    ours = outcomes()
    with preferring(KERNELS[operator].package) as foreign:
        found = outcomes()
    assert foreign == Foreign(used={operator})
    assert_near(found, ours, 2e-2 if autocast else CLOSE[torch.float32])


@pytest.mark.parametrize("operator", OPERATORS)
def test_compiled_blocks_compute_with_kernels(operator: str) -> None:
    installed(operator)
    torch.manual_seed(0)
    block, x_BLD = BLOCKS[operator]().to(DEVICE), torch.randn(1, 20, 16, device=DEVICE)
    ours_BLD, _ = block(x_BLD)
    compiled = torch.compile(block, backend="eager")
    with preferring(KERNELS[operator].package) as foreign:
        theirs_BLD, _ = compiled(x_BLD)
    assert foreign == Foreign(used={operator})
    assert_near([theirs_BLD], [ours_BLD], CLOSE[torch.float32])


def test_sizes_that_kernels_refuse_are_computed_by_our_own_form() -> None:
    installed("delta")
    torch.manual_seed(0)
    block = GatedDeltaNet(300, heads=1, expand=1).to(DEVICE)
    x_BLD = torch.randn(1, 20, 300, device=DEVICE)
    ours_BLD, _ = block(x_BLD)
    told = "flash-linear-attention is not used for delta: "
    with pytest.warns(UserWarning, match=told), preferring("flash-linear-attention") as foreign:
        theirs_BLD, _ = block(x_BLD)
    assert not foreign.used
    assert set(foreign.refused) == {"delta"}
    torch.testing.assert_close(theirs_BLD, ours_BLD, rtol=0, atol=0)
