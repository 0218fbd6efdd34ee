"""Kernels of other packages for operators of blocks: what each is called there, and how it is called.

An adapter brings the inputs of our own form into a package's layout, and what it returns back into ours.

`tests/spaces/blocks/test_foreign_packages.py` holds the adapters to the packages themselves: flash-linear-attention
0.6.0 and the Triton kernels of mamba-ssm 2.3.2 in Triton's interpreter on a CPU (float32 and float16, as it cannot
multiply bfloat16), mamba-ssm's selective scan, which is CUDA, by the reference that comes with it and the checks of its
source. None was run on a GPU yet. There Triton multiplies float32 in TF32, unless TRITON_F32_DEFAULT is "ieee".

Letters in tensor names: B batch, L length, H heads, K key and V value dimensions of a head, N state, I inner width, R
rows, E experts, D width, F hidden units.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from spaces.blocks.chunking import chunk_size
from spaces.blocks.documents import starts

TOKENS = 160
"""Of a sequence that most kernels are tried with."""

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
