"""Attention to learned tokens, in place of a feed-forward layer.

Letters in tensor names: B batch, L length, D width, N learned tokens.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spaces.blocks.base import Block, State, at_least_float32, check_sizes


class TokenParameterAttention(Block):
    """Token-parameter attention of TokenFormer (Wang et al., arXiv 2410.23168, section 3.2, equations 4 and 5).

    tokens: how many pairs of a key and a value are learned.

        a = x K^T;   y = gelu(a * sqrt(N) / |a|) V,   |a| over the N tokens

    A new pair with a key of zero changes neither |a| nor, since gelu(0) = 0, the sum: `grow` adds such. The factor
    sqrt(N) would change all scores, so it stays that of the tokens at the start.

    Raises ValueError if tokens is below 1.
    """

    first_tokens: Tensor

    def __init__(self, width: int, *, tokens: int) -> None:
        super().__init__()
        check_sizes(width=width, tokens=tokens)
        self.register_buffer("first_tokens", torch.tensor(tokens))  # saved, as `grow` does not change it
        self.keys = nn.Parameter(torch.randn(tokens, width) * width**-0.5)
        self.values = nn.Parameter(torch.randn(tokens, width) * tokens**-0.5)

    def forward(
        self, x_BLD: Tensor, state: State | None = None, segments_BL: Tensor | None = None
    ) -> tuple[Tensor, State | None]:
        scores_BLN = F.normalize(at_least_float32(x_BLD @ self.keys.T), dim=-1)
        scores_BLN = scores_BLN * self.first_tokens.to(scores_BLN.dtype).sqrt()
        return F.gelu(scores_BLN).to(x_BLD.dtype) @ self.values, state

    def grow(self, tokens: int) -> None:
        """Adds learned tokens that leave the output as it is; optimisers have to be told of the new parameters.

        Raises ValueError if tokens is below 1.
        """
        check_sizes(tokens=tokens)
        keys_ND = self.keys.new_zeros(tokens, self.keys.shape[1])
        values_ND = torch.randn_like(keys_ND) * self.first_tokens.to(keys_ND.dtype).rsqrt()
        self.keys = nn.Parameter(torch.cat([self.keys.detach(), keys_ND]))
        self.values = nn.Parameter(torch.cat([self.values.detach(), values_ND]))
