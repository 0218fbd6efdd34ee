"""`nas run`, `status` and `list`: campaigns."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from typing import Any

from nas.commands.common import DONE, FAILED, INTERRUPTED, Commands, aside, at_least, print_json


def add(commands: Commands) -> None:
    run = commands.add_parser("run", help="run a campaign file, or go on with it where it stopped")
    run.add_argument("file", metavar="FILE", help="the campaign file (TOML)")
    run.add_argument("--dir", metavar="RUN", help="the run folder (default: runs/NAME)")
    run.add_argument(
        "--workers", type=at_least(0), metavar="N", help="how many workers (default: as the file says)"
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


def _run(options: argparse.Namespace) -> int:
    from nas import campaign, setup
    from nas.report.tables import console, print_result

    out = console(stderr=options.json)
    with aside(options.json):
        config = setup.configure(options.file, workers=options.workers, engine=options.engine)
    if options.dry_run:
        try:
            from nas.dry_run import plan

            with aside(options.json):
                planned = plan(config)
            return _dry_run(planned, options.json)
        except RuntimeError as error:  # a genome that was drawn does not build or train
            print(f"nas: {error}", file=sys.stderr)
            return FAILED
    from nas.report.live import Progress

    # A cluster that takes the machine back says so by SIGTERM.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = f"runs/{config.name}" if options.dir is None else options.dir
    try:
        with aside(options.json):
            prepared = setup.prepare(config, folder)
        progress = Progress(prepared.config, out)
        with aside(options.json), progress:
            result = campaign.execute(prepared, folder, address=options.address, observe=progress)
    except KeyboardInterrupt:
        # Counted in the log: the signal may have come between writing a trial and telling of it.
        kept = _kept(folder)
        out.print(f"Stopped. {kept} trials have ended and are kept; the same command goes on.")
        return INTERRUPTED
    except OSError as error:  # a full disk, say
        place = f"{error.filename}: " if error.filename else ""
        goes_on = (
            f"{_kept(folder)} trials have ended and are kept; once that is mended, the same command goes on"
        )
        print(f"nas: {place}{error.strerror or error}. {goes_on}", file=sys.stderr)
        return FAILED
    except RuntimeError as error:
        print(f"nas: {error}", file=sys.stderr)
        return FAILED
    if options.json:
        print_json(_outcome(result))
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
    from nas.display import count, duration, number, size

    if as_json:
        print_json(plan)
        return DONE
    print(json.dumps(plan["config"], indent=2))
    print()
    space, trial = plan["space"], plan["trial"]
    limited = ", before the limits on cost" * space["costed"]
    print(f"space     {space['name']}: {count(space['genomes'])} genomes{limited}")
    if space["unavailable"]:
        print(f"          not at this width: {', '.join(space['unavailable'])}")
    if "io" in trial:
        ((kind, sizes),) = trial["io"].items()
        print(f"io        {kind}({', '.join(f'{name}={length}' for name, length in sizes.items())})")
    strategy = plan["config"]["strategy"]
    if "because" in strategy:
        print(f"strategy  {strategy['chosen']['name']}: {strategy['because']}")
    based = f"{duration(trial['slowest'])} the slowest of {trial['drawn']} draws, each"
    based = "one draw," if trial["drawn"] == 1 else based
    threads = f"{trial['threads']} thread{'s' * (trial['threads'] > 1)}"
    mean = duration(trial["seconds"]) if trial["seconds"] >= 1 else f"{trial['seconds']:.2g} s"
    print(f"trial     about {mean} ({based} on {threads})")
    if "bytes" in trial:
        print(
            f"memory    about {size(trial['bytes'])} a worker for weights, gradients, optimiser and activations"
        )
    if "metrics" in trial:
        told = ", ".join(f"{name} {number(value)}" for name, value in trial["metrics"].items())
        print(f"measured  {told} by {trial['genome']}")
    print(
        f"campaign  about {duration(plan['seconds'])} on {plan['workers']} worker{'s' * (plan['workers'] > 1)}"
    )
    return DONE


def _status(options: argparse.Namespace) -> int:
    from nas.report.data import status
    from nas.report.tables import console, print_status
    from nas.result import load

    result = load(options.run)
    if options.json:
        print_json(status(result))
    else:
        print_status(result, console())
    return DONE


def _list(options: argparse.Namespace) -> int:
    from pathlib import Path

    from nas.report.data import runs
    from nas.report.tables import console, runs_table
    from nas.types import InvalidInput

    folder = Path(options.folder)
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"{options.folder}: it is a file, not a folder")
    if not folder.exists() and options.folder != "runs":
        raise InvalidInput(f"{options.folder}: no such folder")
    rows = runs(options.folder)
    if options.json:
        print_json(rows)
    elif rows:
        console().print(runs_table(rows))
    else:
        print(f"No campaigns in {options.folder}; start one with: nas run FILE")
    return DONE
