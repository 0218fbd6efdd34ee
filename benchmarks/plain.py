"""Pickles that are opened without trusting them."""

from __future__ import annotations

import pickle
from typing import Any


class PlainUnpickler(pickle.Unpickler):
    """Opens pickles of plain Python values and numbers of numpy; a pickle that names anything else is refused.

    Raises:
        pickle.UnpicklingError: it names a class or a function that is not allowed.
    """

    allowed = (
        ("collections", "OrderedDict"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "scalar"),
        ("numpy._core.multiarray", "scalar"),
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"it names {module}.{name}, but only plain values are allowed")
        return super().find_class(module, name)
