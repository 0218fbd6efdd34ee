"""Whole models of random genomes: what they cost, that they are causal, and that they decode what they train."""

import numpy as np
import pytest
import torch

import spaces
from spaces.blocks.base import state_bytes, total_aux_loss
from spaces.blocks.measuring import count_flops
from spaces.blocks.topology import DeepNorm

CONTEXT = 64
SPACE = spaces.load(
    "hybrid", spaces.tokens(vocab=32, width=32), context=CONTEXT, operators=12, parameters=300_000
)
GENOMES = [SPACE.sample(np.random.default_rng(seed)) for seed in range(25)]
GENOMES += [
    SPACE.architecture(name)
    for name in ("transformer++", "mamba-2", "blackmamba-like", "widenet-like", "hydra-like")
]
PAIR = "stack(layers=[residual(body=gated_conv(kernel=3)), residual(body=mlp(mult=1, activation=gelu))], repeat=2)"
GENOMES.append(SPACE.parse(f"stack(layers=[parallel_streams(layer={PAIR}, streams=2)], repeat=1)"))
POST_NORM = "post_norm(body=gated_conv(kernel=3)), post_norm(body=swiglu(mult=1))"
GENOMES.append(SPACE.parse(f"deep_net(layers=post_norms(layers=[{POST_NORM}], repeat=2))"))


def built(genome):
    torch.manual_seed(0)
    return SPACE.build(genome)


@pytest.mark.parametrize("genome", GENOMES, ids=lambda genome: genome.digest[:8])
def test_cost_is_that_of_the_built_model(genome):
    model = built(genome).eval()
    cost = SPACE.cost(genome)
    tokens = torch.randint(32, (1, CONTEXT))
    assert cost.parameters == sum(parameter.numel() for parameter in model.parameters())
    if (
        "expert_choice_moe" not in genome.text
    ):  # how often its experts are used is told as a mean, held to its block
        assert cost.flops_per_token * CONTEXT == pytest.approx(count_flops(model, tokens), rel=1e-12)
    with torch.inference_mode():
        _, state = model.step(tokens, model.init_state(1))
    assert cost.state_bytes == state_bytes(state)
    assert 0 < cost.active_parameters <= cost.parameters


def test_weights_that_are_shared_count_once_and_runs_each_time():
    def cost(text):
        return SPACE.cost(SPACE.parse(text))

    once = cost(f"stack(layers=[{PAIR}], repeat=1)")
    passes = cost(f"stack(layers=[shared(layer={PAIR}, passes=3, templates=1)], repeat=1)")
    norms = 4 * 32  # which each pass has of its own
    assert passes.parameters == once.parameters + 2 * norms
    assert passes.state_bytes == 3 * once.state_bytes
    assert passes.flops_per_token == cost(f"stack(layers=[{PAIR}], repeat=3)").flops_per_token


def test_passes_are_another_network_than_repeats_and_the_same_whatever_stands_around_them():
    def digest(text):
        return SPACE.parse(f"stack(layers=[{text}], repeat=1)").digest

    passes = digest(f"shared(layer={PAIR}, passes=3, templates=1)")
    assert passes != digest(PAIR.replace("repeat=2", "repeat=6"))
    assert passes != digest(f"shared(layer={PAIR}, passes=2, templates=1)")
    one = "residual(body=gated_conv(kernel=3))"
    group = f"stack(layers=[{one}], repeat=1)"
    assert digest(f"shared(layer={one}, passes=3, templates=1)") == digest(
        f"shared(layer={group}, passes=3, templates=1)"
    )


