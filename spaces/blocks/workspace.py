"""Workspace memory: a few slots that chunks of the sequence write, one after the other, and later chunks read.

Letters in tensor names: B batch, L length, D width, S slots, T tokens with those that wait for their chunk to end
before them, P tokens that wait, M chunks, C tokens of a chunk.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spaces.blocks.base import Block, State, at_least_float32, check_sizes, linear
from spaces.blocks.documents import each_alone, refuse_both
from spaces.blocks.scan import linear_scan


class WorkspaceState(NamedTuple):
    """The slots, [B, S, D], and values [B, P, D] and scores [B, P, S] of the tokens of the chunk that has begun."""

    slots_BSD: Tensor
    values_BPD: Tensor
    scores_BPS: Tensor


class Workspace(Block):
    """A latent workspace, as Hydra (Chaudhary et al., arXiv 2508.15099) has beside its product-key memory.

    slots: how many vectors are held. chunk: tokens after which they are written.

        read:   y[t] = linear(sum over slots of softmax(q[t] s / sqrt(D)) s), with the slots before t's chunk
        write:  s <- (1 - g) s + g u, u the mean of the chunk's values by softmax(w x), g = sigmoid(a u + b)

    The paper's are a small set of slots that are written and read as the sequence goes on. That they are written once
    a chunk, by learned queries w that look at tokens alone, and the gate are ours: so all chunks are written at once,
    by one linear scan, and no token reads what a later one wrote, nor its own chunk. Slots begin as learned vectors,
    gates at one half.

    Raises ValueError if slots is below 2, of which a token can choose, or chunk below 1.
    """

    def __init__(self, width: int, *, slots: int, chunk: int) -> None:
        super().__init__()
        check_sizes(width=width, chunk=chunk)
        if slots < 2:
            raise ValueError(f"slots {slots} is below 2: a token chooses what it reads")
        self.chunk = chunk
        self.query = linear(width, width)
        self.value = linear(width, width)
        self.write = linear(width, slots)
        self.first = nn.Parameter(torch.randn(slots, width))
        self.gate = nn.Parameter(torch.randn(slots, width) * width**-0.5)
        self.gate_bias = nn.Parameter(torch.zeros(slots))
        self.out = linear(width, width)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        refuse_both(state, segments_BL)
        if segments_BL is not None:
            return each_alone(lambda x_BLD: self(x_BLD)[0], x_BLD, segments_BL), None
        before = self.init_state(x_BLD.shape[0]) if state is None else WorkspaceState(*state)
        values_BTD = torch.cat([before.values_BPD, self.value(x_BLD)], dim=1)
        scores_BTS = torch.cat([before.scores_BPS, self.write(x_BLD)], dim=1)
        waiting, total = before.values_BPD.shape[1], values_BTD.shape[1]
        tail = -total % self.chunk
        queries_BTD = F.pad(self.query(x_BLD), (0, 0, waiting, tail))
        queries_BMCD, values_BMCD = (
            part.unflatten(1, (-1, self.chunk)) for part in (queries_BTD, F.pad(values_BTD, (0, 0, 0, tail)))
        )
        scores_BMCS = F.pad(scores_BTS, (0, 0, 0, tail), value=-math.inf).unflatten(1, (-1, self.chunk))
        share_BMCS = at_least_float32(scores_BMCS).softmax(dim=2).to(values_BMCD.dtype)
        written_BMSD = at_least_float32(share_BMCS.transpose(2, 3) @ values_BMCD)
        gate_BMS1 = ((written_BMSD * self.gate).sum(dim=-1, keepdim=True) + self.gate_bias[:, None]).sigmoid()
        keep_BMSD = (1 - gate_BMS1).expand_as(written_BMSD)
        slots_BMSD = linear_scan(keep_BMSD, gate_BMS1 * written_BMSD, before.slots_BSD)
        slots_BMSD = torch.cat([at_least_float32(before.slots_BSD)[:, None], slots_BMSD], dim=1)

        # The last chunk may still go on: what it wrote is neither read nor kept.
        read_BMSD = slots_BMSD[:, :-1].to(x_BLD.dtype)
        seen_BMCS = queries_BMCD @ read_BMSD.transpose(2, 3) * queries_BMCD.shape[-1] ** -0.5
        share_BMCS = at_least_float32(seen_BMCS).softmax(dim=-1).to(x_BLD.dtype)
        y_BTD = (share_BMCS @ read_BMSD).flatten(1, 2)
        y_BLD = self.out(y_BTD[:, waiting:total])
        if state is None:
            return y_BLD, None
        done = total // self.chunk
        kept = (slots_BMSD[:, done], values_BTD[:, done * self.chunk :], scores_BTS[:, done * self.chunk :])
        return y_BLD, WorkspaceState(*(part.clone() for part in kept))

    def init_state(self, batch: int) -> WorkspaceState:
        slots, width = self.first.shape
        slots_BSD = at_least_float32(self.first).expand(batch, -1, -1).contiguous()
        return WorkspaceState(
            slots_BSD, self.first.new_zeros(batch, 0, width), self.first.new_zeros(batch, 0, slots)
        )
