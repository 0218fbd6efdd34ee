"""Campaigns of neural architecture search: strategies, training, engines, and the store that remembers.

`run`, `load`, `export`, `Result` and `search` are imported when they are first used: nothing heavy loads before.
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
    from nas.exporting.trained import export_trial as export
    from nas.result import Result, load

_PLACES = {
    "run": "nas.campaign:run",
    "load": "nas.result:load",
    "Result": "nas.result:Result",
    "export": "nas.exporting.trained:export_trial",
}


def __getattr__(name: str) -> Any:
    if name == "search":
        return importlib.import_module("nas.search")
    if name not in _PLACES:
        raise AttributeError(f"module 'nas' has no attribute {name!r}")
    module, _, attribute = _PLACES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


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
    "export",
    "load",
    "run",
    "search",
]