@pytest.mark.parametrize("genome", GENOMES, ids=lambda genome: genome.digest[:8])
def test_models_are_causal_and_decode_what_they_train(genome):
    model = built(genome).double().eval()
    tokens = torch.randint(32, (2, 23))
    with torch.inference_mode():
        logits = model(tokens)
        changed = tokens.clone()
        changed[:, 15] = (changed[:, 15] + 1) % 32
        torch.testing.assert_close(model(changed)[:, :15], logits[:, :15], rtol=0, atol=1e-12)
        state = model.init_state(2)
        pieces = []
        for piece in tokens.split([9, 1, 1, 5, 1, 6], dim=1):
            part, state = model.step(piece, state)
            pieces.append(part)
    torch.testing.assert_close(torch.cat(pieces, dim=1), logits, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("genome", GENOMES, ids=lambda genome: genome.digest[:8])
def test_packed_documents_are_as_if_alone(genome):
    model = built(genome).double().eval()
    sizes = [1, 40, 3, 30]
    documents = [torch.randint(32, (1, size)) for size in sizes]
    segments = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))[None]
    with torch.inference_mode():
        packed = model(torch.cat(documents, dim=1), segments)
        alone = torch.cat([model(document) for document in documents], dim=1)
        again = model(torch.cat(documents, dim=1), segments % 2)
    torch.testing.assert_close(packed, alone, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(again, packed, rtol=0, atol=0)  # a number that comes back is another document


def test_every_token_needs_a_document():
    with pytest.raises(
        ValueError, match=r"segments_BL of shape \(1, 4\) must have a document for each token, \(1, 5\)"
    ):
        built(GENOMES[0])(torch.zeros(1, 5, dtype=torch.int64), torch.zeros(1, 4, dtype=torch.int64))


@pytest.mark.parametrize("genome", GENOMES, ids=lambda genome: genome.digest[:8])
def test_models_start_near_the_uniform_loss_with_finite_gradients(genome):
    model = built(genome).train()
    tokens = torch.randint(32, (4, 33))
    logits = model(tokens[:, :-1])
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    assert loss < 2 * np.log(32)
    auxiliary = total_aux_loss(model)
    (loss if auxiliary is None else loss + auxiliary).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("mixer", ["s4d(state=8, init=lin, rate=stable)", "s5(state=16, rate=stable)"])
def test_stable_rates_are_built_without_data(mixer):
    with torch.device("meta"):
        model = SPACE.build(SPACE.parse(f"stack(layers=[residual(body={mixer})], repeat=1)"))
    assert all(parameter.is_meta for parameter in model.parameters())


def test_post_norm_layers_keep_of_their_input_what_the_depth_says():
    """alpha = (2 N)^(1/4) and gains of (8 N)^(-1/4), for N pairs of layers: DeepNet, figure 2, of decoders alone."""
    pairs = 2
    genome = SPACE.parse(f"deep_net(layers=post_norms(layers=[{POST_NORM}], repeat={pairs}))")
    layers = [module for module in built(genome).modules() if isinstance(module, DeepNorm)]
    assert len(layers) == 2 * pairs
    for layer in layers:
        assert layer.alpha == pytest.approx((2 * pairs) ** 0.25)
        torch.testing.assert_close(layer.gain, torch.full((32,), (8 * pairs) ** -0.25))


@pytest.mark.slow
def test_deep_post_norm_networks_learn_a_batch():
    """Of 72 layers, where those that keep their input once, as the first Transformers', do not."""
    space = spaces.load("hybrid", spaces.tokens(vocab=32, width=32), context=32, operators=200)
    three = ", ".join([POST_NORM] * 3)
    genome = space.parse(f"deep_net(layers=post_norms(layers=[{three}], repeat=12))")
    losses = []
    for alpha in (None, 1):
        torch.manual_seed(0)
        model = space.build(genome)
        for module in model.modules():
            if alpha is not None and isinstance(module, DeepNorm):
                module.alpha = alpha
                torch.nn.init.constant_(module.gain, 1)
        tokens = torch.randint(32, (4, 33))
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for _ in range(60):
            optimiser.zero_grad()
            logits = model(tokens[:, :-1])
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1)
            optimiser.step()
        losses.append(loss.item())
    assert losses[0] < 0.2
    assert losses[1] > 2
