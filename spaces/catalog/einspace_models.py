"""Known networks as genomes of einspace; each is a function from the shape of the image to a text.

All have leaky ReLU for their activation, biases in every convolution and linear layer, and the head of the space (a
mean over all positions, then linear). The grammar has no pooling and no kernels of 7:

- resnet18, resnet34 (He et al. 2015): the stem of CIFAR, a 3 x 3 convolution of stride 1 without pooling.
- wrn16_4 (Zagoruyko and Komodakis 2016): as published.
- vit (Dosovitskiy et al. 2020): 4 layers of width 512 with 8 heads on patches of 4 x 4, no class token.
- mlp_mixer (Tolstikhin et al. 2021): 8 layers of width 512 on patches of 4, 8 or 16, the smallest for which the number
  of tokens is that of a linear layer; tokens are mixed by 256 hidden units, features by 2048.
"""

from __future__ import annotations

from collections.abc import Callable

from spaces.errors import InvalidGenome

Image = tuple[int, ...]

IDENTITY = "computation(op=identity)"
NORM = "computation(op=norm)"
RELU = "computation(op=leaky_relu)"
TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048)


def chain(*steps: str) -> str:
    """Steps after one another, halved so that they nest as little as possible."""
    if len(steps) == 1:
        return steps[0]
    half = len(steps) // 2
    return f"sequential(first={chain(*steps[:half])}, second={chain(*steps[half:])})"


def linear(width: int) -> str:
    return f"computation(op=linear_{width})"


def routing(pre: str, inner: str, post: str) -> str:
    return f"routing(pre={pre}, inner={inner}, post={post})"


def conv(width: int, kernel: int = 3, stride: int = 1) -> str:
    return routing(f"im2col_{kernel}_{stride}_{kernel // 2}", linear(width), "col2im")


def branching(fork: str, join: str, *branches: str) -> str:
    return f"branching(fork={fork}, branches=[{', '.join(branches)}], join={join})"


def add(body: str, shortcut: str = IDENTITY) -> str:
    return branching("clone_2", "add", body, shortcut)


def _resnet(blocks: tuple[int, ...]) -> Callable[[Image], str]:
    def text(shape: Image) -> str:
        layers = [conv(64), NORM, RELU]
        for stage, number in enumerate(blocks):
            width = 64 * 2**stage
            for block in range(number):
                stride = 2 if stage and not block else 1
                body = chain(conv(width, stride=stride), NORM, RELU, conv(width), NORM)
                shortcut = chain(conv(width, 1, stride), NORM) if stride == 2 else IDENTITY
                layers += [add(body, shortcut), RELU]
        return chain(*layers)

    return text


def _wrn(shape: Image) -> str:
    layers = [conv(16)]
    for stage in range(3):
        width = 64 * 2**stage
        stride = 2 if stage else 1
        body = chain(conv(width, stride=stride), NORM, RELU, conv(width))
        layers += [NORM, RELU, add(body, conv(width, 1, stride))]
        layers.append(add(chain(NORM, RELU, conv(width), NORM, RELU, conv(width))))
    return chain(*layers, NORM, RELU)


def _perceptron(hidden: int, width: int) -> str:
    return chain(linear(hidden), RELU, linear(width))


def _vit(shape: Image) -> str:
    keys = routing("identity", linear(64), "permute_21")
    weights = chain(branching("clone_2", "scaled_dot", linear(64), keys), "computation(op=softmax)")
    heads = branching("clone_8", "cat_8_2", branching("clone_2", "dot", weights, linear(64)))
    layer = [add(chain(NORM, heads, linear(512))), add(chain(NORM, _perceptron(2048, 512)))]
    patches = routing("im2col_4_4_0", linear(512), "identity")
    return chain(patches, "computation(op=position)", *layer * 4, NORM)


def _mixer(shape: Image) -> str:
    counts = {patch: (shape[1] // patch) * (shape[2] // patch) for patch in (4, 8, 16)}
    patch = next((patch for patch, count in counts.items() if count in TOKENS), None)
    if patch is None:
        raise InvalidGenome(
            f"patches of 4, 8 or 16 pixels cut {shape[1]} x {shape[2]} into {', '.join(map(str, counts.values()))} "
            f"tokens, but linear layers mix {', '.join(map(str, TOKENS))} of them"
        )
    mix_tokens = routing("permute_21", _perceptron(256, counts[patch]), "permute_21")
    layer = [add(chain(NORM, mix_tokens)), add(chain(NORM, _perceptron(2048, 512)))]
    return chain(routing(f"im2col_{patch}_{patch}_0", linear(512), "identity"), *layer * 8, NORM)


MODELS: dict[str, Callable[[Image], str]] = {
    "resnet18": _resnet((2, 2, 2, 2)),
    "resnet34": _resnet((3, 4, 6, 3)),
    "wrn16_4": _wrn,
    "vit": _vit,
    "mlp_mixer": _mixer,
}
