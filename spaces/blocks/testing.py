"""The conformance suite of blocks: a new block joins by one `BlockCase`.

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    @pytest.mark.parametrize("case", [BlockCase("mine", make, twin, cost, width=16)], ids=str)
    def test_block(case, check):
        check(case)

Blocks that are not causal go through `WHOLE_CHECKS`. Each check raises AssertionError with what was compared and by how
much it is off. Letters in tensor names: B batch, L length, D width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spaces.blocks.base import Block, state_bytes, total_aux_loss
from spaces.blocks.measuring import count_flops, held_bytes, kept_bytes
from spaces.blocks.width import width_dimensions
from spaces.cost import Cost

LENGTHS = (1, 2, 63, 64, 65, 257)
DOCUMENTS = ((1, 63, 64, 65, 5), (63, 2, 1, 130, 2))
"""Lengths of packed documents, those of two sequences: they begin on, before and after where chunks do."""


@dataclass(frozen=True)
class BlockCase:
    """One block with one setting.

    make: builds it for a width, in float32. twin: its slow form, (block, x_BLD) -> y_BLD. cost: context -> Cost,
    children included. square: what the block keeps for its gradient grows by the square of the length. columns: tokens
    of a row, where the block reads images; lengths are rounded up to whole rows.
    """

    name: str
    make: Callable[[int], Block]
    twin: Callable[[Any, Tensor], Tensor]
    cost: Callable[[int], Cost]
    width: int
    square: bool = False
    columns: int = 1

    def __str__(self) -> str:
        return self.name

    def build(self, dtype: torch.dtype) -> Block:
        """The block, always with the same weights."""
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            return self.make(self.width).to(dtype)

    def length(self, least: int) -> int:
        """The next length of whole rows."""
        return least + -least % self.columns

    def inputs(self, batch: int, length: int, dtype: torch.dtype) -> Tensor:
        """Normal inputs [B, L, D], always the same for the same shape."""
        generator = torch.Generator().manual_seed(1)
        return torch.randn(
            batch, self.length(length), self.width, generator=generator, dtype=torch.float64
        ).to(dtype)


def matches_twin(case: BlockCase, lengths: Sequence[int] = LENGTHS) -> None:
    """Outputs and the gradients of inputs and of all parameters equal the twin's, in float64."""
    for length in lengths:
        block = case.build(torch.float64)
        x_BLD = case.inputs(2, length, torch.float64).requires_grad_()
        names, leaves = ["input"], [x_BLD]
        for name, parameter in block.named_parameters():
            names.append(name)
            leaves.append(parameter)
        y_BLD, state = block(x_BLD)
        assert state is None, f"{case}: a call without a state returned one: {state}"
        twin_BLD = case.twin(block, x_BLD)
        _assert_close(y_BLD, twin_BLD, 1e-9, f"{case}: output at length {length}")
        pull_BLD = torch.randn(y_BLD.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        # What the output does not depend on, as a threshold that only the auxiliary loss moves, has a gradient of 0.
        ours = torch.autograd.grad(y_BLD, leaves, pull_BLD, materialize_grads=True)
        theirs = torch.autograd.grad(twin_BLD, leaves, pull_BLD, materialize_grads=True)
        for name, our, their in zip(names, ours, theirs, strict=True):
            _assert_close(our, their, 1e-8, f"{case}: gradient of {name} at length {length}")


def is_causal(case: BlockCase, length: int = 130) -> None:
    """Changing token t changes the output at t and none before it."""
    block = case.build(torch.float64)
    x_BLD = case.inputs(2, length, torch.float64)
    with torch.no_grad():
        y_BLD, _ = block(x_BLD)
        for t in (0, 1, 37, 63, 64, length - 1):
            changed_BLD = x_BLD.clone()
            changed_BLD[:, t] += 1
            z_BLD, _ = block(changed_BLD)
            _assert_close(z_BLD[:, :t], y_BLD[:, :t], 1e-12, f"{case}: outputs before the changed token {t}")
            assert not torch.allclose(z_BLD[:, t], y_BLD[:, t]), (
                f"{case}: token {t} does not reach its own output"
            )


def is_not_causal(case: BlockCase, length: int = 130) -> None:
    """A block that is not causal says so: a token changes outputs before it. It refuses states and documents."""
    block = case.build(torch.float64)
    assert not block.causal, f"{case}: is declared causal"
    x_BLD = case.inputs(2, length, torch.float64)
    changed_BLD = x_BLD.clone()
    middle = x_BLD.shape[1] // 2
    changed_BLD[:, middle] += 1
    with torch.no_grad():
        (y_BLD, _), (z_BLD, _) = block(x_BLD), block(changed_BLD)
    assert not torch.allclose(z_BLD[:, :middle], y_BLD[:, :middle]), (
        f"{case}: token {middle} changes none before it"
    )
    segments_BL = torch.zeros(x_BLD.shape[:2], dtype=torch.long)
    for what, call in (
        ("a state", lambda: block(x_BLD, ())),
        ("documents", lambda: block(x_BLD, None, segments_BL)),
        ("being asked for a state", lambda: block.init_state(2)),
    ):
        try:
            call()
        except ValueError:
            continue
        raise AssertionError(f"{case}: {what} is not refused")


def continues_from_state(case: BlockCase, length: int = 150) -> None:
    """Token by token, in uneven chunks and at once give the same outputs and states of the same size."""
    block = case.build(torch.float32)
    x_BLD = case.inputs(2, length, torch.float32)
    with torch.no_grad():
        whole_BLD, _ = block(x_BLD)
        ends = set()
        for sizes in ((1,) * length, (length,), (1, 5, 64, 1, length - 71), (90, 1, 1, length - 92)):
            state: Any = block.init_state(2)
            parts = []
            for part_BLD in x_BLD.split(sizes, dim=1):
                y_BLD, state = block(part_BLD, state)
                parts.append(y_BLD)
            how = "token by token" if sizes[0] == sizes[-1] == 1 else f"in chunks of {sizes}"
            _assert_close(torch.cat(parts, dim=1), whole_BLD, 1e-5, f"{case}: output {how}")
            ends.add(state_bytes(state))
    assert len(ends) == 1, f"{case}: the size of the last state depends on the chunks: {sorted(ends)} bytes"


def trains_in_pieces(case: BlockCase, sizes: Sequence[int] = (7, 1, 2, 30)) -> None:
    """Gradients through states are those of the sequence at once; cut off at states, each piece has its own loss."""
    block = case.build(torch.float64).train()
    x_BLD = case.inputs(2, sum(sizes), torch.float64).requires_grad_()
    state: Any = block.init_state(2)
    parts = []
    for part_BLD in x_BLD.split(list(sizes), dim=1):
        y_BLD, state = block(part_BLD, state)
        parts.append(y_BLD)
    whole_BLD, _ = block(x_BLD)
    pull_BLD = torch.randn(whole_BLD.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    leaves = {"input": x_BLD, **dict(block.named_parameters())}
    outputs = (torch.cat(parts, dim=1), whole_BLD)
    ours, theirs = (
        torch.autograd.grad(y_BLD, list(leaves.values()), pull_BLD, materialize_grads=True)
        for y_BLD in outputs
    )
    for name, our, their in zip(leaves, ours, theirs, strict=True):
        _assert_close(our, their, 1e-8, f"{case}: gradient of {name} through states")
    state = block.init_state(2)
    for part_BLD in x_BLD.split(list(sizes), dim=1):
        y_BLD, state = block(part_BLD, _detached(state))
        try:
            _loss(block, y_BLD).backward()
        except RuntimeError as error:
            raise AssertionError(f"{case}: a piece has no loss of its own: {error}") from error


def _detached(state: Any) -> Any:
    """A state, the same but for gradients, which go no further back."""
    if isinstance(state, Tensor):
        return state.detach()
    return tuple(map(_detached, state)) if isinstance(state, tuple) else state


def keeps_states_intact(case: BlockCase) -> None:
    """A state may be continued twice, with the same result, and holds no more memory than it says."""
    block = case.build(torch.float32)
    x_BLD = case.inputs(2, 12, torch.float32)
    with torch.no_grad():
        _, state = block(x_BLD[:, :8], block.init_state(2))
        once_BLD, _ = block(x_BLD[:, 8:], state)
        again_BLD, _ = block(x_BLD[:, 8:], state)
    assert torch.equal(once_BLD, again_BLD), f"{case}: continuing the same state twice gives two results"
    held = held_bytes(state)
    assert held == state_bytes(state), f"{case}: the state of {state_bytes(state)} bytes keeps {held} alive"


def packs_documents(case: BlockCase) -> None:
    """Packed documents give what each gives alone, no gradient crosses between them, and no state goes with them.

    Documents of some tokens only, or of one sequence for all, are refused.
    """
    block = case.build(torch.float64)
    x_BLD = case.inputs(2, sum(DOCUMENTS[0]), torch.float64).requires_grad_()
    # Numbers of documents need neither rise nor start at 0.
    segments_BL = torch.stack(
        [torch.arange(len(sizes), 0, -1).repeat_interleave(torch.tensor(sizes)) for sizes in DOCUMENTS]
    )
    y_BLD, _ = block(x_BLD, None, segments_BL)
    pull_BLD = torch.randn(y_BLD.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for row, sizes in enumerate(DOCUMENTS):
        start = 0
        for size in sizes:
            place = (slice(row, row + 1), slice(start, start + size))
            where = f"of the document of {size} tokens at {start}"
            alone_BLD, _ = block(x_BLD[place])
            _assert_close(y_BLD[place], alone_BLD, 1e-9, f"{case}: output {where}")
            [ours] = torch.autograd.grad(y_BLD[place], x_BLD, pull_BLD[place], retain_graph=True)
            [theirs] = torch.autograd.grad(alone_BLD, x_BLD, pull_BLD[place])
            _assert_close(ours, theirs, 1e-8, f"{case}: gradient {where}")
            ours[place] = 0
            assert not ours.any(), f"{case}: gradient {where} reaches other documents"
            start += size
    for misshaped in (segments_BL[:1], segments_BL[:, 1:], segments_BL[0]):
        try:
            block(x_BLD, None, misshaped)
        except ValueError:
            continue
        raise AssertionError(
            f"{case}: documents of shape {tuple(misshaped.shape)} are taken for inputs {tuple(x_BLD.shape)}"
        )
    state = block.init_state(2)
    if state_bytes(block(x_BLD, state)[1]):
        try:
            block(x_BLD, state, segments_BL)
        except ValueError:
            return
        raise AssertionError(f"{case}: packed documents continue a state")


def refuses_empty_inputs(case: BlockCase) -> None:
    """Inputs without sequences or tokens are one clear error, where kernels would each do something else."""
    block = case.build(torch.float32)
    for batch, length in ((0, 3), (2, 0)):
        x_BLD = torch.empty(batch, case.length(length), case.width)
        calls = {"alone": lambda x_BLD: block(x_BLD)}
        if block.causal:
            calls["with a state"] = lambda x_BLD: block(x_BLD, block.init_state(len(x_BLD)))
            calls["packed"] = lambda x_BLD: block(x_BLD, None, torch.zeros(x_BLD.shape[:2], dtype=torch.long))
        for how, call in calls.items():
            what = f"{case}: an input of shape {tuple(x_BLD.shape)} {how}"
            try:
                call(x_BLD)
            except Exception as error:  # what torch raises has no common type
                if not (isinstance(error, ValueError) and "was given no tokens" in str(error)):
                    raise AssertionError(f"{what} fails by {error!r}") from error
            else:
                raise AssertionError(f"{what} is not refused")


def exports(case: BlockCase, length: int = 70) -> None:
    """`torch.export` accepts the block, for batches of any size, and what it writes gives the same outputs."""
    block = case.build(torch.float32).eval()
    dynamic_shapes = ({0: torch.export.Dim("batch")},)
    inputs = (case.inputs(2, length, torch.float32),)
    try:
        program = torch.export.export(block, inputs, dynamic_shapes=dynamic_shapes, strict=False).module()
    except Exception as error:  # what torch raises has no common type
        raise AssertionError(f"{case}: cannot be exported: {error}") from error
    for batch in (1, 3):
        x_BLD = case.inputs(batch, length, torch.float32)
        with torch.no_grad():
            _assert_close(program(x_BLD)[0], block(x_BLD)[0], 1e-5, f"{case}: exported output")


def exports_states_and_documents(case: BlockCase, length: int = 40) -> None:
    """A graph exported with a state, or with packed documents, gives what the block gives; or export is an error."""
    block = case.build(torch.float32).eval()
    x_BLD = case.inputs(2, length, torch.float32)
    segments_BL = torch.stack([torch.arange(length) // 7, torch.arange(length) // 30])
    with torch.no_grad():
        _, state = block(x_BLD[:, :5], block.init_state(2))
    for what, extra in (("after a state", (state, None)), ("of packed documents", (None, segments_BL))):
        try:
            program = torch.export.export(block, (x_BLD, *extra), strict=False).module()
        except Exception:  # documents that are read each alone have shapes of their own
            continue
        with torch.no_grad():
            ours_BLD, theirs_BLD = (form(x_BLD, *extra)[0] for form in (program, block))
        _assert_close(ours_BLD, theirs_BLD, 1e-5, f"{case}: exported output {what}")


def compiles(case: BlockCase, length: int = 70) -> None:
    """`torch.compile` accepts the block: outputs and gradients are those of the block as it is.

    What is traced is held, not what a backend makes of it (that of the check runs the graph as it stands), so that no
    compiler is needed.
    """
    block = case.build(torch.float64)
    x_BLD = case.inputs(2, length, torch.float64).requires_grad_()
    leaves = [x_BLD, *block.parameters()]
    torch._dynamo.reset()
    compiled = torch.compile(block, backend="aot_eager")
    results = []
    for name, form in (("compiled", compiled), ("plain", block)):
        try:
            y_BLD, _ = form(x_BLD)
            gradients = torch.autograd.grad(y_BLD.square().sum(), leaves, materialize_grads=True)
        except Exception as error:  # what torch raises has no common type
            raise AssertionError(f"{case}: the {name} form fails: {error}") from error
        results.append((y_BLD, *gradients))
    for ours, theirs in zip(*results, strict=True):
        _assert_close(ours, theirs, 1e-12, f"{case}: compiled output or gradient")


def tells_width(case: BlockCase) -> None:
    """Which dimensions of its parameters are width can be told, and they are the same from any width on."""
    try:
        tags, others = (width_dimensions(case.make, width) for width in (case.width, 3 * case.width))
    except ValueError as error:
        raise AssertionError(f"{case}: {error}") from error
    assert tags == others, f"{case}: {tags} grow from width {case.width}, {others} from {3 * case.width}"
    assert any(map(any, tags.values())), f"{case}: no parameter grows with the width"


def keeps_linear_memory(case: BlockCase, length: int = 512) -> None:
    """What is kept for the gradient grows with the length, or by the square where the case says so.

    Of packed documents, which do not grow, it is linear in how many there are.
    """
    block = case.build(torch.float32)
    lengths = [length, 2 * length, 4 * length]
    for packed in (False, True) if block.causal else (False,):
        kept = []
        for total in lengths:
            x_BLD = case.inputs(1, total, torch.float32).requires_grad_()
            documents_BL = torch.arange(total)[None] // 128 if packed else None
            kept.append(kept_bytes(block, x_BLD, documents_BL))
        first, second = kept[1] - kept[0], kept[2] - kept[1]
        assert second <= (4.1 if case.square and not packed else 2.1) * first, (
            f"{case}: {kept} bytes are kept for the gradient at {', '.join(map(str, lengths))} tokens"
            f"{', in documents of 128' if packed else ''}"
        )


def ignores_batch_order(case: BlockCase) -> None:
    """A sequence's output depends on no other sequence of its batch."""
    block = case.build(torch.float64)
    x_BLD = case.inputs(4, 70, torch.float64)
    order = torch.tensor([2, 0, 3])
    with torch.no_grad():
        y_BLD, _ = block(x_BLD)
        shuffled_BLD, _ = block(x_BLD[order])
    _assert_close(shuffled_BLD, y_BLD[order], 1e-12, f"{case}: outputs of a reordered part of the batch")


def survives_bfloat16(case: BlockCase, length: int = 512, largest: float = 1e3) -> None:
    """Outputs and gradients are finite for bfloat16 weights and inputs of up to `largest`."""
    block = case.build(torch.bfloat16)
    x_BLD = case.inputs(2, length, torch.float32)
    x_BLD = (x_BLD / x_BLD.abs().max() * largest).to(torch.bfloat16).requires_grad_()
    y_BLD, _ = block(x_BLD)
    assert y_BLD.dtype == torch.bfloat16, f"{case}: bfloat16 in, {y_BLD.dtype} out"
    assert y_BLD.isfinite().all(), f"{case}: output is not finite"
    _loss(block, y_BLD).backward()
    for name, leaf in (("input", x_BLD), *block.named_parameters()):
        assert leaf.grad is not None, f"{case}: {name} gets no gradient"
        assert leaf.grad.isfinite().all(), f"{case}: gradient of {name} is not finite"


def runs_under_autocast(case: BlockCase) -> None:
    """Float32 weights under bfloat16 autocast give finite outputs and gradients, with a state and without."""
    block = case.build(torch.float32)
    x_BLD = case.inputs(2, 70, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y_BLD, _ = block(x_BLD)
        loss = _loss(block, y_BLD)
        outputs = [y_BLD]
        if block.causal:
            begun_BLD, state = block(x_BLD[:, :40], block.init_state(2))
            continued_BLD, _ = block(x_BLD[:, 40:], state)
            outputs += [begun_BLD, continued_BLD]
    assert torch.cat(outputs, dim=1).isfinite().all(), f"{case}: output is not finite"
    loss.backward()
    for name, parameter in block.named_parameters():
        assert parameter.grad is not None, f"{case}: {name} gets no gradient"
        assert parameter.grad.isfinite().all(), f"{case}: gradient of {name} is not finite"


def costs_as_declared(case: BlockCase, contexts: Sequence[int] = (1, 64, 100, 128)) -> None:
    """Parameters, FLOPs and state bytes of the built block are those of its cost function."""
    block = case.build(torch.float32)
    parameters = sum(parameter.numel() for parameter in block.parameters())
    for context in map(case.length, contexts):
        cost = case.cost(context)
        assert cost.parameters == parameters, (
            f"{case}: {cost.parameters} parameters declared, {parameters} built"
        )
        assert 0 <= cost.active_parameters <= parameters, (
            f"{case}: {cost.active_parameters} active parameters"
        )
        flops = count_flops(block, case.inputs(1, context, torch.float32))
        declared = round(cost.flops_per_token * context)
        assert declared == flops, f"{case}: {declared} FLOPs declared at {context}, {flops} counted"
        kept = 0
        if block.causal:
            with torch.no_grad():
                _, state = block(case.inputs(1, context, torch.float32), block.init_state(1))
            kept = state_bytes(state)
        assert cost.state_bytes == kept, (
            f"{case}: {cost.state_bytes} state bytes declared at {context}, {kept} kept"
        )


COMMON_CHECKS: tuple[Callable[[BlockCase], None], ...] = (
    matches_twin,
    exports,
    compiles,
    tells_width,
    keeps_linear_memory,
    ignores_batch_order,
    survives_bfloat16,
    runs_under_autocast,
    costs_as_declared,
    refuses_empty_inputs,
)

CHECKS = (
    *COMMON_CHECKS,
    is_causal,
    continues_from_state,
    trains_in_pieces,
    keeps_states_intact,
    packs_documents,
    exports_states_and_documents,
)

WHOLE_CHECKS = (*COMMON_CHECKS, is_not_causal)
"""Those of blocks that are not causal."""


def _loss(block: Block, y_BLD: Tensor) -> Tensor:
    """A loss of an output that has just been computed, with the auxiliary one."""
    loss, aux_loss = y_BLD.float().mean(), total_aux_loss(block)
    return loss if aux_loss is None else loss + aux_loss


def _assert_close(ours: Tensor, theirs: Tensor, tolerance: float, what: str) -> None:
    """Largest difference at most `tolerance` times the largest value (or 1)."""
    scale = max(1.0, theirs.abs().max().item()) if theirs.numel() else 1.0
    difference = (ours - theirs).abs().max().item() if theirs.numel() else 0.0
    assert difference <= tolerance * scale, (
        f"{what} differs by {difference:.2e}; allowed {tolerance:.0e} of {scale:.3g}"
    )
