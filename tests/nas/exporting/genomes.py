import re

import numpy as np
import pytest
import torch

import spaces

SPACE = spaces.load("hybrid", spaces.tokens(64, 32), context=64, parameters=400_000)
FEW = spaces.load("hybrid", spaces.tokens(64, 32), context=64, operators=16, parameters=400_000)
"""With fewer repeats of the known models: the time of an export to ONNX grows with the operators."""
SMALL = spaces.load("hybrid", spaces.tokens(64, 32), context=100, operators=6, parameters=400_000)

PRODUCTION = re.compile(r"(\w+)\(")

MIXERS = {
    "rope": "attention(heads=4, kv_heads=2, position=rope, window=none, qk_norm=false)",
    "alibi": "attention(heads=4, kv_heads=1, position=alibi, window=none, qk_norm=false)",
    "no-position": "attention(heads=4, kv_heads=4, position=none, window=none, qk_norm=false)",
    "sliding-window": "attention(heads=4, kv_heads=2, position=rope, window=32, qk_norm=false)",
    "alibi-window": "attention(heads=2, kv_heads=2, position=alibi, window=64, qk_norm=false)",
    "qk-norm": "attention(heads=4, kv_heads=2, position=rope, window=none, qk_norm=true)",
    "differential": "differential_attention(heads=2, kv_heads=1, position=rope, window=none)",
    "linear": "linear_attention(heads=4)",
    "gated-linear": "gated_linear_attention(heads=2)",
    "gated-delta-net": "gated_delta_net(heads=2, expand=1)",
    "mamba": "mamba(state=8, expand=2, init=decaying)",
    "mamba2": "mamba2(state=16, expand=2, head_dim=16, init=decaying)",
    "rg-lru": "rg_lru(expand=1, heads=4)",
    "s4": "s4(state=8)",
    "s4d": "s4d(state=8, init=inv, rate=exp)",
    "s4d-legs": "s4d(state=8, init=legs, rate=exp)",
    "s4d-real": "s4d(state=8, init=real, rate=stable)",
    "companion": "companion_ssm(state=8)",
    "s5": "s5(state=16, rate=exp)",
    "ltc": "ltc(expand=1, steps=2)",
    "cfc": "cfc(mult=1)",
    "long-conv": "long_conv(hidden=16, span=64)",
    "gated-toeplitz": "gated_toeplitz(expand=1, hidden=16, span=64)",
    "token-parameters": "token_parameter_attention(tokens=32)",
    "workspace": "workspace(slots=4, chunk=16)",
    "gated-conv": "gated_conv(kernel=4)",
    "layer-scale": "layer_scale(body=gated_conv(kernel=4))",
    "rezero": "rezero(body=gated_conv(kernel=4))",
    "swiglu": "swiglu(mult=2)",
    "glu": "glu(mult=2, activation=sigmoid)",
    "reglu": "glu(mult=2, activation=relu)",
    "geglu": "glu(mult=2, activation=gelu)",
    "gelu": "mlp(mult=2, activation=gelu)",
    "relu2": "mlp(mult=2, activation=relu2)",
    "einfft": "einfft(blocks=4)",
    "moe": "moe(experts=8, top_k=2, mult=1, shared=0)",
    "shared-expert": "moe(experts=4, top_k=1, mult=1, shared=2)",
    "expert-choice": "expert_choice_moe(experts=4, capacity=1, mult=1, shared=0)",
    "assigned-experts": "sinkhorn_moe(experts=4, mult=1, shared=0)",
    "hashed-experts": "hashed_moe(experts=4, mult=1, shared=0)",
    "chunk-experts": "chunk_moe(experts=4, top_k=1, mult=1, chunk=16, shared=0)",
    "hierarchical-memory": "hierarchical_memory(mult=1, branches=4, levels=2, units=8, chunk=32)",
    "product-key-memory": "product_key_memory(keys=32, heads=2, top_k=4)",
}
"""Every production of the space that is not a layer, with each form that a block has."""


def one(mixer):
    """A genome of one mixer."""
    return SMALL.parse(f"stack(layers=[residual(body={MIXERS[mixer]})], repeat=1)")


def random_genomes(count=8):
    """Random genomes that together use every layer, and the cheapest of those: long ones export for minutes."""
    genomes = [SMALL.sample(np.random.default_rng(seed)) for seed in range(100)]
    alone = {name for text in MIXERS.values() for name in PRODUCTION.findall(text)}
    chosen, missing = [], set(SMALL.grammar.productions) - alone
    while len(chosen) < count:
        best = max(
            genomes,
            key=lambda genome: (len(missing & productions(genome)), -SMALL.cost(genome).flops_per_token),
        )
        chosen.append(best)
        missing -= productions(best)
        genomes.remove(best)
    assert not missing, missing
    return chosen


def productions(genome):
    return set(PRODUCTION.findall(genome.text))


def built(space, genome):
    torch.manual_seed(0)
    return space.build(genome).eval()


def known(space):
    """The known models of the space, as slow cases."""
    return [
        pytest.param(space, space.architecture(name), id=name, marks=pytest.mark.slow) for name in space.named
    ]


RANDOM = [
    pytest.param(SMALL, genome, id=f"random-{i}", marks=[pytest.mark.slow] if i > 1 else [])
    for i, genome in enumerate(random_genomes())
]
