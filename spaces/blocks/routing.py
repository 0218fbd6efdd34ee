"""Other ways to pick the experts of a mixture: by the experts, by balanced assignment, by a hash, and once a chunk.

Letters in tensor names: B batch, L length, T = B * L tokens, D width, E experts, K experts a token, P directions.
"""

from statistics import NormalDist
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spaces.blocks.base import State, at_least_float32, check_sizes, linear
from spaces.blocks.documents import positions, refuse_both
from spaces.blocks.moe import Experts, MoE


class ExpertChoiceMoE(Experts):
    """Expert choice (Zhou et al., arXiv 2202.09368), made causal by a threshold for each expert.

    capacity: experts that a token uses on average; the rest as of `Experts`. In the paper each expert takes its
    capacity / experts best tokens of a batch, so that later tokens decide on earlier ones, which no decoder can know.
    Here an expert takes every token whose score is above its threshold, in training as in decoding, and the threshold
    follows the quantile of the scores that would take as many (expert threshold routing, arXiv 2603.11535, whose
    thresholds are moving averages). Ours are parameters, learned by the quantile loss (see `quantile_loss`), which is
    `aux_loss` in training, and nothing else: so a forward pass changes no state. A token may have any number of
    experts, none too. They are weighed by the sigmoid of their score.

    What a model costs is therefore a mean, which holds as far as the thresholds do. They begin where they are right
    for normed inputs. They are sqrt(width) times what is learned, for the reason that `SinkhornMoE` gives.

    Raises ValueError unless 1 <= capacity < experts.
    """

    def __init__(self, width: int, *, experts: int, capacity: int, mult: float, shared: int = 0) -> None:
        super().__init__(width, experts=experts, mult=mult, shared=shared)
        if not 1 <= capacity < experts:
            raise ValueError(f"capacity {capacity} is not from 1 to below the number of experts, {experts}")
        self.passed_over = 1 - capacity / experts
        self.router = linear(width, experts)
        begin = width**-0.5 * NormalDist().inv_cdf(self.passed_over)
        self.threshold = nn.Parameter(torch.full((experts,), begin))

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        score_TE = at_least_float32(self.router(x_BLD.flatten(0, 1)))
        threshold_E = self.thresholds()
        self.aux_loss = (
            quantile_loss(threshold_E, score_TE.detach(), self.passed_over) if self.training else None
        )
        weight_TE = score_TE.sigmoid().masked_fill(score_TE <= threshold_E, 0)
        return self.mixed(x_BLD, weight_TE), state

    def thresholds(self) -> Tensor:
        """What the scores of each expert have to be above, [E], in float32 at least."""
        return self.router.in_features**0.5 * at_least_float32(self.threshold)


def quantile_loss(threshold_E: Tensor, score_TE: Tensor, share: float) -> Tensor:
    """The sum over E of the mean over T of the loss that is least where `share` of the scores are below threshold.

    The gradient of a threshold is the share of the scores below it, less `share` (Koenker and Bassett 1978).
    """
    above_TE = score_TE - threshold_E
    return torch.maximum(share * above_TE, (share - 1) * above_TE).mean(dim=0).sum()


class SinkhornMoE(Experts):
    """One expert a token by balanced assignment, S-BASE (Clark et al., arXiv 2202.01169), made causal by offsets.

        e = argmax over experts of x . w_e + o_e;   y = sigmoid(x . w_e) f_e(x)

    S-BASE takes the most of each token's row of a plan between the tokens of a batch and the experts, in which each
    expert has as much: entropic optimal transport, solved by Sinkhorn's iterations. Later tokens so decide on earlier
    ones, and it trains by other choices than it decodes with, which are the greedy ones. What the iterations find for
    the experts, o, is all that a choice needs of them, as what they find for a token is the same for its experts. So
    here o is a parameter for each expert, learned by the loss whose minimum Sinkhorn's iterations find (see
    `transport_loss`), which is `aux_loss` in training, and nothing else: chosen alike in training and decoding, and
    a forward pass changes no state. That is ours; the plan is even, the tokens that choose an expert about so. The
    sigmoid is that of BASE layers (Lewis et al., arXiv 2103.16716, section 3).

    The arguments are those of `Experts`. Offsets begin at 0, the greedy choice. They are sqrt(width) times what is
    learned, as a step of Adam moves scores of normed inputs by that many times its rate at least: offsets that moved
    by less would lag behind the router, and experts would stay uneven.
    """

    def __init__(self, width: int, *, experts: int, mult: float, shared: int = 0) -> None:
        super().__init__(width, experts=experts, mult=mult, shared=shared)
        self.router = linear(width, experts)
        self.offset = nn.Parameter(torch.zeros(experts))

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        score_TE = at_least_float32(self.router(x_BLD.flatten(0, 1)))
        offset_E = self.offsets()
        self.aux_loss = transport_loss(offset_E, score_TE.detach()) if self.training else None
        expert_T1 = (score_TE + offset_E).argmax(dim=1, keepdim=True)
        weight_T1 = score_TE.sigmoid().gather(1, expert_T1)
        return self.mixed(x_BLD, torch.zeros_like(score_TE).scatter(1, expert_T1, weight_T1)), state

    def offsets(self) -> Tensor:
        """What is added to the scores of each expert, [E], in float32 at least."""
        return self.router.in_features**0.5 * at_least_float32(self.offset)


