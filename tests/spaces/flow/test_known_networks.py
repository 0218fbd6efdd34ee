"""The named networks of einspace against ordinary PyTorch, with the same weights."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import spaces


def activate(x):
    return functional.leaky_relu(x, 0.01)


class Block(nn.Module):
    """A basic block of a ResNet."""

    def __init__(self, inputs, width, stride):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(inputs, width, 3, stride, 1), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width)
        down = (nn.Conv2d(inputs, width, 1, stride), nn.BatchNorm2d(width)) if stride == 2 else ()
        self.shortcut = nn.Sequential(*down)

    def forward(self, x):
        y = self.norm2(self.conv2(activate(self.norm1(self.conv1(x)))))
        return activate(y + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self, shape, blocks):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(shape[0], 64, 3, 1, 1), nn.BatchNorm2d(64)
        layers, inputs = [], 64
        for stage, number in enumerate(blocks):
            for block in range(number):
                width = 64 * 2**stage
                layers.append(Block(inputs, width, 2 if stage and not block else 1))
                inputs = width
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(inputs, 10)

    def forward(self, x):
        return self.head(self.layers(activate(self.norm(self.conv(x)))).mean(dim=(2, 3)))


class WideBlock(nn.Module):
    """A block of a wide ResNet: what precedes the first of a stage is normalised for the shortcut, too."""

    def __init__(self, inputs, width, stride):
        super().__init__()
        self.changes = inputs != width
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, width, 3, stride, 1)
        self.norm2, self.conv2 = nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, 1, 1)
        self.shortcut = nn.Conv2d(inputs, width, 1, stride) if self.changes else nn.Identity()

    def forward(self, x):
        y = activate(self.norm1(x))
        through = self.shortcut(y if self.changes else x)
        return self.conv2(activate(self.norm2(self.conv1(y)))) + through


class WideResNet(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.conv = nn.Conv2d(shape[0], 16, 3, 1, 1)
        widths = [(16, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1)]
        self.layers = nn.Sequential(*[WideBlock(*sizes) for sizes in widths])
        self.norm, self.head = nn.BatchNorm2d(256), nn.Linear(256, 10)

    def forward(self, x):
        return self.head(activate(self.norm(self.layers(self.conv(x)))).mean(dim=(2, 3)))


class Perceptron(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.first, self.second = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        return self.second(activate(self.first(x)))


class EncoderLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(512), nn.MultiheadAttention(512, 8, batch_first=True)
        self.norm2, self.perceptron = nn.LayerNorm(512), Perceptron(512, 2048)

    def forward(self, x):
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.perceptron(self.norm2(x))


class ViT(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.patches = nn.Conv2d(shape[0], 512, 4, 4)
        self.position = nn.Parameter(torch.empty(shape[1] // 4 * (shape[2] // 4), 512))
        self.layers = nn.Sequential(*[EncoderLayer() for _ in range(4)])
        self.norm, self.head = nn.LayerNorm(512), nn.Linear(512, 10)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.norm(self.layers(x)).mean(dim=1))


class MixerLayer(nn.Module):
    def __init__(self, tokens):
        super().__init__()
        self.norm1, self.tokens = nn.LayerNorm(512), Perceptron(tokens, 256)
        self.norm2, self.features = nn.LayerNorm(512), Perceptron(512, 2048)

    def forward(self, x):
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.features(self.norm2(x))


class Mixer(nn.Module):
    def __init__(self, shape, patch):
        super().__init__()
        self.patches = nn.Conv2d(shape[0], 512, patch, patch)
        tokens = shape[1] // patch * (shape[2] // patch)
        self.layers = nn.Sequential(*[MixerLayer(tokens) for _ in range(8)])
        self.norm, self.head = nn.LayerNorm(512), nn.Linear(512, 10)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.layers(x)).mean(dim=1))


def parts(model):
    """The layers with weights of their own, in the order in which they stand; attention is one of them."""
    if isinstance(model, (nn.MultiheadAttention, nn.Conv2d, nn.Linear, nn.LayerNorm, nn.BatchNorm2d)):
        return [model]
    return [part for child in model.children() for part in parts(child)]


@torch.no_grad()
def copy(model, twin):
    """The weights of a network of einspace for its twin, each layer from the next ones of the network."""
    layers = iter(parts(model))
    for part in parts(twin):
        if isinstance(part, nn.MultiheadAttention):
            heads = [[next(layers) for _ in "qkv"] for _ in range(part.num_heads)]
            for place, key in enumerate(("weight", "bias")):
                for projection in range(3):
                    whole = torch.cat([getattr(head[projection], key) for head in heads])
                    target = (part.in_proj_weight, part.in_proj_bias)[place]
                    target.chunk(3)[projection].copy_(whole)
            part.out_proj.load_state_dict(next(layers).state_dict())
            continue
        state = next(layers).state_dict()
        state["weight"] = state["weight"].reshape(part.weight.shape)
        part.load_state_dict(state)
    assert next(layers, None) is None
    if isinstance(twin, ViT):
        [position] = [value for name, value in model.named_parameters() if name.endswith("position")]
        twin.position.copy_(position)


CASES = {
    "resnet18": ([(3, 32, 32), (1, 17, 24)], lambda shape: ResNet(shape, (2, 2, 2, 2))),
    "resnet34": ([(3, 32, 32), (1, 17, 24)], lambda shape: ResNet(shape, (3, 4, 6, 3))),
    "wrn16_4": ([(3, 32, 32), (1, 17, 24)], WideResNet),
    "vit": ([(3, 32, 32), (1, 16, 24)], ViT),
    "mlp_mixer": ([(3, 32, 32), (1, 64, 32)], lambda shape: Mixer(shape, 4)),
}


@pytest.mark.parametrize(
    "name, shape", [(name, shape) for name, (shapes, _) in CASES.items() for shape in shapes]
)
def test_known_networks_are_ordinary_ones(name, shape):
    space = spaces.load("einspace", spaces.image(*shape, classes=10))
    genome = space.architecture(name)
    torch.manual_seed(0)
    model, twin = space.build(genome).double().eval(), CASES[name][1](shape).double().eval()
    for key, value in model.state_dict().items():  # norms are otherwise as good as not there
        if value.is_floating_point() and value.ndim == 1:
            value.copy_(torch.rand_like(value) + ("var" in key or "weight" in key))
    copy(model, twin)
    count = sum(parameter.numel() for parameter in twin.parameters())
    assert (
        count == sum(parameter.numel() for parameter in model.parameters()) == space.cost(genome).parameters
    )
    x = torch.randn(2, *shape, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(model(x), twin(x), rtol=1e-9, atol=1e-9)


def test_a_mixer_needs_patches_that_linear_layers_can_mix():
    space = spaces.load("einspace", spaces.image(3, 30, 30))
    with pytest.raises(
        spaces.InvalidSpace, match="cut 30 x 30 into 49, 9, 1 tokens, but linear layers mix 16, 32"
    ):
        space.architecture("mlp_mixer")
