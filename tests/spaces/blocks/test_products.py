import itertools

import pytest
import torch

from spaces.blocks import products
from spaces.blocks.products import mkl_products, onednn_products

settable = pytest.mark.skipif(products._SETTING is None, reason="PyTorch is older than 2.9")


@settable
def test_products_by_onednn_are_exact() -> None:
    """Of all sizes and layouts: where oneDNN rounds to bfloat16, it is not used."""
    torch.manual_seed(0)
    with onednn_products():
        for rows, inner, columns in itertools.product((1, 7, 64, 300), (8, 33, 256), (1, 16, 512)):
            x, y = torch.randn(rows, inner), torch.randn(columns, inner)
            for left, right in ((x, y.T), (x.T.contiguous().T, y.T.contiguous()), (x.expand(3, -1, -1), y.T)):
                exact = left.double() @ right.double()
                assert (left @ right - exact).norm() <= 1e-5 * exact.norm()


@settable
def test_settings_are_as_before_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_exact", lambda: True)
    setting = torch.backends.mkldnn.matmul
    before = setting.fp32_precision
    with onednn_products():
        assert setting.fp32_precision == "bf16"
        with mkl_products():
            assert setting.fp32_precision == "ieee"
        assert setting.fp32_precision == "bf16"
    assert setting.fp32_precision == before


@settable
def test_a_processor_that_rounds_is_left_to_mkl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_exact", lambda: False)
    before = torch.backends.mkldnn.matmul.fp32_precision
    with onednn_products():
        assert torch.backends.mkldnn.matmul.fp32_precision == before
