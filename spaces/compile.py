"""From a genome to a torch module.

The tree of a genome becomes a tree of blocks; what stands around it follows from the input and output: for
tokens an embedding, a final norm and a head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from spaces.blocks.attention import Attention
from spaces.blocks.base import Block, rms_norm
from spaces.blocks.companion import CompanionSSM
from spaces.blocks.conv import GatedConv
from spaces.blocks.cross_layer import CrossLayerAttention, Follower
from spaces.blocks.delta import GatedDeltaNet
from spaces.blocks.differential import DifferentialAttention
from spaces.blocks.documents import starts
from spaces.blocks.hierarchical_memory import HierarchicalMemory
from spaces.blocks.linear_attention import GatedLinearAttention, LinearAttention
from spaces.blocks.liquid import LTC, CfC
from spaces.blocks.long_conv import LongConv
from spaces.blocks.mamba import Mamba2
from spaces.blocks.memory import ProductKeyMemory
from spaces.blocks.mlp import GLU, MLP, SwiGLU
from spaces.blocks.moe import MoE
from spaces.blocks.rg_lru import RGLRU
from spaces.blocks.routing import ChunkMoE, ExpertChoiceMoE, HashedMoE, SinkhornMoE
from spaces.blocks.s4 import S4
from spaces.blocks.selective_ssm import Mamba
from spaces.blocks.sharing import ParallelStreams, Shared
from spaces.blocks.spectral import EinFFT
from spaces.blocks.state_space import S4D, S5
from spaces.blocks.toeplitz import GatedToeplitz
from spaces.blocks.token_parameters import TokenParameterAttention
from spaces.blocks.topology import DeepNorm, LayerScale, Parallel, Residual, ReZero, Stack
from spaces.blocks.workspace import Workspace
from spaces.derivation import Node
from spaces.errors import InvalidGrammar, suggest
from spaces.io import TokenIO
from spaces.production import TEMPLATES, Production

Build = Callable[..., Any]


def _mixer(block: type[Block]) -> Build:
    return lambda at, **choices: block(at.width, **choices)


BUILDERS: Mapping[str, Build] = {
    "attention": _mixer(Attention),
    "mamba": _mixer(Mamba),
    "differential_attention": _mixer(DifferentialAttention),
    "cross_layer_attention": lambda at, followers, **choices: CrossLayerAttention(
        at.width, followers, **choices
    ),
    "follower": lambda at, layer: Follower(at.width, layer),
    "followers": lambda at, layers: layers,
    "linear_attention": _mixer(LinearAttention),
    "gated_linear_attention": _mixer(GatedLinearAttention),
    "gated_delta_net": _mixer(GatedDeltaNet),
    "mamba2": _mixer(Mamba2),
    "rg_lru": _mixer(RGLRU),
    "s4": _mixer(S4),
    "s4d": _mixer(S4D),
    "companion_ssm": _mixer(CompanionSSM),
    "s5": _mixer(S5),
    "ltc": _mixer(LTC),
    "cfc": _mixer(CfC),
    "long_conv": _mixer(LongConv),
    "gated_toeplitz": _mixer(GatedToeplitz),
    "token_parameter_attention": _mixer(TokenParameterAttention),
    "workspace": _mixer(Workspace),
    "gated_conv": _mixer(GatedConv),
    "swiglu": _mixer(SwiGLU),
    "glu": _mixer(GLU),
    "mlp": _mixer(MLP),
    "einfft": _mixer(EinFFT),
    "moe": _mixer(MoE),
    "expert_choice_moe": _mixer(ExpertChoiceMoE),
    "sinkhorn_moe": _mixer(SinkhornMoE),
    "hashed_moe": _mixer(HashedMoE),
    "chunk_moe": _mixer(ChunkMoE),
    "hierarchical_memory": _mixer(HierarchicalMemory),
    "product_key_memory": _mixer(ProductKeyMemory),
    "residual": lambda at, body: Residual(at.width, body),
    "parallel": lambda at, branches: Parallel(at.width, branches),
    "layer_scale": lambda at, body: LayerScale(at.width, body),
    "rezero": lambda at, body: ReZero(body),
    "deep_norm": lambda at, body, alpha: DeepNorm(at.width, body, alpha=alpha),
    "deep_net": lambda at, layers: Stack(
        [DeepNorm(at.width, body, alpha=len(layers) ** 0.25) for body in layers]
    ),
    "post_norms": lambda at, layers: layers,
    "post_norm": lambda at, body: body,
    "stack": lambda at, layers: Stack(layers),
    "shared": lambda at, layer, passes, templates: Shared(layer, passes=passes, norms=hasattr(at, "norms")),
    "parallel_streams": lambda at, layer, streams: ParallelStreams(at.width, layer, streams=streams),
}
"""How each production that is known by name is built: from the attributes and its fields, by name."""


class LanguageModel(nn.Module):
    """An embedding, a body of blocks, a final norm and a head of its own weights.

    B: batch, L: length, D: width, V: vocabulary.
    """

    def __init__(self, io: TokenIO, body: Block) -> None:
        super().__init__()
        self.embedding = nn.Embedding(io.vocab, io.width)
        self.body = body
        self.norm = rms_norm(io.width)
        self.head = nn.Linear(io.width, io.vocab, bias=False)
        nn.init.normal_(self.embedding.weight, std=1.0)
        nn.init.normal_(self.head.weight, std=1 / math.sqrt(io.width))

    def forward(self, tokens_BL: Tensor, segments_BL: Tensor | None = None) -> Tensor:
        """Logits for the token after each, [B, L, V], from token ids [B, L].

        segments_BL: the number of the document that each token belongs to, where several are packed one after
        the other; none sees another. A document begins where the number changes. None: each sequence is one.

        Raises ValueError if the segments are not of the shape of the tokens.
        """
        if segments_BL is not None and segments_BL.shape != tokens_BL.shape:
            raise ValueError(
                f"segments_BL of shape {tuple(segments_BL.shape)} must have a document for each token, "
                f"{tuple(tokens_BL.shape)}"
            )
        if segments_BL is not None:  # a number that comes back is another document
            segments_BL = starts(segments_BL).cumsum(dim=1)
        x_BLD, _ = self.body(self.embedding(tokens_BL), None, segments_BL)
        return self.head(self.norm(x_BLD))

    def init_state(self, batch: int) -> Any:
        """The decode state before the first token."""
        return self.body.init_state(batch)

    def step(self, tokens_BL: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Logits [B, L, V] for tokens that continue a sequence, and the state after them; any L >= 1."""
        x_BLD, state = self.body(self.embedding(tokens_BL), state)
        return self.head(self.norm(x_BLD)), state