def transport_loss(offset_E: Tensor, score_TE: Tensor) -> Tensor:
    """The mean over T of logsumexp(score + offset), less the mean offset: least where all experts have as much.

    The gradient of an offset is the share of its expert in the plan softmax(score + offset), less 1 / E: it is the
    semi-dual of entropic optimal transport with even marginals (Genevay et al., arXiv 1605.08527, section 3), so that
    softmax(score + offset) / T at the minimum is the plan to which Sinkhorn's iterations converge.
    """
    return (score_TE + offset_E).logsumexp(dim=1).mean() - offset_E.mean()


class HashedMoE(Experts):
    """One expert a token, by a hash of its hidden state that is never learned.

    Hash layers (Roller et al., arXiv 2106.04426) hash the number of a token. A block sees no numbers but hidden
    states, and hashes those: the expert is the nearest of `experts` fixed directions, random ones and their opposites
    (cross-polytope hashing, Andoni et al., arXiv 1509.02897). So, unlike there, like tokens share experts, and
    who goes where moves as the layers below learn. Like there, there is no router to train, nothing to balance, and
    the expert's output counts as it is. In a first layer without positions equal tokens have equal experts.

    Raises ValueError if the number of experts is not even and at least 2.
    """

    directions: Tensor

    def __init__(self, width: int, *, experts: int, mult: float, shared: int = 0) -> None:
        super().__init__(width, experts=experts, mult=mult, shared=shared)
        if experts < 2 or experts % 2:
            raise ValueError(
                f"experts {experts} must be even and at least 2: directions come with their opposites"
            )
        self.register_buffer("directions", torch.randn(width, experts // 2))

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        near_TP = at_least_float32(x_BLD.flatten(0, 1) @ self.directions)
        near_TE = torch.cat([near_TP, -near_TP], dim=1)
        return self.mixed(x_BLD, F.one_hot(near_TE.argmax(dim=1), near_TE.shape[1]).to(near_TE.dtype)), state


class ChunkState(NamedTuple):
    """The weights of the experts for the chunk that has begun, [B, E], and how many tokens went by."""

    weight_BE: Tensor
    offset: int


class ChunkMoE(MoE):
    """One choice of experts for each chunk of tokens, as Hydra (Chaudhary et al., arXiv 2508.15099) routes.

    chunk: tokens that use the same experts; the rest as of `MoE`. The first token of a chunk decides, by what the
    layers below have gathered in it of those before, so that no token waits for later ones: a rule of ours. The
    auxiliary loss is that of the tokens that decide.

    Raises ValueError for what `MoE` refuses.
    """

    def __init__(
        self, width: int, *, experts: int, top_k: int, mult: float, chunk: int, shared: int = 0
    ) -> None:
        super().__init__(width, experts=experts, top_k=top_k, mult=mult, shared=shared)
        check_sizes(chunk=chunk)
        self.chunk = chunk

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        refuse_both(state, segments_BL)
        if segments_BL is not None:
            decides_BL = positions(segments_BL) % self.chunk == 0
            chosen_ME = self.choose(x_BLD[decides_BL])
            return self.mixed(x_BLD, chosen_ME[decides_BL.flatten().cumsum(dim=0) - 1]), None
        length = x_BLD.shape[1]
        self.aux_loss = None  # that of a call in which no chunk begins
        begun_BE, offset = self.init_state(x_BLD.shape[0]) if state is None else ChunkState(*state)
        begun = offset % self.chunk
        first_BMD = x_BLD[:, -begun % self.chunk :: self.chunk]
        chosen = [begun_BE[:, None]] if begun else []
        if first_BMD.shape[1]:
            chosen.append(self.choose(first_BMD.flatten(0, 1)).unflatten(0, first_BMD.shape[:2]))
        chosen_BME = torch.cat(chosen, dim=1)
        chunk_L = (begun + torch.arange(length, device=x_BLD.device)) // self.chunk
        y_BLD = self.mixed(x_BLD, chosen_BME[:, chunk_L].flatten(0, 1))
        return y_BLD, None if state is None else ChunkState(chosen_BME[:, -1].clone(), offset + length)

    def init_state(self, batch: int) -> ChunkState:
        return ChunkState(at_least_float32(self.router.weight.new_zeros(batch, len(self.out))), 0)
