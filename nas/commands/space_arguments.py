"""What a command line says of a space and of a genome: `nas space show SPACE --width 64 --set nodes=20`."""

from __future__ import annotations

import argparse
import inspect
from typing import Any

from nas.commands.common import at_least


def add_space(command: argparse.ArgumentParser) -> None:
    """Adds the arguments that name a space, its input and output, and its options."""
    command.add_argument(
        "space",
        metavar="SPACE",
        help="a name, package.module:attribute, or a campaign file (.toml): its space",
    )
    command.add_argument(
        "--width", type=at_least(1), metavar="N", help="features of the residual stream (default: 128)"
    )
    command.add_argument(
        "--vocab", type=at_least(1), metavar="N", help="size of the vocabulary (default: 256)"
    )
    command.add_argument(
        "--io",
        metavar="IO",
        help="what goes in and out, such as 'image(channels=1, height=28, width=28, classes=10)'",
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a limit or other option of the space, as in [space] of a campaign file: nodes=20, weights.attention=2",
    )
    command.add_argument("--json", action="store_true")


def load_space(options: argparse.Namespace) -> Any:
    """The space that the arguments name, a user's own beside this folder or a campaign file's among them.

    Raises:
        InvalidInput: an argument is not valid, or there is no such space.
    """
    from pathlib import Path

    import spaces
    from spaces.lookup import importable

    if options.space.endswith(".toml"):
        return _of_campaign(options)
    importable(Path.cwd())
    return spaces.load(options.space, _io(options), **_set(options.set))


def _of_campaign(options: argparse.Namespace) -> Any:
    """The space of a campaign file, with its hyperparameters, bound to what its task reads and predicts."""
    from nas.setup import configure, prepare
    from nas.types import InvalidInput

    for flag in ("io", "vocab", "width", "set"):
        if getattr(options, flag):
            raise InvalidInput(
                f"--{flag} cannot be given with a campaign file: change {options.space} instead"
            )
    return prepare(configure(options.space)).space


def _io(options: argparse.Namespace) -> Any:
    """What goes in and out, from its text or from sizes of token models; None for what the space takes by itself."""
    import spaces
    from nas.types import InvalidInput
    from spaces.errors import suggest
    from spaces.genome import read
    from spaces.io import KINDS

    sizes = {
        name: getattr(options, name) for name in ("vocab", "width") if getattr(options, name) is not None
    }
    if options.io is None:
        return spaces.tokens(**sizes) if sizes else None
    if sizes:
        raise InvalidInput(f"--io and --{next(iter(sizes))} exclude each other")
    try:
        term = read(options.io)
    except spaces.InvalidGenome as error:
        raise InvalidInput(f"--io: {error}") from error
    if term.name not in KINDS:
        raise InvalidInput(f"--io: unknown {term.name!r}{suggest(term.name, KINDS)}")
    known = inspect.signature(KINDS[term.name]).parameters
    values = {}
    for key, value in term.fields.items():
        if key not in known:
            raise InvalidInput(f"--io: {term.name!r} has no {key!r}{suggest(key, known)}")
        if not isinstance(value, str) or not value.isdecimal():
            raise InvalidInput(f"--io: {key} must be an integer of at least 1")
        values[key] = int(value)
    try:
        return KINDS[term.name](**values)
    except TypeError as error:
        raise InvalidInput(f"--io: {error}") from error


def _set(pairs: list[str]) -> dict[str, Any]:
    """Options from KEY=VALUE with values as in TOML; a dot in a key leads into a table."""
    import tomllib

    from nas.types import InvalidInput

    options: dict[str, Any] = {}
    for pair in pairs:
        try:
            found = tomllib.loads(pair)
        except tomllib.TOMLDecodeError as error:
            raise InvalidInput(
                f"--set {pair!r} is not like key=value, with strings in quotes as in TOML: {error}"
            ) from error
        for key, value in found.items():
            if isinstance(value, dict):
                value = {**options.get(key, {}), **value}
            options[key] = value
    return options
