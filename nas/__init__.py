"""Campaigns of neural architecture search: strategies, training, engines, and the store that remembers.

Names are imported when they are first used, so that `nas --help` loads nothing heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas import search
    from nas.campaign import run
    from nas.exporting.trained import export_trial as export
    from nas.result import Result, load
    from nas.types import (
        Context,
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

# Where names are; all others are in `nas.types`.
_PLACES = {
    "run": "nas.campaign:run",
    "load": "nas.result:load",
    "Result": "nas.result:Result",
    "export": "nas.exporting.trained:export_trial",
}


def __getattr__(name: str) -> Any:
    if name == "search":
        return importlib.import_module("nas.search")
    if name not in __all__:
        raise AttributeError(f"module 'nas' has no attribute {name!r}")
    module, _, attribute = _PLACES.get(name, f"nas.types:{name}").partition(":")
    return getattr(importlib.import_module(module), attribute)


__all__ = [
    "Context",
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