def builder_of(production: Production) -> Build:
    """How a production is built.

    Raises:
        InvalidGrammar: neither does it say so, nor is its name known.
    """
    builder = production.build or BUILDERS.get(production.name)
    if builder is None:
        raise InvalidGrammar(
            f"no module is known for production {production.name!r}: declare it with "
            f"build=function(at, **fields), or use a known name{suggest(production.name, BUILDERS)}"
        )
    return builder


def build_node(node: Node) -> nn.Module:
    """The module of a subtree; repeated children are built anew each time, and so are templates, given as a list."""
    production, at = node.production, node.table.at
    fields: dict[str, Any] = {key: value for key, value in node.choices().items() if key != "repeat"}
    for (key, part), group in zip(production.children.items(), node.children, strict=True):
        copies = node.repeat * production.templates(fields)
        modules = [build_node(child) for _ in range(copies) for child in group]
        fields[key] = modules if part.listed or TEMPLATES in fields else modules[0]
    return builder_of(production)(at, **fields)


def build_model(root: Node, io: TokenIO) -> LanguageModel:
    """The model of a genome, initialised from torch's global random state."""
    body = build_node(root)
    if not isinstance(body, Block):
        raise InvalidGrammar(f"the root of a genome must build a Block, but {type(body).__name__} is none")
    return LanguageModel(io, body)
