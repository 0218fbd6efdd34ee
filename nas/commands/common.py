"""What the commands share: exit codes, a parser whose errors are one line, and JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from benchmarks import Table

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: done; failed while running; the input was wrong; stopped by a signal, to be gone on with."""

Commands = argparse._SubParsersAction
"""What commands are added to."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like those of the library."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG, f"{self.prog}: {message} (see {self.prog} --help)\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Refuses what is left over here, where the options are known that it may have been meant for."""
        found, rest = super().parse_known_args(args, namespace)
        if rest and rest[0].startswith("-"):
            from spaces.errors import suggest

            known = [option for action in self._actions for option in action.option_strings[-1:]]
            self.error(f"unknown option {rest[0]!r}{suggest(rest[0].partition('=')[0], known)}")
        if rest:
            self.error(f"unexpected argument {rest[0]!r}")
        return found, rest

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            from spaces.errors import suggest

            raise argparse.ArgumentError(action, f"unknown {value!r}{suggest(value, action.choices)}")


def at_least(low: int) -> Any:
    """The type of an argument that is a whole number."""

    def number(text: str) -> int:
        value = int(text)
        if value < low:
            raise argparse.ArgumentTypeError(f"must be at least {low}, got {value}")
        return value

    number.__name__ = "int"
    return number


def share(text: str) -> float:
    """The type of an argument that is a share, such as 0.001, or a percentage, such as 0.1%."""
    value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(
            f"must be a share above 0 and at most 1, or a percentage such as 0.1%, got {text}"
        )
    return value


def load_table(name: str) -> Table:
    """A table; modules that it names may lie beside it or in the working folder."""
    import benchmarks
    from benchmarks.catalog import parted
    from spaces.lookup import importable

    importable(Path.cwd())
    path, _ = parted(name)
    if path.endswith(".arrow"):
        importable(Path(path).parent)
    return benchmarks.load(name)


def print_columns(rows: Sequence[Sequence[Any]]) -> None:
    """Rows of texts in aligned columns, without the weight of a library for tables."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def aside(as_json: bool) -> AbstractContextManager[Any]:
    """Where standard output is to be JSON, what a user's code and libraries print meanwhile goes to standard error."""
    return redirect_stdout(sys.stderr) if as_json else nullcontext()


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, allow_nan=False))
