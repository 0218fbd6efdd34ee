"""What a space declares, in a digest: by it a campaign knows that its space was changed since."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from spaces.protocol import Space


def fingerprint(space: Space) -> str:
    """A digest of the productions, operators, choices and numbers of a space, in their order.

    It does not change with the code behind them: what they build, what they cost, and where they fit.
    """
    grammar = getattr(getattr(space, "architectures", space), "grammar", None)
    productions: Any = getattr(grammar, "productions", {})
    declared = {name: (each.nonterminals, dict(each.fields)) for name, each in productions.items()}
    operators = {name: dict(fields) for name, fields in space.operators.items()}
    return blake2b(repr((declared, operators)).encode(), digest_size=8).hexdigest()
