"""The command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from nas.commands import bench, campaigns, exports, spaces
from nas.commands.common import DONE, INTERRUPTED, WRONG, Parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit code."""
    options = parser().parse_args(arguments)
    from nas.types import InvalidInput

    try:
        return options.command(options)
    except InvalidInput as error:
        print(f"nas: {error}", file=sys.stderr)
        return WRONG
    except BrokenPipeError:
        sys.stderr.close()
        return DONE
    except KeyboardInterrupt:
        return INTERRUPTED


class _Version(argparse.Action):
    """Looks the version up when it is asked for: that takes longer than everything else in --help."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *ignored: Any) -> None:
        from importlib.metadata import version

        print(version("grammar-nas"))
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; each leaves its function as `command`."""
    top = Parser(
        prog="nas", description="Neural architecture search from a grammar to trained, ranked models."
    )
    top.add_argument("--version", action=_Version, help="print the version and exit")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for kind in (campaigns, exports, spaces, bench):
        kind.add(commands)
    return top


if __name__ == "__main__":
    sys.exit(main())
