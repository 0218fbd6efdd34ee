"""Campaigns of neural architecture search: strategies, training, engines, and the store that remembers.

`run`, `load`, `Result` and `search` are imported when they are first used: nothing heavy loads before.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from nas.types import (
    Ended,
    Event,
    Fidelity,
    Finished,
    InvalidInput,
    Measured,
    Measurement,
    Objective,
    Proposal,
    Proposed,
    Trial,
)

if TYPE_CHECKING:
    from nas import search
    from nas.campaign import run
    from nas.result import Result, load

_PLACES = {"run": "nas.campaign", "load": "nas.result", "Result": "nas.result"}


def __getattr__(name: str) -> Any:
    if name == "search":
        return importlib.import_module("nas.search")
    if name not in _PLACES:
        raise AttributeError(f"module 'nas' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


__all__ = [
    "Ended",
    "Event",
    "Fidelity",
    "Finished",
    "InvalidInput",
    "Measured",
    "Measurement",
    "Objective",
    "Proposal",
    "Proposed",
    "Result",
    "Trial",
    "load",
    "run",
    "search",
]
