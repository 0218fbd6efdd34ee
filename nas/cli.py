"""The command line: each command calls the library and prints what it gives."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from typing import Any

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: done; failed while running; the input was wrong; stopped by a signal, to be gone on with."""


LIMITS = ("context", "nodes", "operators", "parameters", "flops_per_token", "state_bytes")
"""What `nas space` may limit."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit code."""
    options = parser().parse_args(arguments)
    from nas.types import InvalidInput
    from spaces.errors import InvalidGenome, InvalidGrammar, InvalidSpace

    try:
        return options.command(options)
    except (InvalidInput, InvalidGenome, InvalidGrammar, InvalidSpace) as error:
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


def _at_least(low: int) -> Any:
    """The type of an argument that is a whole number."""

    def number(text: str) -> int:
        value = int(text)
        if value < low:
            raise argparse.ArgumentTypeError(f"must be at least {low}, got {value}")
        return value

    number.__name__ = "int"
    return number


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="nas", description="Neural architecture search from a grammar to trained, ranked models."
    )
    top.add_argument("--version", action=_Version, help="print the version and exit")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    run = commands.add_parser("run", help="run a campaign file, or go on with it where it stopped")
    run.add_argument("file", metavar="FILE", help="the campaign file (TOML)")
    run.add_argument("--dir", metavar="RUN", help="the run folder (default: runs/NAME)")
    run.add_argument(
        "--workers", type=_at_least(0), metavar="N", help="how many workers (default: as the file says)"
    )
    run.add_argument(
        "--address", help="join the Ray cluster at this address ('auto': the one this machine is in)"
    )
    run.add_argument(
        "--engine", choices=("ray", "serial"), help="where trials run (default: as the file says)"
    )
    run.add_argument(
        "--dry-run", action="store_true", help="check the file, print what would run, start nothing"
    )
    run.add_argument("--json", action="store_true", help="print the outcome as JSON")
    run.set_defaults(command=_run)

    status = commands.add_parser("status", help="where a campaign stands")
    status.add_argument("run", metavar="RUN", help="the run folder")
    status.add_argument("--json", action="store_true")
    status.set_defaults(command=_status)

    runs = commands.add_parser("list", help="the campaigns in a folder")
    runs.add_argument("folder", nargs="?", default="runs", metavar="FOLDER", help="default: runs")
    runs.add_argument("--json", action="store_true")
    runs.set_defaults(command=_list)

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

    space = commands.add_parser("space", help="look at search spaces").add_subparsers(
        title="commands", metavar="COMMAND", required=True
    )
    listed = space.add_parser("list", help="the spaces known by name")
    listed.add_argument("--json", action="store_true")
    listed.set_defaults(command=_space_list)

    sample = space.add_parser("sample", help="draw genomes from a space")
    _add_space(sample)
    sample.add_argument("--count", type=_at_least(1), default=1, metavar="N", help="default: 1")
    sample.add_argument("--seed", type=_at_least(0), default=0, help="default: 0")
    sample.add_argument("--size", type=_at_least(1), metavar="NODES", help="the most nodes of a genome")
    sample.set_defaults(command=_space_sample)

    check = space.add_parser("check", help="check a genome, or the name of a known model, and tell its cost")
    _add_space(check)
    check.add_argument("genome", metavar="GENOME", help="its text, or a name such as transformer++")
    check.set_defaults(command=_space_check)
    return top


def _add_space(command: argparse.ArgumentParser) -> None:
    command.add_argument("space", metavar="SPACE", help="a name, or package.module:attribute")
    command.add_argument(
        "--width", type=int, default=128, help="features of the residual stream (default: 128)"
    )
    command.add_argument("--vocab", type=int, default=256, help="size of the vocabulary (default: 256)")
    for limit in LIMITS:
        option = f"--{limit.replace('_', '-')}"
        command.add_argument(
            option, type=_at_least(1), metavar="N", help="of the space, see its documentation"
        )
    command.add_argument("--json", action="store_true")


def _run(options: argparse.Namespace) -> int:
    from nas import campaign, setup
    from nas.report.tables import console, print_result

    out = console(stderr=options.json)
    config = setup.configure(options.file, workers=options.workers, engine=options.engine)
    if options.dry_run:
        try:
            return _dry_run(setup.plan(config), options.json)
        except RuntimeError as error:  # a genome that was drawn does not build or train
            print(f"nas: {error}", file=sys.stderr)
            return FAILED
    from nas.report.live import Progress

    # A cluster that takes the machine back says so by SIGTERM.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    progress = Progress(config, out)
    try:
        with progress:
            result = campaign.run(config, dir=options.dir, address=options.address, observe=progress)
    except KeyboardInterrupt:
        # Counted in the log: the signal may have come between writing a trial and telling of it.
        kept = _kept(options.dir or f"runs/{config.name}")
        out.print(f"Stopped. {kept} trials have ended and are kept; the same command goes on.")
        return INTERRUPTED
    except (RuntimeError, OSError) as error:
        print(f"nas: {error}", file=sys.stderr)
        return FAILED
    if options.json:
        _print_json(_outcome(result))
    else:
        print_result(result, out)
    return DONE if result.done else FAILED


def _kept(folder: str) -> int:
    """How many trials have ended in a run folder; none where it was not made yet."""
    from nas.result import load
    from nas.types import InvalidInput

    try:
        return len(load(folder).trials)
    except InvalidInput:
        return 0


