import pytest

import spaces
import spaces.cost
from spaces import Grammar, child, choice, many, real
from spaces.catalog.points import Points
from spaces.testing import space_checks

tiny = Grammar("tiny", start="model")


@tiny.production("model")
def stack(layers=many("layer", 1, 4), repeat=choice(1, 2, 4, ordered=True)): ...


@tiny.production("layer")
def residual(body=child("mixer")): ...


@tiny.production("mixer", weight=2, where=lambda at, heads: at.width % heads == 0)
def attention(
    heads=choice(1, 2, 4, 8), kv_heads=choice(1), position=choice("rope", "none"), window=choice(None, 16)
): ...


def _scaled(at, body, scale):
    import torch

    from spaces.blocks.topology import Stack

    class Scaled(Stack):
        def forward(self, x_BLD, state=None, segments_BL=None):
            y_BLD, state = super().forward(x_BLD, state, segments_BL)
            return y_BLD * torch.tensor(scale), state

    return Scaled([body])


@tiny.production(
    "mixer", form="operator", build=_scaled, cost=lambda at, context: spaces.cost.Cost(0, 0, 0, 0)
)
def scaled(body=child("mixer"), scale=real(0.1, 10.0, log=True)): ...


SPACES = {
    "darts": spaces.load("darts", spaces.image(1, 9, 8, classes=3), channels=2, layers=3),
    "graph_network": spaces.load("graph_network", spaces.nodes(5, 3), dropout=0.0),
    "hpobench_mlp": spaces.load("hpobench_mlp"),
    "einspace": spaces.load("einspace", spaces.image(1, 9, 8, classes=3)),
    "einspace_loose, limited": spaces.load(
        "einspace_loose",
        spaces.image(2, 17, 16, classes=3),
        nodes=60,
        parameters=20_000,
        flops=2_000_000,
        activations=30_000,
        operators=40,
    ),
    "hybrid": spaces.load("hybrid"),
    "hybrid, limited": spaces.load(
        "hybrid", spaces.tokens(256, 48), parameters=300_000, state_bytes=65_536, context=512, nodes=24
    ),
    "mlp": spaces.load("mlp"),
    "nasbench201": spaces.load("nasbench201", spaces.image(1, 9, 8, classes=3)),
    "nasbench_graph": spaces.load("nasbench_graph"),
    "nasbench_nlp": spaces.load("nasbench_nlp", spaces.tokens(32, 16), nodes=9),
    "nats_size": spaces.load("nats_size"),
    "points": Points(spaces.vector(3)),
    "product": spaces.ProductSpace(
        "svm",
        {"kernel": choice("rbf", "linear"), "log_c": choice(*range(-5, 6), ordered=True)},
        spaces.vector(4),
    ),
    "regnet": spaces.load("regnet", spaces.image(1, 32, 32, classes=3), depth=8, width=16, stem_stride=1),
    "settings": spaces.settings(
        alpha=real(1e-6, 1.0, log=True), degree=choice(1, 2, 3, ordered=True), kind=choice("a", None, True)
    ),
    "sharpdarts": spaces.load("sharpdarts", spaces.image(1, 9, 8, classes=3), channels=2, layers=3),
    "star": spaces.load("star"),
    "star, limited": spaces.load(
        "star",
        spaces.tokens(256, 48),
        min_layers=3,
        parameters=300_000,
        state_bytes=200_000,
        levels="featurizers",
    ),
    "vision": spaces.load("vision", spaces.image(1, 9, 8, classes=3), nodes=60, parameters=100_000),
    "tiny": spaces.GrammarSpace(tiny, spaces.tokens(32, 16)),
}


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("check", space_checks, ids=lambda check: check.__name__)
def test_conformance(check, name):
    check(SPACES[name])
