"""Kernels of other packages that compute what blocks compute, where they are installed and the device is theirs.

Blocks name their operator, our own form of it and its inputs (`base.dispatch`). An adapter brings these into a
package's layout, and what it returns back into ours. Before a kernel is used, it is tried: once for each device,
precision and size of heads, in each process, it has to give what our own form gives for a small part of the first
inputs, forward and, where there are gradients, backward. One that fails, or that gives something else, is left out, and
the trial says so.

`tests/spaces/blocks/test_foreign_packages.py` holds the adapters to the packages themselves: flash-linear-attention
0.6.0 and the Triton kernels of mamba-ssm 2.3.2 in Triton's interpreter on a CPU (float32 and float16, as it cannot
multiply bfloat16), mamba-ssm's selective scan, which is CUDA, by the reference that comes with it and the checks of its
source. None was run on a GPU yet. There Triton multiplies float32 in TF32, unless TRITON_F32_DEFAULT is "ieee".

Letters in tensor names: B batch, L length, H heads, K key and V value dimensions of a head, N state, I inner width, R
rows, E experts, D width, F hidden units.
"""

import importlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spaces.blocks.base import FOREIGN
from spaces.blocks.chunking import chunk_size
from spaces.blocks.documents import starts
from spaces.errors import InvalidInput, suggest

TOLERANCE = 0.05
"""How far what a kernel gives may be from our own, relative to its norm: bfloat16 and TF32 stay well below, another
layout, sign or scale does not."""

SEQUENCES, TOKENS, EXPERTS, ROWS = 2, 160, 4, 64
"""What a kernel is tried with has at most so many sequences, tokens of each, experts, and rows of each: little memory
beside that of a training step."""

Function = Callable[..., Any]


@dataclass(frozen=True)
class Kernel:
    """A function of a package, by its name there.

    adapt: (function, dtype, *arguments of our own form) -> what our own form returns; dtype is what the block computes
    in. layout: the dimensions of these arguments, segments of documents last. devices and dtypes: what it runs on and
    in. documents: whether it takes packed ones, so that nothing of one, not even rounding, comes into another. tokens:
    of a sequence that it is tried with; more than it takes at once.
    """

    package: str
    module: str
    name: str
    adapt: Callable[..., Any]
    layout: str
    devices: tuple[str, ...] = ("cuda",)
    dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.bfloat16, torch.float16)
    documents: bool = False
    tokens: int = TOKENS


@dataclass(frozen=True)
class Foreign:
    """The operators for which kernels of other packages are used, and why they are not used for others."""

    used: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)


# flash-linear-attention says this of its functions itself.
_untraced = torch.compiler.disable(reason="kernels of other packages are called as they are")


@_untraced
def _ssd(
    function: Function,
    dtype: torch.dtype,
    u_BLHK: Tensor,
    dt_BLH: Tensor,
    a_H: Tensor,
    b_BLN: Tensor,
    c_BLN: Tensor,
    state_BHKN: Tensor,
) -> tuple[Tensor, Tensor]:
    chunk = chunk_size("ssd", *u_BLHK.shape[1:3], u_BLHK.device.type)
    u_BLHK, b_BLN, c_BLN = (part.to(dtype) for part in (u_BLHK, b_BLN, c_BLN))
    # B and C have a dimension of groups; the state is [B, H, K, N] as here. It would keep documents (seq_idx) apart but
    # for the rounding of sums of decays that go on through all of them.
    return function(
        u_BLHK,
        dt_BLH,
        a_H,
        b_BLN[:, :, None],
        c_BLN[:, :, None],
        chunk_size=chunk,
        initial_states=state_BHKN,
        return_final_states=True,
    )


@_untraced
def _selective(
    function: Function,
    dtype: torch.dtype,
    x_BLI: Tensor,
    dt_BLI: Tensor,
    a_NI: Tensor,
    b_BLN: Tensor,
    c_BLN: Tensor,
) -> Tensor:
    # Time stands last there, and channels before states; all that changes with time has to be of one dtype. No state
    # comes in, none is asked for.
    x_BIL, dt_BIL, b_BNL, c_BNL = (
        part.to(dtype).transpose(1, 2).contiguous() for part in (x_BLI, dt_BLI, b_BLN, c_BLN)
    )
    return function(x_BIL, dt_BIL, a_NI.T.contiguous(), b_BNL, c_BNL).transpose(1, 2)


