"""Packed documents: several of them one after the other in a sequence, none of which may see another.

Letters in tensor names: B batch, L length, M chunks, Q (and R) positions in a chunk.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor


def refuse_both(state: Any, segments_BL: Tensor | None) -> None:
    """Raises ValueError if there are a state and segments: of packed documents each starts from nothing."""
    if state is not None and segments_BL is not None:
        raise ValueError(
            "a state cannot be continued by packed documents, each of which starts from nothing: "
            "give either state or segments_BL"
        )


def starts(segments_BL: Tensor) -> Tensor:
    """Whether a token is the first of its document, [B, L]."""
    first_BL = torch.ones_like(segments_BL, dtype=torch.bool)
    first_BL[:, 1:] = segments_BL[:, 1:] != segments_BL[:, :-1]
    return first_BL


def positions(segments_BL: Tensor) -> Tensor:
    """The place of each token in its document, counted from 0, [B, L]."""
    places_L = torch.arange(segments_BL.shape[1], device=segments_BL.device)
    return places_L - (places_L * starts(segments_BL)).cummax(dim=1).values


def each_alone(apply: Callable[[Tensor], Tensor], x_BLD: Tensor, segments_BL: Tensor) -> Tensor:
    """What `apply` gives for each document, [1, L, D], by itself; for what cannot stop at the edge of one."""
    rows = []
    for x_LD, first_L in zip(x_BLD, starts(segments_BL), strict=True):
        begins = first_L.nonzero().flatten()
        sizes = torch.diff(begins, append=begins.new_tensor([len(x_LD)])).tolist()
        rows.append(torch.cat([apply(part_LD[None]) for part_LD in x_LD.split(sizes)], dim=1))
    return torch.cat(rows)


class Chunks(NamedTuple):
    """What is of one document where a sequence is cut into chunks.

    segments_BMQ: the document of each token. same_BMQR: whether two tokens of a chunk are of one document.
    enters_BMQ: whether a token's document began before the chunk. leaves_BMQ: whether it reaches the chunk's end.
    passes_BM: whether one document fills the chunk and began before it.
    """

    segments_BMQ: Tensor
    same_BMQR: Tensor
    enters_BMQ: Tensor
    leaves_BMQ: Tensor
    passes_BM: Tensor


def chunks(segments_BL: Tensor, chunk: int) -> Chunks:
    """The documents of a sequence in chunks; the last one is filled up with its last document.

    The first document counts as begun before the sequence, where a recurrence has its first state.
    """
    length = segments_BL.shape[1]
    places = torch.arange(length + -length % chunk, device=segments_BL.device).clamp(max=length - 1)
    segments_BMQ = segments_BL[:, places].unflatten(1, (-1, chunk))
    last_BM = segments_BMQ[..., -1]
    before_BM = torch.cat([segments_BL[:, :1], last_BM[:, :-1]], dim=1)
    return Chunks(
        segments_BMQ,
        segments_BMQ[..., :, None] == segments_BMQ[..., None, :],
        segments_BMQ == before_BM[..., None],
        segments_BMQ == last_BM[..., None],
        last_BM == before_BM,
    )


def cumsum(x_BMQH: Tensor, segments_BMQ: Tensor) -> Tensor:
    """Sums [B, M, Q, ...] over the tokens of a document and chunk up to each, in log Q steps of twice the reach.

    A difference of ordinary cumulative sums would be the same but for rounding, which would leak.
    """
    reach = 1
    while reach < x_BMQH.shape[2]:
        same_BMQ = segments_BMQ[:, :, reach:] == segments_BMQ[:, :, :-reach]
        other = (~same_BMQ)[..., *[None] * (x_BMQH.dim() - 3)]
        earlier_BMQH = x_BMQH[:, :, :-reach].masked_fill(other, 0)
        x_BMQH = torch.cat([x_BMQH[:, :, :reach], x_BMQH[:, :, reach:] + earlier_BMQH], dim=2)
        reach *= 2
    return x_BMQH
