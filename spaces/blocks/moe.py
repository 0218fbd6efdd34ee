"""Mixture of experts: each token is sent to the few feed-forward experts that a router picks for it.

Letters in tensor names: B batch, L length, T = B * L tokens, D width, E experts, K experts a token,
R routed rows, F hidden units of one expert.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spaces.blocks.base import Block, State, at_least_float32, check_sizes, dispatch, linear
from spaces.blocks.sizes import hidden_width

BALANCE_COEFFICIENT = 0.01
Z_COEFFICIENT = 0.001


class Experts(Block):
    """SwiGLU experts, of which each token runs those that it has a weight for; how it gets them is the subclass's.

    Dropless: the cost follows the tokens that go to an expert, and none is turned away. experts: how many. mult:
    hidden units of one expert per unit of width. shared: experts of the same size beside them that every token uses,
    unweighted (DeepSeekMoE, arXiv 2401.06066, section 3.2).
    """

    def __init__(self, width: int, *, experts: int, mult: float, shared: int) -> None:
        super().__init__()
        check_sizes(width=width, experts=experts)
        if shared < 0:
            raise ValueError(f"shared {shared} is below 0")
        hidden = hidden_width(width, mult)
        self.gate_up = nn.Parameter(torch.randn(experts, width, 2 * hidden) * width**-0.5)
        self.out = nn.Parameter(torch.randn(experts, hidden, width) * hidden**-0.5)
        # All shared experts at once are one layer with as many hidden units.
        self.shared_gate_up = linear(width, 2 * shared * hidden) if shared else None
        self.shared_out = linear(shared * hidden, width) if shared else None

    def mixed(self, x_BLD: Tensor, weight_TE: Tensor) -> Tensor:
        """The sum of the experts by their weights, which are 0 where a token does not use one, and of the shared."""
        x_TD = x_BLD.flatten(0, 1)
        mix = self._all if torch.compiler.is_exporting() else self._sorted
        y_BLD = mix(x_TD, weight_TE).view_as(x_BLD)
        if self.shared_gate_up is not None and self.shared_out is not None:
            gate_BLF, up_BLF = self.shared_gate_up(x_BLD).chunk(2, dim=-1)
            y_BLD = y_BLD + self.shared_out(F.silu(gate_BLF) * up_BLF)
        return y_BLD

    def _sorted(self, x_TD: Tensor, weight_TE: Tensor) -> Tensor:
        """Rows of one expert next to each other, so that each expert is three dense products."""
        weight = weight_TE.T.flatten()
        place_R = weight.nonzero().squeeze(1)  # on a GPU, the one place that has to wait for it
        token_R = place_R % x_TD.shape[0]
        x_RD = x_TD.index_select(0, token_R)
        rows_E = (weight_TE != 0).sum(dim=0)
        sum_RD = dispatch("experts", one_by_one, x_TD, None, x_RD, rows_E, self.gate_up, self.out)
        weight_R = weight.index_select(0, place_R).to(sum_RD.dtype)
        return sum_RD.new_zeros(x_TD.shape).index_add(0, token_R, sum_RD * weight_R[:, None])

    def _all(self, x_TD: Tensor, weight_TE: Tensor) -> Tensor:
        """The form for export, where no shape may hang on the routing: every expert sees every token."""
        gate_ETF, up_ETF = (x_TD @ self.gate_up).chunk(2, dim=-1)
        y_ETD = (F.silu(gate_ETF) * up_ETF) @ self.out
        return torch.einsum("te,etd->td", weight_TE.to(x_TD.dtype), y_ETD)


# How many rows each expert has is no shape of a graph: torch.compile calls this as it is.
@torch.compiler.disable
def one_by_one(x_RD: Tensor, rows_E: Tensor, gate_up_EDF: Tensor, out_EFD: Tensor) -> Tensor:
    """What each expert gives for its rows, which stand next to each other."""
    y_RD = [x_RD[:0]]
    # Unbinding once lets the gradients of all experts be stacked once, not zero-filled for each.
    experts = zip(gate_up_EDF.unbind(), out_EFD.unbind(), x_RD.split(rows_E.tolist()), strict=True)
    for gate_up_DF, out_FD, rows_D in experts:
        if len(rows_D):
            gate_F, up_F = (rows_D @ gate_up_DF).chunk(2, dim=-1)
            y_RD.append((F.silu(gate_F) * up_F) @ out_FD)
    return torch.cat(y_RD)


class MoE(Experts):
    """Token-choice mixture of SwiGLU experts, as in OLMoE (arXiv 2409.02060).

    top_k: experts a token uses; the rest as of `Experts`. The router's softmax runs over all experts, and its top_k
    probabilities weigh their experts as they are, not renormalised to sum to one. In training, `aux_loss` is 0.01
    times the load-balancing loss plus 0.001 times the router z-loss: see `load_balancing_loss` and `router_z_loss`.

    Raises ValueError unless 1 <= top_k <= experts.
    """

    def __init__(self, width: int, *, experts: int, top_k: int, mult: float, shared: int = 0) -> None:
        super().__init__(width, experts=experts, mult=mult, shared=shared)
        if not 1 <= top_k <= experts:
            raise ValueError(f"top_k {top_k} is not between 1 and the number of experts, {experts}")
        self.top_k = top_k
        self.router = linear(width, experts)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        return self.mixed(x_BLD, self.choose(x_BLD.flatten(0, 1))), state

    def choose(self, x_TD: Tensor) -> Tensor:
        """The weights of the top_k experts of each token and 0 for the others, [T, E]; sets the auxiliary loss."""
        logits_TE = at_least_float32(self.router(x_TD))
        probs_TE = logits_TE.softmax(dim=-1)
        weight_TK, expert_TK = probs_TE.topk(self.top_k, dim=-1)
        if self.training:
            count_E = torch.zeros_like(probs_TE).scatter(1, expert_TK, 1).sum(dim=0)
            balance = load_balancing_loss(probs_TE, count_E)
            self.aux_loss = BALANCE_COEFFICIENT * balance + Z_COEFFICIENT * router_z_loss(logits_TE)
        else:
            self.aux_loss = None
        return torch.zeros_like(probs_TE).scatter(1, expert_TK, weight_TK)


def load_balancing_loss(probs_TE: Tensor, count_E: Tensor) -> Tensor:
    """E * sum_e f_e * P_e (Switch Transformer, arXiv 2101.03961, equation 4): 1 if balanced, E if collapsed.

    f_e is the share of the routed rows that went to expert e, with count_E their number; P_e is the mean
    probability of e. With several experts a token the shares still sum to one.
    """
    share_E = count_E.to(probs_TE) / count_E.sum()
    return probs_TE.shape[1] * (share_E * probs_TE.mean(dim=0)).sum()


def router_z_loss(logits_TE: Tensor) -> Tensor:
    """Mean squared log-sum-exp of the router's logits (ST-MoE, arXiv 2202.08906, equation 5)."""
    return logits_TE.logsumexp(dim=-1).square().mean()