def _gated(
    function: Function,
    dtype: torch.dtype,
    q_BLHK: Tensor,
    k_BLHK: Tensor,
    v_BLHV: Tensor,
    decay_BLHK: Tensor,
    state_BHKV: Tensor,
    segments_BL: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    q_BLHK, k_BLHK, v_BLHV = (part.to(dtype) for part in (q_BLHK, k_BLHK, v_BLHV))
    return _linear(function, (q_BLHK, k_BLHK, v_BLHV, decay_BLHK), state_BHKV, segments_BL)


def _delta(
    function: Function,
    dtype: torch.dtype,
    q_BLHK: Tensor,
    k_BLHK: Tensor,
    v_BLHV: Tensor,
    beta_BLH: Tensor,
    decay_BLH: Tensor,
    state_BHKV: Tensor,
    segments_BL: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    q_BLHK, k_BLHK, v_BLHV, beta_BLH = (part.to(dtype) for part in (q_BLHK, k_BLHK, v_BLHV, beta_BLH))
    return _linear(function, (q_BLHK, k_BLHK, v_BLHV, decay_BLH, beta_BLH), state_BHKV, segments_BL)


def _linear(
    function: Function, parts: tuple[Tensor, ...], state_BHKV: Tensor, segments_BL: Tensor | None
) -> tuple[Tensor, Tensor]:
    """A linear attention of flash-linear-attention, which wants documents one after the other in one sequence."""
    if segments_BL is None:
        return function(*parts, scale=1.0, initial_state=state_BHKV, output_final_state=True)
    first_BL = starts(segments_BL)
    begins_N = first_BL.flatten().nonzero().flatten()
    number_B = first_BL.sum(dim=1)
    last_B = number_B.cumsum(dim=0) - 1
    # The first document of a sequence goes on from its state.
    zero_NHKV = state_BHKV.new_zeros(len(begins_N), *state_BHKV.shape[1:])
    y_1THV, state_NHKV = function(
        *(part.flatten(0, 1)[None] for part in parts),
        scale=1.0,
        initial_state=zero_NHKV.index_copy(0, last_B - number_B + 1, state_BHKV),
        output_final_state=True,
        cu_seqlens=F.pad(begins_N, (0, 1), value=segments_BL.numel()),
    )
    return y_1THV[0].unflatten(0, segments_BL.shape), state_NHKV[last_B]


def _experts(
    function: Function,
    dtype: torch.dtype,
    x_RD: Tensor,
    rows_E: Tensor,
    gate_up_EDF: Tensor,
    out_EFD: Tensor,
) -> Tensor:
    ends_E = rows_E.cumsum(0).to(torch.int32)
    gate_RF, up_RF = function(x_RD.to(dtype), gate_up_EDF.to(dtype), offs=ends_E).chunk(2, dim=-1)
    return function(F.silu(gate_RF) * up_RF, out_EFD.to(dtype), offs=ends_E)


FLA, MAMBA, TORCH = "flash-linear-attention", "mamba-ssm", "torch"
KERNELS: dict[str, Kernel] = {
    "ssd": Kernel(
        MAMBA,
        "mamba_ssm.ops.triton.ssd_combined",
        "mamba_chunk_scan_combined",
        _ssd,
        "BLHK BLH H BLN BLN BHKN",
    ),
    # It takes up to 2,048 tokens at once.
    "selective scan": Kernel(
        MAMBA,
        "mamba_ssm.ops.selective_scan_interface",
        "selective_scan_fn",
        _selective,
        "BLI BLI NI BLN BLN",
        tokens=2048 + TOKENS,
    ),
    "gated linear attention": Kernel(
        FLA, "fla.ops.gla", "chunk_gla", _gated, "BLHK BLHK BLHV BLHK BHKV BL", documents=True
    ),
    "delta": Kernel(
        FLA,
        "fla.ops.gated_delta_rule",
        "chunk_gated_delta_rule",
        _delta,
        "BLHK BLHK BLHV BLH BLH BHKV BL",
        documents=True,
    ),
    # On CPUs it is a loop too; on GPUs it is fast in bfloat16 alone.
    "experts": Kernel(
        TORCH,
        "torch.nn.functional",
        "grouped_mm",
        _experts,
        "RD E EDF EFD",
        ("cuda", "cpu"),
        (torch.bfloat16,),
    ),
}
"""The operators of blocks, and the kernel that other packages have for each."""
AUTO_DEVICES = ("cuda",)
PREFERENCES = ("auto", "own", *sorted({kernel.package for kernel in KERNELS.values()}))


def check_preference(preference: str) -> None:
    """Raises InvalidInput for what `preferring` does not know."""
    if preference not in PREFERENCES:
        raise InvalidInput(f"unknown kernels {preference!r}{suggest(preference, PREFERENCES)}")


@contextmanager
def preferring(preference: str) -> Iterator[Foreign]:
    """Which kernels blocks use, in this process: those of all packages that are there ("auto"), of one, or "own".

    "auto" uses none on CPUs, and imports a package when the first tensor comes that it is for. Gives the operators for
    which a kernel of another package was used or refused, as they are; a refusal is a warning too. Without this all
    are our own.

    Raises InvalidInput if the preference is unknown, or a package that is named cannot be imported.
    """
    check_preference(preference)
    foreign, before, chosen = Foreign(), dict(FOREIGN), {}
    for operator, kernel in KERNELS.items():
        if preference == "auto":
            chosen[operator] = partial(_find, operator, kernel, AUTO_DEVICES, foreign)
        elif preference == kernel.package:
            function = _imported(kernel)
            if isinstance(function, Exception):
                raise InvalidInput(
                    f"kernels {preference!r} were asked for, but {kernel.module}.{kernel.name} cannot be imported "
                    f"here: {_told(function)}"
                )
            chosen[operator] = partial(_find, operator, kernel, kernel.devices, foreign)
    FOREIGN.clear()
    FOREIGN.update(chosen)
    try:
        yield foreign
    finally:
        FOREIGN.clear()
        FOREIGN.update(before)


def _find(
    operator: str,
    kernel: Kernel,
    devices: tuple[str, ...],
    foreign: Foreign,
    own: Function,
    x: Tensor,
    inputs: tuple[Tensor, ...],
    packed: bool,
) -> Function | None:
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    if device not in devices or dtype not in kernel.dtypes or (packed and not kernel.documents):
        return None
    return _tried(operator, kernel, dtype, foreign, own, inputs)


_REFUSALS: dict[Any, str] = {}
"""Why a kernel is not to be used, "" if it is, for each device, precision and size of heads that was tried."""


@torch.compiler.disable(reason="imports and tries; what is found is called from the graph")
def _tried(
    operator: str,
    kernel: Kernel,
    dtype: torch.dtype,
    foreign: Foreign,
    own: Function,
    inputs: tuple[Tensor, ...],
) -> Function | None:
    if not inputs[0].numel():  # experts for which there are no tokens: nothing to try it on
        return None
    function = _imported(kernel)
    if isinstance(function, ModuleNotFoundError) and function.name == kernel.module.partition(".")[0]:
        return None  # not installed
    grad = torch.is_grad_enabled() and any(part.requires_grad for part in inputs)
    sizes = tuple(part.shape[2:] for part in inputs)
    key = (function, inputs[0].device.type, dtype, grad, sizes)
    refusal = _REFUSALS.get(key)
    if refusal is None:
        try:
            refusal = _REFUSALS[key] = _refusal(function, kernel, dtype, own, inputs, grad)
        except torch.OutOfMemoryError as error:  # which says nothing of the kernel: it is tried again
            refusal = _told(error)
        if refusal:
            warnings.warn(f"{kernel.package} is not used for {operator}: {refusal}", stacklevel=2)
    if isinstance(function, Exception) or refusal:
        foreign.refused[operator] = refusal
        return None
    foreign.used.add(operator)
    return partial(kernel.adapt, function, dtype)


def _refusal(
    function: Function | Exception,
    kernel: Kernel,
    dtype: torch.dtype,
    own: Function,
    inputs: tuple[Tensor, ...],
    grad: bool,
) -> str:
    """Why a function is not to be used in place of our own form; empty if nothing speaks against it.

    Raises torch.OutOfMemoryError if there is no memory to tell.
    """
    if isinstance(function, Exception):
        return _told(function)
    part = _part(kernel, inputs)
    our = _outcome(own, part, grad)
    try:
        their = _outcome(partial(kernel.adapt, function, dtype), part, grad)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a package for GPUs may raise anything
        return _told(error)
    rounding = 1e-3 * _norm(our["output 0"])  # what a gradient may be that is zero but for rounding
    for name, ours in our.items():
        if their[name].shape != ours.shape:
            return f"{name} has shape {tuple(their[name].shape)}, not {tuple(ours.shape)}"
        distance, norm = _norm(their[name] - ours), _norm(ours)
        if not distance <= TOLERANCE * (norm + rounding):
            return f"{name} is off by {distance:.3g}, where ours has norm {norm:.3g}"
    return ""


def _norm(x: Tensor) -> float:
    return float(torch.linalg.vector_norm(x, dtype=torch.float32))


@torch.no_grad()
def _part(kernel: Kernel, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The beginning of the first sequences, or what is around their first border of documents; some rows of experts."""
    layout = kernel.layout.split()
    if "E" in layout:
        return _few_rows(*inputs)
    begin = 0
    if kernel.documents and len(inputs) == len(layout):
        borders = starts(inputs[-1][:SEQUENCES])[:, 1:].any(dim=0).nonzero()
        if len(borders):
            latest = max(0, inputs[-1].shape[1] - kernel.tokens)
            begin = min(max(0, int(borders[0]) + 1 - kernel.tokens // 2), latest)
    parts = []
    for part, letters in zip(inputs, layout, strict=False):
        if letters.startswith("B"):
            part = part[:SEQUENCES]
        if letters.startswith("BL"):
            part = part[:, begin : begin + kernel.tokens]
        parts.append(part)
    return tuple(parts)


def _few_rows(
    x_RD: Tensor, rows_E: Tensor, gate_up_EDF: Tensor, out_EFD: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Some rows of the expert with the fewest, who may have none, and of those with the most."""
    order_E = rows_E.argsort()
    few_E = torch.cat([order_E[:1], order_E[1:][1 - EXPERTS :]]).sort().values
    of_each = x_RD.split(rows_E.tolist())
    x_RD = torch.cat([of_each[expert][:ROWS] for expert in few_E.tolist()])
    return x_RD, rows_E[few_E].clamp(max=ROWS), gate_up_EDF[few_E], out_EFD[few_E]


def _outcome(form: Function, inputs: tuple[Tensor, ...], grad: bool) -> dict[str, Tensor]:
    """What a form gives for `inputs`, and the gradients of half the squares of the first of it."""
    leaves = [part.detach().requires_grad_(grad and part.is_floating_point()) for part in inputs]
    # What is saved for these gradients is nothing of the network's.
    with torch.autograd.graph.saved_tensors_hooks(lambda part: part, lambda part: part):
        outputs = form(*leaves)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    found = {f"output {number}": output.detach() for number, output in enumerate(outputs)}
    if grad:
        wanted = [leaf for leaf in leaves if leaf.requires_grad]
        pull = outputs[0].detach()
        gradients = torch.autograd.grad(outputs[0], wanted, pull, materialize_grads=True)
        found |= {f"gradient {number}": gradient for number, gradient in enumerate(gradients)}
    return found


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


@lru_cache
def _imported(kernel: Kernel) -> Function | Exception:
    """The function, or why it cannot be had; tried once."""
    try:
        return getattr(importlib.import_module(kernel.module), kernel.name)
    except Exception as error:  # a package for GPUs may raise anything where there is none
        return error
