"""Kernels of other packages that compute what blocks compute, where they are installed and the device is theirs.

Blocks ask for one by the name of the operator (`base.foreign`) and compute by themselves where there is none. An
adapter brings our tensors into a package's layout, after its documentation, and what it returns back into ours. Those
of flash-linear-attention and mamba-ssm are held to these layouts by stand-ins; the packages themselves, which need a
GPU, were not run.

Letters in tensor names: B batch, L length, H heads, K key and V value dimensions of a head, N state, I inner width, R
rows, E experts, D width, F hidden units.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spaces.blocks.base import FOREIGN
from spaces.blocks.chunking import chunk_size
from spaces.errors import InvalidInput, suggest

Function = Callable[..., Any]


@dataclass(frozen=True)
class Kernel:
    """A function of a package, by its name there.

    adapt: (function, dtype, *arguments of our own form) -> what our own form returns; dtype is what the block computes
    in. devices and dtypes: what it runs on and in. largest: the most dimensions of a head.
    """

    package: str
    module: str
    name: str
    adapt: Callable[..., Any]
    devices: tuple[str, ...] = ("cuda",)
    dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.bfloat16, torch.float16)
    largest: int = 256


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
    # B and C have a dimension of groups; the state is [B, H, K, N] as here.
    y_BLHK, state_BHKN = function(
        u_BLHK,
        dt_BLH,
        a_H,
        b_BLN[:, :, None],
        c_BLN[:, :, None],
        chunk_size=chunk,
        initial_states=state_BHKN,
        return_final_states=True,
    )
    return y_BLHK, state_BHKN


def _selective(
    function: Function,
    dtype: torch.dtype,
    x_BLI: Tensor,
    dt_BLI: Tensor,
    a_NI: Tensor,
    b_BLN: Tensor,
    c_BLN: Tensor,
) -> Tensor:
    # Time stands last there, and channels before states. No state comes in, none is asked for.
    x_BIL, dt_BIL, b_BNL, c_BNL = (
        part.transpose(1, 2).contiguous() for part in (x_BLI, dt_BLI.to(x_BLI.dtype), b_BLN, c_BLN)
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
) -> tuple[Tensor, Tensor]:
    return function(
        q_BLHK, k_BLHK, v_BLHV, decay_BLHK, scale=1.0, initial_state=state_BHKV, output_final_state=True
    )


def _delta(
    function: Function,
    dtype: torch.dtype,
    q_BLHK: Tensor,
    k_BLHK: Tensor,
    v_BLHV: Tensor,
    beta_BLH: Tensor,
    decay_BLH: Tensor,
    state_BHKV: Tensor,
) -> tuple[Tensor, Tensor]:
    q_BLHK, k_BLHK, v_BLHV, beta_BLH = (part.to(dtype) for part in (q_BLHK, k_BLHK, v_BLHV, beta_BLH))
    return function(
        q_BLHK,
        k_BLHK,
        v_BLHV,
        decay_BLH,
        beta_BLH,
        scale=1.0,
        initial_state=state_BHKV,
        output_final_state=True,
    )


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


LOW = (torch.bfloat16, torch.float16)
FLA, MAMBA, TORCH = "flash-linear-attention", "mamba-ssm", "torch"
KERNELS: dict[str, Kernel] = {
    "ssd": Kernel(MAMBA, "mamba_ssm.ops.triton.ssd_combined", "mamba_chunk_scan_combined", _ssd),
    "selective scan": Kernel(
        MAMBA, "mamba_ssm.ops.selective_scan_interface", "selective_scan_fn", _selective
    ),
    "gated linear attention": Kernel(FLA, "fla.ops.gla", "chunk_gla", _gated),
    # It refuses float32.
    "delta": Kernel(FLA, "fla.ops.gated_delta_rule", "chunk_gated_delta_rule", _delta, dtypes=LOW),
    # On CPUs it is a loop too; on GPUs it is fast in bfloat16 alone.
    "experts": Kernel(
        TORCH, "torch.nn.functional", "grouped_mm", _experts, ("cuda", "cpu"), (torch.bfloat16,), 1 << 30
    ),
}
"""The operators of blocks, and the kernel that other packages have for each."""
PREFERENCES = ("auto", "own", *sorted({kernel.package for kernel in KERNELS.values()}))


def check_preference(preference: str) -> None:
    """Raises InvalidInput for what `preferring` does not know."""
    if preference not in PREFERENCES:
        raise InvalidInput(f"unknown kernels {preference!r}{suggest(preference, PREFERENCES)}")


@contextmanager
def preferring(preference: str) -> Iterator[set[str]]:
    """Which kernels blocks use, in this process: those of all packages that are there ("auto"), of one, or "own".

    "auto" uses none on CPUs. Gives the operators for which a kernel of another package was used, as they are. Without
    this all are our own.

    Raises InvalidInput if the preference is unknown, or a package that is named cannot be imported.
    """
    check_preference(preference)
    used: set[str] = set()
    before, chosen = dict(FOREIGN), {}
    for operator, kernel in KERNELS.items():
        if preference in ("auto", kernel.package):
            function = _imported(kernel)
            if function is not None:
                devices = ("cuda",) if preference == "auto" else kernel.devices
                chosen[operator] = partial(_find, operator, kernel, function, devices, used)
            elif preference != "auto":
                raise InvalidInput(
                    f"kernels {preference!r} were asked for, but {kernel.module}.{kernel.name} cannot be imported here"
                )
    FOREIGN.clear()
    FOREIGN.update(chosen)
    try:
        yield used
    finally:
        FOREIGN.clear()
        FOREIGN.update(before)


def _find(
    operator: str,
    kernel: Kernel,
    function: Function,
    devices: tuple[str, ...],
    used: set[str],
    x: Tensor,
    head_dim: int,
) -> Function | None:
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    if device not in devices or dtype not in kernel.dtypes or head_dim > kernel.largest:
        return None
    used.add(operator)
    return partial(kernel.adapt, function, dtype)


@lru_cache
def _imported(kernel: Kernel) -> Function | None:
    """The function, None where its package is not there or not usable; tried once."""
    try:
        return getattr(importlib.import_module(kernel.module), kernel.name, None)
    except Exception:  # a package for GPUs may raise anything where there is none
        return None
