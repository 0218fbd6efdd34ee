"""Whole models of known genomes, and blocks, against those of Hugging Face transformers with the same weights."""

import pytest
import torch

import spaces
from spaces.blocks.delta import GatedDeltaNet
from spaces.blocks.moe import MoE
from spaces.blocks.rg_lru import RGLRU

transformers = pytest.importorskip("transformers")

VOCAB, WIDTH, LENGTH = 53, 32, 150
TWO_LAYERS = {
    "vocab_size": VOCAB,
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "rms_norm_eps": 1e-6,
    "initializer_range": 0.2,
}
"""What the configurations of Transformers share."""


def logits(model, tokens):
    with torch.inference_mode():
        return model.eval()(tokens).logits


def same_as(theirs, genome, copy_layer, embedding, norm, head, length=LENGTH):
    """Copies the weights of a model of transformers into that of a genome, and compares the logits."""
    torch.manual_seed(0)
    for parameter in theirs.parameters():  # norms and biases are otherwise as good as not there
        if parameter.ndim == 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
    space = spaces.load("hybrid", spaces.tokens(VOCAB, WIDTH), context=length)
    ours = space.build(space.parse(genome))
    state = {}
    for layer in range(len(ours.body.blocks)):
        for name, weight in copy_layer(layer).items():
            state[f"body.blocks.{layer}.{name}"] = weight
    state |= {"embedding.weight": embedding, "norm.weight": norm, "head.weight": head}
    ours.load_state_dict(state)
    tokens = torch.randint(VOCAB, (2, length))
    wanted = logits(theirs, tokens)
    with torch.inference_mode():
        torch.testing.assert_close(ours(tokens), wanted, rtol=1e-4, atol=1e-4)
        logits_1, decoding = ours.step(tokens[:, :100], ours.init_state(2))
        logits_2, _ = ours.step(tokens[:, 100:], decoding)
        torch.testing.assert_close(torch.cat([logits_1, logits_2], 1), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_transformer_plus_plus_is_llama(kv_heads):
    config = transformers.LlamaConfig(
        **TWO_LAYERS,
        intermediate_size=3 * WIDTH,
        num_attention_heads=4,
        num_key_value_heads=kv_heads,
        rope_theta=10_000.0,
    )
    theirs = transformers.LlamaForCausalLM(config)
    attention = (
        f"residual(body=attention(heads=4, kv_heads={kv_heads}, position=rope, window=none, qk_norm=false))"
    )
    genome = f"stack(layers=[{attention}, residual(body=swiglu(mult=3))], repeat=2)"
    same_as(theirs, genome, llama_layer(theirs), *outside(theirs))


def test_sliding_windows_are_those_of_mistral():
    config = transformers.MistralConfig(
        **TWO_LAYERS,
        intermediate_size=2 * WIDTH,
        num_attention_heads=2,
        num_key_value_heads=1,
        sliding_window=32,
    )
    theirs = transformers.MistralForCausalLM(config)
    attention = "residual(body=attention(heads=2, kv_heads=1, position=rope, window=32, qk_norm=false))"
    genome = f"stack(layers=[{attention}, residual(body=swiglu(mult=2))], repeat=2)"
    same_as(theirs, genome, llama_layer(theirs), *outside(theirs))


def test_normed_queries_and_keys_are_those_of_qwen3():
    config = transformers.Qwen3Config(
        **TWO_LAYERS,
        intermediate_size=2 * WIDTH,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=WIDTH // 4,
        rope_theta=10_000.0,
    )
    theirs = transformers.Qwen3ForCausalLM(config)
    attention = "residual(body=attention(heads=4, kv_heads=2, position=rope, window=none, qk_norm=true))"
    genome = f"stack(layers=[{attention}, residual(body=swiglu(mult=2))], repeat=2)"

    def layer(number):
        norms = {}
        if number % 2 == 0:
            attention = theirs.model.layers[number // 2].self_attn
            for name in "qk":
                norms[f"blocks.0.{name}_norm.weight"] = getattr(attention, f"{name}_norm").weight
        return llama_layer(theirs)(number) | norms

    same_as(theirs, genome, layer, *outside(theirs))


@pytest.mark.parametrize("kv_heads", [1, 2])
def test_differential_attention_is_that_of_diffllama(kv_heads):
    config = transformers.DiffLlamaConfig(
        **TWO_LAYERS,
        intermediate_size=2 * WIDTH,
        num_attention_heads=4,
        num_key_value_heads=2 * kv_heads,
        rope_theta=10_000.0,
    )
    theirs = transformers.DiffLlamaForCausalLM(config)
    choices = f"heads=2, kv_heads={kv_heads}, position=rope, window=none"
    genome = f"stack(layers=[residual(body=differential_attention({choices})), residual(body=swiglu(mult=2))], repeat=2)"

    def beside(weight):
        """Theirs has the heads of one arm, or half of the values, then those of the other."""
        return weight.unflatten(0, (2, -1, WIDTH // 4)).transpose(0, 1).flatten(0, 2)

    def layer(number):
        block = theirs.model.layers[number // 2]
        if number % 2:
            return llama_layer(theirs)(number)
        attention = block.self_attn
        attention.lambda_init = 0.8
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        return {
            "norm.weight": block.input_layernorm.weight,
            "blocks.0.qkv.weight": torch.cat([beside(part.weight) for part in parts]),
            "blocks.0.lambda_q": torch.stack([attention.lambda_q1, attention.lambda_q2]),
            "blocks.0.lambda_k": torch.stack([attention.lambda_k1, attention.lambda_k2]),
            "blocks.0.norm.weight": torch.ones(WIDTH // 2),
            "blocks.0.out.weight": attention.o_proj.weight,
        }

    same_as(theirs, genome, layer, *outside(theirs))


def outside(theirs):
    """What stands around the layers."""
    inner = theirs.model
    return inner.embed_tokens.weight, inner.norm.weight, theirs.lm_head.weight


def residual(norm, weights):
    """The weights of a residual layer: of its norm and of the block in its branch."""
    return {"norm.weight": norm.weight, **{f"blocks.0.{name}": weight for name, weight in weights.items()}}


def grouped_attention(attention):
    parts = (attention.q_proj, attention.k_proj, attention.v_proj)
    return {"qkv.weight": torch.cat([part.weight for part in parts]), "out.weight": attention.o_proj.weight}


def gated_unit(mlp):
    gate_up = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])
    return {"gate_up.weight": gate_up, "out.weight": mlp.down_proj.weight}


def mixture(router, experts):
    return {
        "router.weight": router.weight,
        "gate_up": experts.gate_up_proj.transpose(1, 2),
        "out": experts.down_proj.transpose(1, 2),
    }


def llama_layer(theirs):
    def layer(number):
        block = theirs.model.layers[number // 2]
        if number % 2:
            return residual(block.post_attention_layernorm, gated_unit(block.mlp))
        return residual(block.input_layernorm, grouped_attention(block.self_attn))

    return layer


def mamba_mixer(mixer):
    return {
        "in_proj.weight": mixer.in_proj.weight,
        "taps": mixer.conv1d.weight[:, 0].T,
        "conv_bias": mixer.conv1d.bias,
        "select.weight": mixer.x_proj.weight,
        "step.weight": mixer.dt_proj.weight,
        "step.bias": mixer.dt_proj.bias,
        "log_a": mixer.A_log,
        "skip": mixer.D,
        "out.weight": mixer.out_proj.weight,
    }


def test_mamba():
    config = transformers.MambaConfig(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        state_size=8,
        expand=2,
        conv_kernel=4,
        use_bias=False,
        time_step_rank="auto",
        layer_norm_epsilon=1e-6,
        initializer_range=0.2,
    )
    theirs = transformers.MambaForCausalLM(config)

    def layer(number):
        block = theirs.backbone.layers[number]
        return residual(block.norm, mamba_mixer(block.mixer))

    inner = theirs.backbone
    genome = "stack(layers=[residual(body=mamba(state=8, expand=2, init=decaying))], repeat=2)"
    same_as(theirs, genome, layer, inner.embeddings.weight, inner.norm_f.weight, theirs.lm_head.weight)


def test_jamba():
    """Mamba, attention without positions, a feed-forward layer and experts in one model; Jamba's norms of what its
    Mamba selects are left out of it, as ours has none."""
    config = transformers.JambaConfig(
        **TWO_LAYERS,
        intermediate_size=2 * WIDTH,
        num_attention_heads=4,
        num_key_value_heads=2,
        attn_layer_period=2,
        attn_layer_offset=1,
        expert_layer_period=2,
        expert_layer_offset=1,
        num_experts=4,
        num_experts_per_tok=2,
        mamba_d_state=8,
    )
    theirs = transformers.JambaForCausalLM(config)
    for name in ("dt_layernorm", "b_layernorm", "c_layernorm"):
        setattr(theirs.model.layers[0].mamba, name, torch.nn.Identity())

    def layer(number):
        block = theirs.model.layers[number // 2]
        if number % 2:
            forward = block.feed_forward
            weights = gated_unit(forward) if number == 1 else mixture(forward.router, forward.experts)
            return residual(block.pre_ff_layernorm, weights)
        weights = grouped_attention(block.self_attn) if number else mamba_mixer(block.mamba)
        return residual(block.input_layernorm, weights)

    mixers = (
        "mamba(state=8, expand=2, init=decaying)",
        "swiglu(mult=2)",
        "attention(heads=4, kv_heads=2, position=none, window=none, qk_norm=false)",
        "moe(experts=4, top_k=2, mult=2, shared=0)",
    )
    genome = f"stack(layers=[{', '.join(f'residual(body={mixer})' for mixer in mixers)}], repeat=1)"
    inner = theirs.model
    same_as(
        theirs, genome, layer, inner.embed_tokens.weight, inner.final_layernorm.weight, theirs.lm_head.weight
    )


def test_mamba2():
    config = transformers.Mamba2Config(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        state_size=16,
        expand=2,
        head_dim=16,
        num_heads=4,
        n_groups=1,
        conv_kernel=4,
        use_conv_bias=False,
        use_bias=False,
        layer_norm_epsilon=1e-6,
        initializer_range=0.2,
        chunk_size=64,
    )
    theirs = transformers.Mamba2ForCausalLM(config)

    def layer(number):
        block = theirs.backbone.layers[number]
        mixer = block.mixer
        return {
            "norm.weight": block.norm.weight,
            "blocks.0.in_proj.weight": mixer.in_proj.weight,
            "blocks.0.taps": mixer.conv1d.weight[:, 0].T,
            "blocks.0.dt_bias": mixer.dt_bias,
            "blocks.0.log_a": mixer.A_log,
            "blocks.0.skip": mixer.D,
            "blocks.0.norm.weight": mixer.norm.weight,
            "blocks.0.out.weight": mixer.out_proj.weight,
        }

    inner = theirs.backbone
    genome = "stack(layers=[residual(body=mamba2(state=16, expand=2, head_dim=16, init=decaying))], repeat=2)"
    same_as(theirs, genome, layer, inner.embeddings.weight, inner.norm_f.weight, theirs.lm_head.weight)


@pytest.mark.parametrize("heads", [1, 4])
def test_the_recurrent_block_is_that_of_recurrent_gemma(heads):
    from transformers.models.recurrent_gemma.modeling_recurrent_gemma import RecurrentGemmaRecurrentBlock

    config = transformers.RecurrentGemmaConfig(
        hidden_size=WIDTH, lru_width=WIDTH, num_attention_heads=heads, hidden_activation="gelu"
    )
    torch.manual_seed(0)
    theirs = RecurrentGemmaRecurrentBlock(config, 0).eval()
    for name, parameter in theirs.named_parameters():
        torch.nn.init.normal_(parameter, std=0.3)
        if name.startswith(("linear", "conv")) and name.endswith("bias"):  # of which ours has none
            torch.nn.init.zeros_(parameter)
    unit = theirs.rg_lru
    ours = RGLRU(WIDTH, expand=1, heads=heads).eval()
    ours.load_state_dict(
        {
            "in_proj.weight": torch.cat([theirs.linear_x.weight, theirs.linear_y.weight]),
            "taps": theirs.conv_1d.weight[:, 0].T,
            "gates": torch.cat([unit.recurrent_gate_weight, unit.input_gate_weight], dim=-1),
            "gate_bias": torch.cat([unit.recurrent_gate_bias, unit.input_gate_bias], dim=-1),
            "rate": unit.recurrent_param,
            "out.weight": theirs.linear_out.weight,
        }
    )
    x_BLD = torch.randn(3, LENGTH, WIDTH)
    positions_BL = torch.arange(LENGTH).expand(3, -1)
    with torch.no_grad():
        wanted, _ = theirs(x_BLD, positions_BL, None, use_cache=False)
        torch.testing.assert_close(ours(x_BLD)[0], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("expand", [1, 2])
def test_gated_delta_net_is_that_of_qwen3_next(expand):
    from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextGatedDeltaNet

    heads, key, value = 4, WIDTH // 4, expand * WIDTH // 4
    config = transformers.Qwen3NextConfig(
        hidden_size=WIDTH,
        linear_num_key_heads=heads,
        linear_num_value_heads=heads,
        linear_key_head_dim=key,
        linear_value_head_dim=value,
        linear_conv_kernel_dim=4,
        rms_norm_eps=1e-6,
        num_hidden_layers=1,
    )
    torch.manual_seed(0)
    theirs = Qwen3NextGatedDeltaNet(config, 0).eval()
    for name, parameter in theirs.named_parameters():
        if name != "A_log":
            torch.nn.init.normal_(parameter, std=0.3)
    ours = GatedDeltaNet(WIDTH, heads=heads, expand=expand).eval()
    # Theirs has all features of a head next to each other.
    qkvz = theirs.in_proj_qkvz.weight.unflatten(0, (heads, -1)).split((key, key, value, value), dim=1)
    ba = theirs.in_proj_ba.weight.unflatten(0, (heads, 2)).unbind(1)
    ours.load_state_dict(
        {
            "in_proj.weight": torch.cat([*(part.flatten(0, 1) for part in qkvz), *ba]),
            "taps": theirs.conv1d.weight[:, 0].T,
            "bias": theirs.dt_bias,
            "rate": theirs.A_log,
            "norm.weight": theirs.norm.weight,
            "out.weight": theirs.out_proj.weight,
        }
    )
    x_BLD = torch.randn(2, 130, WIDTH, requires_grad=True)
    found, wanted = ours(x_BLD)[0], theirs(x_BLD)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    pull = torch.randn_like(found)
    [mine], [other] = (torch.autograd.grad(y, [x_BLD], pull) for y in (found, wanted))
    torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("top_k", [1, 3])
def test_a_mixture_is_that_of_olmoe(top_k):
    from transformers.models.olmoe.modeling_olmoe import OlmoeSparseMoeBlock

    config = transformers.OlmoeConfig(
        hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_experts=8, num_experts_per_tok=top_k
    )
    torch.manual_seed(0)
    theirs = OlmoeSparseMoeBlock(config).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ours = MoE(WIDTH, experts=8, top_k=top_k, mult=2).eval()
    ours.load_state_dict(mixture(theirs.gate, theirs.experts))
    x_BLD = torch.randn(3, 40, WIDTH, requires_grad=True)
    wanted = theirs(x_BLD)
    wanted = wanted[0] if isinstance(wanted, tuple) else wanted
    found, _ = ours(x_BLD)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    pull = torch.randn_like(found)
    [mine], [other] = (torch.autograd.grad(y, [x_BLD], pull) for y in (found, wanted))
    torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


def test_shared_experts_are_those_of_deepseek_v2():
    from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2Moe

    config = transformers.DeepseekV2Config(
        hidden_size=WIDTH,
        moe_intermediate_size=2 * WIDTH,
        n_routed_experts=8,
        num_experts_per_tok=3,
        n_shared_experts=2,
        routed_scaling_factor=1.0,
        topk_method="greedy",
    )
    torch.manual_seed(0)
    theirs = DeepseekV2Moe(config).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ours = MoE(WIDTH, experts=8, top_k=3, mult=2, shared=2).eval()
    shared = theirs.shared_experts
    ours.load_state_dict(
        {
            **mixture(theirs.gate, theirs.experts),
            "shared_gate_up.weight": torch.cat([shared.gate_proj.weight, shared.up_proj.weight]),
            "shared_out.weight": shared.down_proj.weight,
        }
    )
    x_BLD = torch.randn(3, 40, WIDTH)
    with torch.no_grad():
        torch.testing.assert_close(ours(x_BLD)[0], theirs(x_BLD), rtol=1e-4, atol=1e-4)
