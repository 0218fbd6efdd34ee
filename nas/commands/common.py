"""What the commands share: exit codes, a parser whose errors are one line, and JSON."""

from __future__ import annotations

import argparse
import json
from typing import Any, NoReturn

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


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, allow_nan=False))
