from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from spaces.blocks import attention as attention_module
from spaces.blocks.attention import Attention, alibi_slopes, attend, rotate
from spaces.blocks.measuring import kept_bytes
from spaces.blocks.reference.attention import attention
from tests.speed.extrapolation import perplexities


def test_alibi_slopes_are_those_of_the_paper() -> None:
    assert alibi_slopes(8) == [2.0**-i for i in range(1, 9)]
    assert alibi_slopes(1) == [2.0**-8]
    # Not a power of two: the slopes of 4 heads, then every second slope of 8.
    assert alibi_slopes(6) == [2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8, 2.0**-1, 2.0**-3]
    sixteen = alibi_slopes(16)
    assert alibi_slopes(12) == alibi_slopes(8) + sixteen[0:8:2]


@pytest.mark.parametrize("dtype, allowed", [(torch.float32, 2e-6), (torch.bfloat16, 0.03)])
def test_alibi_is_as_exact_far_from_the_start(dtype: torch.dtype, allowed: float) -> None:
    """Positions stand in the queries and keys, where bfloat16 holds whole numbers up to 256 and slopes are no numbers of it."""
    heads, length, last = 12, 5000, 16
    slopes = torch.tensor(alibi_slopes(heads), dtype=torch.float64)
    q, k, v = torch.randn(3, 1, heads, length, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    distance = torch.arange(length - last, length)[:, None] - torch.arange(length)
    scores = (q[:, :, -last:].double() @ k.double().mT) / 8**0.5 - slopes[:, None, None] * distance
    expected = scores.masked_fill(distance < 0, -torch.inf).softmax(dim=-1) @ v.double()
    ours = attend(q, k, v, None, window=None, slopes=slopes.tolist())[:, :, -last:]
    assert (ours - expected).abs().max() <= allowed


@pytest.mark.slow
def test_alibi_trains_short_and_tests_long() -> None:
    alibi, rope = (
        perplexities(position, length=64, times=(1, 4), steps=250, seed=0) for position in ("alibi", "rope")
    )
    assert alibi[1] < alibi[0]
    assert rope[1] > rope[0]


def test_rope_scores_depend_on_distance_alone() -> None:
    q, k = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64)
    scores = [(rotate(q, start + 5) * rotate(k, start)).sum() for start in (0, 1, 300)]
    torch.testing.assert_close(scores[1], scores[0])
    torch.testing.assert_close(scores[2], scores[0])
    assert not torch.isclose((rotate(q, 6) * rotate(k, 0)).sum(), scores[0])


def test_rope_tells_far_positions_apart_in_bfloat16() -> None:
    x = torch.ones(1, 2, 1, 8, dtype=torch.bfloat16)
    turned = rotate(x, 1000)
    assert not torch.equal(turned[:, 0], turned[:, 1])


@settings(max_examples=25, deadline=None)
@given(
    window=st.integers(1, 20),
    position=st.sampled_from(["rope", "alibi", "none"]),
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4),
)
def test_any_split_of_any_window_equals_the_twin(window: int, position: str, sizes: list[int]) -> None:
    block = Attention(12, heads=3, kv_heads=1, position=position, window=window).double()
    x = torch.randn(1, sum(sizes), 12, dtype=torch.float64)
    state, parts = block.init_state(1), []
    with torch.no_grad():
        for part in x.split(sizes, dim=1):
            y, state = block(part, state)
            parts.append(y)
        torch.testing.assert_close(torch.cat(parts, dim=1), attention(block, x))
        torch.testing.assert_close(block(x)[0], attention(block, x))
    assert state.k_BGSK.shape[2] == min(window - 1, len(x[0]))
    assert state.offset == len(x[0])


def test_long_windows_need_no_square_of_the_length() -> None:
    block = Attention(8, heads=1, kv_heads=1, position="none", window=16)
    sizes = []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                sizes.append(result.numel())
            return result

    with torch.no_grad(), Watch():
        block(torch.randn(1, 2048, 8))
    assert max(sizes) <= 2048 * 8 * 6


@pytest.mark.parametrize("length", [20, 5])
def test_a_scale_holds_under_a_window_too(length: int) -> None:
    q, k, v = torch.randn(3, 1, 2, 20, 4, dtype=torch.float64)
    distance = torch.arange(20 - length, 20)[:, None] - torch.arange(20)
    scores = (0.1 * q[:, :, -length:] @ k.mT).masked_fill((distance < 0) | (distance >= 4), -torch.inf)
    ours = attend(q[:, :, -length:], k, v, None, window=4, slopes=None, scale=0.1)
    torch.testing.assert_close(ours, scores.softmax(dim=-1) @ v)


