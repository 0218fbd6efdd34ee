"""The size space of NATS-Bench (Dong et al. 2021, arXiv 2009.00437): 32,768 widths of the five parts of one network.

Genomes are written as the benchmark writes them, "8:16:24:32:64".
"""

from __future__ import annotations

from spaces.errors import InvalidGenome, InvalidSpace
from spaces.fields import choice
from spaces.genome import shorten
from spaces.io import IO, ImageIO, image
from spaces.product import Code, ProductSpace

CHANNELS = (8, 16, 24, 32, 40, 48, 56, 64)
PARTS = 5


class NATSSize(ProductSpace):
    """The space of widths. Nothing is built of it: it is for tables.

    Raises:
        InvalidSpace: the input and output are not those of image classification.
    """

    def __init__(self, io: IO | None = None) -> None:
        io = image() if io is None else io
        if not isinstance(io, ImageIO):
            raise InvalidSpace(f"space 'nats_size' reads images, but it was given {io}")
        fields = {f"channels_{k}": choice(*CHANNELS, ordered=True) for k in range(1, PARTS + 1)}
        super().__init__("nats_size", fields, io)

    def __reduce__(self) -> tuple[type[NATSSize], tuple[IO]]:
        return NATSSize, (self.io,)

    def at(self, io: IO) -> NATSSize:
        return NATSSize(io)

    def spell(self, code: Code) -> str:
        return ":".join(str(CHANNELS[place]) for place in code)

    def code(self, text: str) -> Code:
        widths = text.strip().split(":")
        if len(widths) != PARTS:
            raise InvalidGenome(f"{shorten(text)} is no size: expected five widths, as in 8:16:24:32:64")
        for k, width in enumerate(widths, start=1):
            if not width.isdecimal() or int(width) not in CHANNELS:
                raise InvalidGenome(
                    f"width {k} of {shorten(text)} is {width!r}; allowed: {', '.join(map(str, CHANNELS))}"
                )
        return tuple([CHANNELS.index(int(width)) for width in widths])
