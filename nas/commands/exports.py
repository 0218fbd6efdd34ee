"""`nas export` and `verify`: trained models that leave."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from nas.commands.common import DONE, FAILED, Commands, print_json


def add(commands: Commands) -> None:
    export = commands.add_parser("export", help="write a trained model as PyTorch source or ONNX")
    export.add_argument("run", metavar="RUN", help="the run folder")
    export.add_argument("trial", metavar="TRIAL", help="the number of a trial, or best")
    export.add_argument("--to", required=True, metavar="FORM", help="onnx or source")
    export.add_argument("--out", required=True, metavar="DIR", help="a new folder")
    export.add_argument("--json", action="store_true")
    export.set_defaults(command=_export)

    verify = commands.add_parser("verify", help="check an exported model again")
    verify.add_argument("folder", metavar="DIR", help="what nas export wrote")
    verify.add_argument("--json", action="store_true")
    verify.set_defaults(command=_verify)


def _export(options: argparse.Namespace) -> int:
    from functools import partial
    from pathlib import Path

    from nas.exporting.trained import export_trial
    from nas.result import load
    from nas.types import InvalidInput
    from spaces.lookup import importable

    importable(Path.cwd())
    number = None if options.trial == "best" else options.trial
    if number is not None:
        if not number.isdecimal():
            raise InvalidInput(f"trial {options.trial!r} is neither a number nor 'best'")
        number = int(number)
    result = load(options.run)
    try:
        say = (lambda line: None) if options.json else partial(print, flush=True)
        checks = export_trial(result, options.to, options.out, number, say)
    except (RuntimeError, OSError) as error:
        print(f"nas: {error}", file=sys.stderr)
        return FAILED
    return _print_checks(checks, options, f"Exported to {options.out}")


def _verify(options: argparse.Namespace) -> int:
    from nas.exporting import verify

    return _print_checks(verify(options.folder), options, f"{options.folder} is what was exported")


def _print_checks(checks: Sequence[Any], options: argparse.Namespace, conclusion: str) -> int:
    passed = all(check.passed for check in checks)
    if options.json:
        from dataclasses import asdict

        rows = [{**asdict(check), "passed": check.passed} for check in checks]
        print_json(
            [{**row, "difference": row["difference"] if row["error"] is None else None} for row in rows]
        )
    else:
        for check in checks:
            print(check)
        print(conclusion if passed else "Not all checks passed.")
    return DONE if passed else FAILED