@pytest.mark.parametrize(
    "choices, message",
    [
        ({"heads": 3}, "width 16 is not a multiple of heads 3"),
        ({"kv_heads": 3}, "heads 4 is not a multiple of kv_heads 3"),
        ({"heads": 16}, "even head dim; width 16 / heads 16 is 1"),
        ({"window": 0}, "window 0 is below 1"),
        ({"position": "learned"}, "unknown position 'learned': use 'rope', 'alibi' or 'none'"),
    ],
)
def test_impossible_choices_are_refused(choices: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Attention(16, **{"heads": 4, "kv_heads": 4, "position": "rope", "window": None} | choices)


DOCUMENTS = torch.tensor([[0] * 30 + [1] + [2] * 49, [5] * 80])


@pytest.mark.parametrize("position, window", [("rope", None), ("alibi", None), ("rope", 60)])
def test_traced_documents_are_kept_apart_too(
    position: Literal["rope", "alibi"], window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exported graph takes other documents: masks tell them apart, as their lengths would be shapes."""
    monkeypatch.setattr(attention_module, "QUERIES", 32)
    block = Attention(16, heads=4, kv_heads=2, position=position, window=window, qk_norm=True).double()
    x_BLD = torch.randn(2, 80, 16, dtype=torch.float64)
    program = torch.export.export(block, (x_BLD, None, torch.zeros_like(DOCUMENTS)), strict=False).module()
    traced = torch.compile(block, backend="eager")
    for form in (program, traced):
        torch.testing.assert_close(form(x_BLD, None, DOCUMENTS)[0], block(x_BLD, None, DOCUMENTS)[0])


def test_packed_documents_keep_what_one_keeps() -> None:
    block = Attention(16, heads=2, kv_heads=1, position="rope", window=None)
    x_BLD = torch.randn(1, 2048, 16, requires_grad=True)
    assert kept_bytes(block, x_BLD, torch.arange(2048)[None] // 128) <= 1.1 * kept_bytes(block, x_BLD)


@pytest.mark.parametrize("form", ["compiled", "exported"])
def test_traced_documents_need_no_square_of_the_length(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_module, "QUERIES", 64)
    block, length, sizes = Attention(8, heads=2, kv_heads=1, position="alibi", window=None), 512, []
    inputs = torch.randn(1, length, 8), None, torch.arange(length)[None] // 100

    def keep(graph: torch.fx.Graph, value: str) -> None:
        values = [node.meta.get(value) for node in graph.nodes]
        sizes.extend(each.numel() for each in values if isinstance(each, torch.Tensor))

    def backend(module: torch.fx.GraphModule, _: object) -> object:
        keep(module.graph, "example_value")
        return module.forward

    with torch.no_grad():
        if form == "compiled":
            traced = torch.compile(block, backend=backend, dynamic=False)
        else:
            program = torch.export.export(block, inputs, strict=False)
            keep(program.graph, "val")
            traced = program.module()
        torch.testing.assert_close(traced(*inputs)[0], block(*inputs)[0])
    assert length * 8 < max(sizes) <= 64 * length


@pytest.mark.parametrize("window", [None, 8])
def test_keys_of_fewer_heads_are_repeated_where_kernels_want_as_many(window, monkeypatch) -> None:
    torch.manual_seed(0)
    block = Attention(16, heads=4, kv_heads=2, position="rope", window=window)
    x_BLD = torch.randn(2, 12, 16)
    shared_BLD, _ = block(x_BLD)
    monkeypatch.setattr(attention_module, "scores_written_out", lambda device, dtype, masked: True)
    compute = F.scaled_dot_product_attention

    def as_many(q_BHLK, k_BGSK, v_BGSK, *options, **named):
        assert q_BHLK.shape[1] == k_BGSK.shape[1] == v_BGSK.shape[1]
        return compute(q_BHLK, k_BGSK, v_BGSK, *options, **named)

    monkeypatch.setattr(F, "scaled_dot_product_attention", as_many)
    repeated_BLD, _ = block(x_BLD)
    torch.testing.assert_close(repeated_BLD, shared_BLD)