def _outcome(result: Any) -> dict[str, Any]:
    from nas.report.data import ranking, status

    return {**status(result), "ranking": ranking(result)}


def _dry_run(plan: dict[str, Any], as_json: bool) -> int:
    from nas.report.data import duration, size

    if as_json:
        _print_json(plan)
        return DONE
    print(json.dumps(plan["config"], indent=2))
    print()
    space, trial = plan["space"], plan["trial"]
    print(f"space     {space['name']}: {_count(space['genomes'])} genomes, before the limits on cost")
    if space["unavailable"]:
        print(f"          not at this width: {', '.join(space['unavailable'])}")
    slowest = f"{duration(trial['slowest'])} the slowest of {trial['drawn']} draws"
    print(f"trial     about {duration(trial['seconds'])} ({slowest})")
    print(
        f"memory    about {size(trial['bytes'])} a worker for weights, gradients, optimiser and activations"
    )
    print(f"campaign  about {duration(plan['seconds'])} on {plan['workers']} workers")
    return DONE


def _count(number: int | None) -> str:
    if number is None:
        return "infinitely many"
    return f"{number:,}" if number < 10**6 else f"10^{len(str(number)) - 1}"


def _status(options: argparse.Namespace) -> int:
    from nas.report.data import status
    from nas.report.tables import console, print_status
    from nas.result import load

    result = load(options.run)
    if options.json:
        _print_json(status(result))
    else:
        print_status(result, console())
    return DONE


def _list(options: argparse.Namespace) -> int:
    from pathlib import Path

    from nas.report.data import runs
    from nas.report.tables import console, runs_table
    from nas.types import InvalidInput

    if not Path(options.folder).is_dir() and options.folder != "runs":
        raise InvalidInput(f"{options.folder}: no such folder")
    rows = runs(options.folder)
    if options.json:
        _print_json(rows)
    elif rows:
        console().print(runs_table(rows))
    else:
        print(f"No campaigns in {options.folder}; start one with: nas run FILE")
    return DONE


def _export(options: argparse.Namespace) -> int:
    from pathlib import Path

    from nas.config import importable
    from nas.exporting.trained import export_trial
    from nas.result import load
    from nas.types import InvalidInput

    importable(Path.cwd())
    number = None if options.trial == "best" else options.trial
    if number is not None:
        if not number.isdecimal():
            raise InvalidInput(f"trial {options.trial!r} is neither a number nor 'best'")
        number = int(number)
    result = load(options.run)
    try:
        checks = export_trial(result, options.to, options.out, number)
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
        _print_json(
            [{**row, "difference": row["difference"] if row["error"] is None else None} for row in rows]
        )
    else:
        for check in checks:
            print(check)
        print(conclusion if passed else "Not all checks passed.")
    return DONE if passed else FAILED


def _space_list(options: argparse.Namespace) -> int:
    import spaces

    rows = [{"name": name, **_describe(name)} for name in spaces.SPACES]
    if options.json:
        _print_json(rows)
        return DONE
    for row in rows:
        print(f"{row['name']}  {row['about']}")
        print(f"  productions: {', '.join(row['productions'])}")
        print(f"  known models: {', '.join(row['architectures'])}")
    return DONE


def _describe(name: str) -> dict[str, Any]:
    import importlib

    import spaces

    module, _, attribute = spaces.SPACES[name].partition(":")
    grammar = getattr(importlib.import_module(module), attribute)
    about = (importlib.import_module(module).__doc__ or "").strip().splitlines()[0]
    return {"about": about, "productions": list(grammar.productions), "architectures": list(grammar.named)}


def _load_space(options: argparse.Namespace) -> Any:
    from pathlib import Path

    import spaces
    from nas.config import importable

    importable(Path.cwd())
    limits = {name: getattr(options, name) for name in LIMITS if getattr(options, name) is not None}
    return spaces.load(options.space, spaces.tokens(options.vocab, options.width), **limits)


def _genome_row(space: Any, genome: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return {"text": genome.text, "digest": genome.digest, **asdict(space.cost(genome))}


def _space_sample(options: argparse.Namespace) -> int:
    import numpy as np

    space = _load_space(options)
    rng = np.random.default_rng(options.seed)
    rows = [_genome_row(space, space.sample(rng, size=options.size)) for _ in range(options.count)]
    if options.json:
        _print_json(rows)
    else:
        for row in rows:
            print(row["text"])
    return DONE


def _space_check(options: argparse.Namespace) -> int:
    from nas.report.data import short, size

    space = _load_space(options)
    named = options.genome in space.named or "(" not in options.genome
    genome = space.architecture(options.genome) if named else space.parse(options.genome)
    row = _genome_row(space, genome)
    if options.json:
        _print_json(row)
        return DONE
    print(f"valid: {row['text']}")
    print(f"digest           {row['digest']}")
    print(f"parameters       {short(row['parameters'])}, {short(row['active_parameters'])} active a token")
    print(f"FLOPs per token  {short(row['flops_per_token'])} at a context of {space.context}")
    print(f"decode state     {size(row['state_bytes'])} at a context of {space.context}")
    return DONE


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, allow_nan=False))


if __name__ == "__main__":
    sys.exit(main())
