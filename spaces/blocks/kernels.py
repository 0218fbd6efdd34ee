"""Where kernels of other packages compute what blocks compute, and how each is tried before it is used.

Blocks name their operator, our own form of it and its inputs (`base.dispatch`); `adapters.py` says which kernel another
package has for it. Before a kernel is used, it is tried: once for each device, precision and size of heads, in each
process, it has to give what our own form gives for a small part of the first inputs, forward and, where there are
gradients, backward. One that fails, or that gives something else, is left out, and the trial says so.

Letters in tensor names: B batch, L length, R rows, E experts, D width, F hidden units.
"""

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from spaces.blocks.adapters import KERNELS, Function, Kernel
from spaces.blocks.base import FOREIGN
from spaces.blocks.documents import starts
from spaces.errors import InvalidInput, suggest

TOLERANCE = 0.05
"""How far what a kernel gives may be from our own, relative to its norm: bfloat16 and TF32 stay well below, another
layout, sign or scale does not."""

SEQUENCES, EXPERTS, ROWS = 2, 4, 64
"""What a kernel is tried with has at most so many sequences, experts, and rows of each: little memory beside that of a
training step. Tokens: `adapters.TOKENS`."""


@dataclass(frozen=True)
class Foreign:
    """The operators for which kernels of other packages are used, and why they are not used for others."""

    used: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)


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
