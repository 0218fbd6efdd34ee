"""What a block takes when it runs: FLOPs, memory for its gradient, memory behind its state.

Letters in tensor names: B batch, L length, D width.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from spaces.blocks.base import Block


def count_flops(module: nn.Module, x: Tensor) -> int:
    """FLOPs of `module(x)` by torch's counter.

    The counter misses two fast paths on CPU, so here attention runs as explicit matrix products (its `MATH`
    backend), and each tap of a short convolution (one `addcmul`) counts 2 a multiply-add, as a conv1d would.
    """

    def addcmul(base: Any, inputs: Any, factors: Any, *, out_shape: Any, **_: Any) -> int:
        # A tap has one factor a channel; all other addcmuls are elementwise work, which is free.
        return 2 * torch.Size(out_shape).numel() if len(factors) == 1 else 0

    taps = dict.fromkeys((torch.ops.aten.addcmul, torch.ops.aten.addcmul_), addcmul)
    counter = FlopCounterMode(display=False, custom_mapping=taps)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        module(x)
    return counter.get_total_flops()


def kept_bytes(block: Block, x_BLD: Tensor, segments_BL: Tensor | None = None) -> int:
    """Bytes of all memory that autograd keeps for the gradient of the block's output, each counted once."""
    kept: dict[int, int] = {}
    tensors = []  # held, so that no memory is used twice

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        tensors.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y_BLD, _ = block(x_BLD, None, segments_BL)
    assert y_BLD.requires_grad
    return sum(kept.values())


def held_bytes(state: object) -> int:
    """Bytes of the memory behind all tensors of a state, which views may share with what they were cut from."""
    if isinstance(state, Tensor):
        return state.untyped_storage().nbytes()
    return sum(map(held_bytes, state)) if isinstance(state, tuple) else 0
