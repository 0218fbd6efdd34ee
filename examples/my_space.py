# my_space.py, used by `name = "my_space:tiny"` in the [space] table of a campaign file beside it
from spaces import Grammar, child, choice, many

tiny = Grammar("tiny", start="model")


@tiny.production("model")
def stack(layers=many("layer", 1, 4), repeat=choice(1, 2, 4, ordered=True)): ...


@tiny.production("layer")
def residual(body=child("mixer")): ...


@tiny.production("mixer", weight=2, where=lambda at, heads: at.width % heads == 0)
def attention(
    heads=choice(1, 2, 4, 8), kv_heads=choice(1), position=choice("rope", "none"), window=choice(None, 64)
): ...


@tiny.production("mixer")
def mamba2(state=choice(16, 64, ordered=True), expand=choice(1, 2), head_dim=choice(16)): ...


@tiny.production("mixer")
def swiglu(mult=choice(1, 2, 3, ordered=True)): ...
