import contextlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

import spaces
from spaces import InvalidGenome
from spaces.genome import Term, read

ATTENTION = "attention(heads=4, kv_heads=1, position=rope, window=none, qk_norm=false)"
TEXT = f"stack(layers=[residual(body={ATTENTION})], repeat=2)"
SPACE = spaces.load("hybrid")

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True)
tokens = st.one_of(
    names,
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.text(st.characters(codec="ascii", exclude_characters='"\\')).map(lambda text: f'"{text}"'),
)
terms = st.recursive(
    st.tuples(names, st.dictionaries(names, tokens, max_size=3)),
    lambda below: st.tuples(
        names, st.dictionaries(names, st.one_of(tokens, below, st.lists(below, max_size=3)), max_size=3)
    ),
    max_leaves=12,
)


def written(value) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    name, fields = value
    return f"{name}({', '.join(f'{key}={written(field)}' for key, field in fields.items())})"


def meant(value):
    if isinstance(value, Term):
        return (value.name, {key: meant(field) for key, field in value.fields.items()})
    return [meant(item) for item in value] if isinstance(value, list) else value


@given(terms)
def test_what_is_written_is_read(term):
    assert meant(read(written(term))) == term


@given(st.text(max_size=30))
def test_other_text_is_refused_or_read_but_never_crashes(text):
    with contextlib.suppress(InvalidGenome):
        read(text)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "expected the name of a production at position 0, found the end of the text"),
        ("stack", "expected '(' after 'stack' at position 5, found the end of the text"),
        ("stack(layers=[)", "expected the name of a production at position 14, found ')'"),
        ("stack(repeat=2 layers=[])", "expected ',' or ')' at position 15, found 'layers'"),
        ("stack(repeat=2, repeat=3)", "field 'repeat' of 'stack' is given twice, at position 16"),
        ("stack(repeat=#)", "unexpected '#' at position 13 of 'stack(repeat=#)'"),
        (TEXT + " x", "expected the end of the text at position"),
        (TEXT.replace("stack", "stak"), "the root: 'stak' is no model here, did you mean 'stack'?"),
        (
            TEXT.replace("heads=4", "heads=5", 1),
            "layers[0].body.heads: 5 is not allowed; allowed: 1, 2, 4, 8, 16, 32",
        ),
        (TEXT.replace("rope", "rop"), "layers[0].body.position: rop is not allowed, did you mean 'rope'?"),
        (
            TEXT.replace("kv_heads", "kv_head"),
            "layers[0].body: 'attention' has no field 'kv_head', did you mean 'kv_heads'?",
        ),
        (TEXT.replace(", window=none", ""), "layers[0].body: 'attention' lacks its field 'window'"),
        (
            TEXT.replace("kv_heads=1", "kv_heads=8"),
            "layers[0].body: the guard of 'attention' does not allow heads=4, kv_heads=8",
        ),
        ("stack(layers=[], repeat=1)", "layers: 0 children, but 1 to 8 are allowed"),
        (
            f"stack(layers=residual(body={ATTENTION}), repeat=1)",
            "layers: expected a list of productions in [ ]",
        ),
        (
            f"stack(layers=[residual(body=[{ATTENTION}])], repeat=1)",
            "layers[0].body: expected one production",
        ),
        (TEXT.replace("repeat=2", f"repeat={ATTENTION}"), "repeat: a production is not allowed"),
    ],
)
def test_errors_name_the_place(text, message):
    with pytest.raises(InvalidGenome) as error:
        SPACE.parse(text)
    assert message in str(error.value)


def test_limits_are_checked_on_the_whole_model():
    space = spaces.load("hybrid", parameters=100_000)
    with pytest.raises(InvalidGenome, match="parameters, more than the limit of 100,000"):
        space.parse(TEXT.replace("repeat=2", "repeat=12"))


def test_fields_may_stand_in_any_order():
    swapped = f"stack(repeat=2, layers=[residual(body={ATTENTION})])"
    assert SPACE.parse(swapped) == SPACE.parse(TEXT)
    assert SPACE.parse(swapped).text == TEXT


def test_a_restored_genome_is_equal_and_works():
    genome = SPACE.parse(TEXT)
    restored = pickle.loads(pickle.dumps(genome))
    assert restored.tree is None
    assert restored == genome
    assert SPACE.cost(restored) == SPACE.cost(genome)
    assert str(genome) == TEXT
    assert repr(genome) == f"Genome({TEXT})"
