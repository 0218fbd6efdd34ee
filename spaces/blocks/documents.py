"""Packed documents: several of them one after the other in a sequence, none of which may see another.

Letters in tensor names: B batch, L length, D width, T = B * L tokens, N documents, M chunks or some documents, Q
(and R) positions in a chunk.
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


def numbered(cu_seqlens: Tensor) -> Tensor:
    """The number of the document that each token belongs to, [1, L], from cumulative lengths 0, ..., L.

    Such are what flash-attn and flash-linear-attention take for documents packed in one sequence. Empty documents are
    allowed.

    Raises ValueError if they are no vector that begins at 0 and nowhere falls.
    """
    if cu_seqlens.dim() != 1 or len(cu_seqlens) < 2 or cu_seqlens[0] != 0 or (cu_seqlens.diff() < 0).any():
        raise ValueError(f"cumulative lengths begin at 0 and nowhere fall, unlike {cu_seqlens.tolist()}")
    numbers_N = torch.arange(len(cu_seqlens) - 1, device=cu_seqlens.device)
    return numbers_N.repeat_interleave(cu_seqlens.diff())[None]


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
    """What causal `apply` gives for documents [N, L, D] by themselves; for what cannot stop at the edge of one.

    Documents of a length between two powers of two go together, zeros after the shorter ones: at most twice the
    tokens, in few calls.
    """
    x_TD = x_BLD.flatten(0, 1)
    begins_N = starts(segments_BL).flatten().nonzero().flatten()
    sizes_N = torch.diff(begins_N, append=begins_N.new_tensor([len(x_TD)]))
    places, outputs = [], []
    by_length: dict[int, list[int]] = {}
    for number, size in enumerate(sizes_N.tolist()):
        by_length.setdefault(size.bit_length(), []).append(number)
    for numbers in by_length.values():
        sizes_M = sizes_N[numbers]
        steps_L = torch.arange(int(sizes_M.max()), device=x_BLD.device)
        inside_ML = steps_L < sizes_M[:, None]
        place_ML = (begins_N[numbers, None] + steps_L).clamp(max=len(x_TD) - 1)
        # Selected, since rounding would leak from what merely has no weight.
        y_MLD = apply(x_TD[place_ML].masked_fill(~inside_ML[..., None], 0))
        places.append(place_ML[inside_ML])
        outputs.append(y_MLD[inside_ML])
    return torch.cat(outputs)[torch.cat(places).argsort()].unflatten(0, x_BLD.shape[:2])


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
