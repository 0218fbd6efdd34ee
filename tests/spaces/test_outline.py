"""The outline of a genome, as a terminal and a notebook show it."""

import pytest

import spaces
from spaces.genome import Genome

OUTLINES = [
    (
        "stack(layers=[residual(body=attention(heads=4, kv_heads=1, position=rope, window=none, qk_norm=false)), "
        "residual(body=swiglu(mult=3))], repeat=2)",
        """\
stack ×2
├─ residual
│  └─ attention  heads=4 kv_heads=1 position=rope window=none qk_norm=false
└─ residual
   └─ swiglu  mult=3""",
    ),
    (
        "stack(layers=[stack(layers=[residual(body=mlp(mult=2))], repeat=1), parallel(branches=[a(), b(k=-0.5)])], "
        "repeat=1)",
        """\
stack
├─ stack
│  └─ residual
│     └─ mlp  mult=2
└─ parallel
   ├─ a
   └─ b  k=-0.5""",
    ),
    (
        'gate(left=identity(), right=[conv(name="a b"), pool()], repeat=3, note="(x")',
        """\
gate ×3  note="(x"
├─ left: identity
├─ right: conv  name="a b"
└─ right: pool""",
    ),
    ("empty(layers=[])", "empty"),
    ("|nor_conv_3x3~0|+|none~0|skip_connect~1|", "|nor_conv_3x3~0|+|none~0|skip_connect~1|"),
    ("", ""),
]


@pytest.mark.parametrize("text, outline", OUTLINES)
def test_outline(text, outline):
    assert Genome.restore(text, "0" * 32).outline == outline


def test_a_genome_of_a_space_has_the_outline_of_its_text():
    genome = spaces.load("hybrid").architecture("transformer++")
    assert genome.outline == Genome.restore(genome.text, genome.digest).outline
    assert genome.outline.splitlines()[0] == "stack ×12"


def test_a_notebook_shows_the_outline_and_escapes_it():
    genome = Genome.restore('residual(body=mine(word="<b>&"))', "0" * 32)
    assert genome._repr_mimebundle_() == {
        "text/plain": 'residual\n└─ mine  word="<b>&"',
        "text/html": "<pre>residual\n└─ mine  word=&quot;&lt;b&gt;&amp;&quot;</pre>",
    }
    assert repr([genome]) == '[Genome(residual(body=mine(word="<b>&")))]'
