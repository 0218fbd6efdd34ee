"""What a network costs, and what it is told in."""

from __future__ import annotations

from dataclasses import dataclass, fields

FLOAT_BYTES = 4
INDEX_BYTES = 8
"""Bytes of a number and of an index in the state of a network."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a network costs.

    parameters: all of them. active_parameters: those that one token uses in one run of each block.
    flops_per_token: forward FLOPs (see `spaces.blocks.costs`), of one sample where inputs are no tokens.
    state_bytes: float32 bytes of the decoding state of one sequence after `context` tokens.
    """

    parameters: int
    active_parameters: int
    flops_per_token: float
    state_bytes: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.parameters + other.parameters,
            self.active_parameters + other.active_parameters,
            self.flops_per_token + other.flops_per_token,
            self.state_bytes + other.state_bytes,
        )

    def __sub__(self, other: Cost) -> Cost:
        return self + other.times(-1)

    def times(self, n: int) -> Cost:
        """The cost of n copies, each with its own parameters."""
        if n == 1:
            return self
        return Cost(
            n * self.parameters, n * self.active_parameters, n * self.flops_per_token, n * self.state_bytes
        )

    def run(self, n: int, templates: int = 1) -> Cost:
        """The cost where n runs for each token use the same parameters, each with a state of its own.

        templates: how many versions of them are kept, of which those of each run are mixed.
        """
        if n == templates == 1:
            return self
        return Cost(
            templates * self.parameters,
            templates * self.active_parameters,
            n * self.flops_per_token,
            n * self.state_bytes,
        )


COST_NAMES = tuple(field.name for field in fields(Cost))
"""What a space may tell of its genomes."""

COST_UNITS = {
    "parameters": "parameters",
    "active_parameters": "parameters",
    "flops_per_token": "FLOPs",
    "state_bytes": "bytes",
}
"""What each is counted in."""
