"""Differential attention: the difference of two softmaxes cancels what both read from everywhere.

Letters in tensor names: B batch, L length of the queries, S length of the keys, D width, H query heads, G key-value
heads, K head dim; of the pairs of them: P pairs of key-value heads, A arms of the difference, V halves of the
values, R pairs of query heads for one of them.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from spaces.blocks.attention import Attention, alibi_slopes, attend
from spaces.blocks.base import at_least_float32, check_sizes, rms_norm

LAMBDA_INIT = 0.8


class DifferentialAttention(Attention):
    """Differential attention (Ye et al., arXiv 2410.05258, section 2.1), each head of two query and two key heads.

        y = (1 - i) rms_norm((softmax(q1 k1 / sqrt(K)) - l softmax(q2 k2 / sqrt(K))) v)
        l = exp(a1 . b1) - exp(a2 . b2) + i

    heads: each reads values of width // heads dimensions by queries and keys of half as many. kv_heads, position and
    window: as of `Attention`. lambda_init: i above. The paper lets it grow with depth to 0.8, and finds the constant
    as good; a, b and the norm are learned, a and b for all heads together.

    Raises ValueError if twice the heads do not divide the width, or for what `Attention` refuses.
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int,
        kv_heads: int,
        position: Literal["rope", "alibi", "none"],
        window: int | None,
        lambda_init: float = LAMBDA_INIT,
    ) -> None:
        check_sizes(width=width, heads=heads, kv_heads=kv_heads)
        if width % (2 * heads):
            raise ValueError(f"width {width} is not a multiple of twice the heads {heads}")
        if heads % kv_heads:
            raise ValueError(f"heads {heads} is not a multiple of kv_heads {kv_heads}")
        super().__init__(width, heads=2 * heads, kv_heads=2 * kv_heads, position=position, window=window)
        self.lambda_init = lambda_init
        self.lambda_q = nn.Parameter(0.1 * torch.randn(2, self.head_dim))
        self.lambda_k = nn.Parameter(0.1 * torch.randn(2, self.head_dim))
        self.norm = rms_norm(2 * self.head_dim)

    def mix(self, q_BHLK: Tensor, k_BGSK: Tensor, v_BGSK: Tensor, segments_BL: Tensor | None) -> Tensor:
        pairs, repeat = self.kv_heads // 2, self.heads // self.kv_heads
        # Values are read by halves, so that queries, keys and values of one width reach the fast kernels.
        q_BPRALK = q_BHLK.unflatten(1, (pairs, repeat, 2))
        q_BPAVRLK = q_BPRALK.transpose(2, 3)[:, :, :, None].expand(-1, -1, -1, 2, -1, -1, -1)
        k_BPAVSK = k_BGSK.unflatten(1, (pairs, 2))[:, :, :, None].expand(-1, -1, -1, 2, -1, -1)
        v_BPAVSK = v_BGSK.unflatten(1, (pairs, 2))[:, :, None].expand(-1, -1, 2, -1, -1, -1)
        slopes = None
        if self.position == "alibi":
            each = alibi_slopes(self.heads // 2)
            slopes = [each[p * repeat + r] for p in range(pairs) for _ in range(4) for r in range(repeat)]
        y_BHLK = attend(
            q_BPAVRLK.flatten(1, 4),
            k_BPAVSK.flatten(1, 3),
            v_BPAVSK.flatten(1, 3),
            segments_BL,
            window=self.window,
            slopes=slopes,
        )
        first_BPVRLK, second_BPVRLK = y_BHLK.unflatten(1, (pairs, 2, 2, repeat)).unbind(2)
        difference_BPVRLK = first_BPVRLK - self.weight().to(y_BHLK.dtype) * second_BPVRLK
        heads_BLPRD = difference_BPVRLK.permute(0, 4, 1, 3, 2, 5).flatten(4)
        return (1 - self.lambda_init) * self.norm(heads_BLPRD).flatten(2)

    def weight(self) -> Tensor:
        """How much of the second softmax is taken away; a scalar."""
        first, second = at_least_float32(self.lambda_q * self.lambda_k).sum(dim=-1).exp()
        return first - second + self.lambda_init
