"""What every block is: a causal map of a sequence onto one of the same shape, with a state for decoding.

Letters in tensor names: B batch, L length, D width.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

State = tuple[Any, ...]
"""What a block remembers: tensors, position counters and states of children, nested in tuples."""


FOREIGN: dict[
    str, Callable[[Callable[..., Any], Tensor, tuple[Tensor, ...], bool], Callable[..., Any] | None]
] = {}
"""What finds the kernel of another package for an operator, from our own form, what the block was given, the inputs of
the form, and whether the last of them are segments; `spaces.blocks.kernels` fills it."""


class Block(nn.Module):
    """A causal layer: changing token t changes no output before t.

    Calling it maps `x_BLD` to `(y_BLD, state)`. Without a state the sequence starts from nothing and nothing
    is kept (None is returned): the fast form for training. With a state, from `init_state` or from an
    earlier call, the sequence continues where that state ended, for any L >= 1, and the new state is
    returned; reading a prompt by chunks and decoding token by token are the same call. States are never
    changed in place, so one may be continued several times.

    `segments_BL` holds the number of the document that each token belongs to, for documents packed one after
    the other: each gives what it would alone, and no gradient crosses into another. Equal numbers stand next
    to each other. Packed documents all start from nothing: a block that keeps a state refuses one together
    with segments (ValueError).

    Every block refuses a width, number or size of parts below 1 by name, inputs without sequences or tokens, and
    segments of another shape than [B, L] (ValueError). One that is not causal, and keeps no state, is `Whole`.
    """

    aux_loss: Tensor | None = None
    """A scalar to add to the training loss, from the last forward in training mode; None if there is none."""

    def __call__(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        if 0 in x_BLD.shape[:2]:
            raise ValueError(
                f"{type(self).__name__} was given no tokens: x_BLD of shape {tuple(x_BLD.shape)}; it needs a sequence "
                "and a token at least"
            )
        if segments_BL is not None and segments_BL.shape != x_BLD.shape[:2]:
            raise ValueError(
                f"{type(self).__name__} was given segments_BL of shape {tuple(segments_BL.shape)} for x_BLD of shape "
                f"{tuple(x_BLD.shape)}: each token of each sequence needs the number of its document"
            )
        result: tuple[Tensor, State | None] = super().__call__(x_BLD, state, segments_BL)
        return result

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        raise NotImplementedError

    def init_state(self, batch: int) -> State:
        """The state before the first token, on the device and in the dtype of the parameters."""
        return ()

    @property
    def causal(self) -> bool:
        """Whether no token changes outputs before it: unless a block inside reads all tokens at once."""
        return not any(isinstance(module, Whole) for module in self.modules())

    def __getstate__(self) -> dict[str, Any]:
        # The auxiliary loss hangs on an autograd graph, which can be neither copied nor pickled.
        return {key: value for key, value in self.__dict__.items() if key != "aux_loss"}


class Whole(Block):
    """A layer over the tokens of an image, all at once, so that each of them may change every output: not causal.

    Tokens come row by row, `columns` of them in each. A call gives (y_BLD, None).

    Raises ValueError if it is given a state or segments, is asked for a state, or tokens do not fill rows.
    """

    columns = 1

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        if state is not None or segments_BL is not None:
            raise ValueError(
                f"{type(self).__name__} reads all tokens at once: it takes no state and no segments_BL"
            )
        if x_BLD.shape[1] % self.columns:
            raise ValueError(f"{x_BLD.shape[1]} tokens do not fill rows of {self.columns}")
        return self.mixed(x_BLD), None

    def mixed(self, x_BLD: Tensor) -> Tensor:
        """What becomes of all tokens, [B, L, D]."""
        raise NotImplementedError

    def init_state(self, batch: int) -> State:
        raise ValueError(f"{type(self).__name__} reads all tokens at once: it keeps no state")


def check_sizes(**sizes: int) -> None:
    """Raises ValueError, with its name, for a size below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} {size} is below 1")


def state_bytes(state: object) -> int:
    """Bytes of all tensors in a (nested) state; position counters count nothing."""
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    if isinstance(state, tuple):
        return sum(state_bytes(part) for part in state)
    return 0


def total_aux_loss(module: nn.Module) -> Tensor | None:
    """The auxiliary losses of all blocks inside `module`, the mean over each kind of block; None if none has one.

    A mean, as in the code that OLMoE is trained with (MegaBlocks divides by the number of layers), so that the
    weight of these losses is the same in networks with few and with many mixtures; of each kind, as what other kinds
    have to learn takes nothing from it.
    """
    losses: dict[type, list[Tensor]] = {}
    for block in module.modules():
        if isinstance(block, Block) and block.aux_loss is not None:
            losses.setdefault(type(block), []).append(block.aux_loss)
    means = [torch.stack(of_one_kind).mean() for of_one_kind in losses.values()]
    return torch.stack(means).sum() if means else None


def linear(fan_in: int, fan_out: int) -> nn.Linear:
    """A projection without bias, normal with std 1/sqrt(fan_in): it keeps the variance."""
    layer = nn.Linear(fan_in, fan_out, bias=False)
    nn.init.normal_(layer.weight, std=fan_in**-0.5)
    return layer


def rms_norm(width: int) -> nn.RMSNorm:
    """RMSNorm (arXiv 1910.07467) over the last dimension, epsilon 1e-6 in every dtype."""
    return nn.RMSNorm(width, eps=1e-6)


def at_least_float32(x: Tensor) -> Tensor:
    """`x` in float32, or in float64 if it is: for softmaxes, decays and states that bfloat16 would spoil."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def for_sums(log: Tensor) -> Tensor:
    """Logarithms of decays, to be summed: in float64, where the device has it.

    In float32, differences of sums that hold a decay of exp(-10,000) are off by a thousandth, which `from_sums` would
    make a relative error of what follows it.
    """
    return log if log.device.type == "mps" else log.double()


def from_sums(log: Tensor, dtype: torch.dtype) -> Tensor:
    """The decay, of which `log` is a difference of sums of logarithms; computed in float32 at least."""
    return log.to(torch.promote_types(dtype, torch.float32)).exp().to(dtype)


def without_autocast(device: torch.device) -> AbstractContextManager[None]:
    """Where autocast, if it is on, leaves products in the precision of their inputs; the meta device has none."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def dispatch(
    operator: str, own: Callable[..., Any], x_BLD: Tensor, segments_BL: Tensor | None, *inputs: Tensor
) -> Any:
    """What our own form gives for `inputs`, computed by the kernel of another package where one is preferred.

    That is so where `spaces.blocks.kernels.preferring` says, and not for export. x_BLD: what the block was given, on
    whose device and in whose precision it computes. segments_BL: of packed documents; they come after the inputs.
    """
    if segments_BL is not None:
        inputs = (*inputs, segments_BL)
    if operator in FOREIGN and not torch.compiler.is_exporting():
        kernel = FOREIGN[operator](own, x_BLD, inputs, segments_BL is not None)
        if kernel is not None:
            return kernel(*inputs)
    return own(*inputs)
