"""`nas space`: search spaces and their genomes."""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any

from nas.commands.common import DONE, Commands, at_least, print_json

LIMITS = ("context", "nodes", "operators", "parameters", "flops_per_token", "state_bytes")
"""What may be limited."""


def add(commands: Commands) -> None:
    space = commands.add_parser("space", help="look at search spaces").add_subparsers(
        title="commands", metavar="COMMAND", required=True
    )
    listed = space.add_parser("list", help="the spaces known by name")
    listed.add_argument("--json", action="store_true")
    listed.set_defaults(command=_list)

    sample = space.add_parser("sample", help="draw genomes from a space")
    _add_space(sample)
    sample.add_argument("--count", type=at_least(1), default=1, metavar="N", help="default: 1")
    sample.add_argument("--seed", type=at_least(0), default=0, help="default: 0")
    sample.add_argument("--size", type=at_least(1), metavar="NODES", help="the most nodes of a genome")
    sample.set_defaults(command=_sample)

    check = space.add_parser("check", help="check a genome, or the name of a known model, and tell its cost")
    _add_space(check)
    check.add_argument("genome", metavar="GENOME", help="its text, or a name such as transformer++")
    check.set_defaults(command=_check)


def _add_space(command: argparse.ArgumentParser) -> None:
    command.add_argument("space", metavar="SPACE", help="a name, or package.module:attribute")
    command.add_argument(
        "--width", type=at_least(1), metavar="N", help="features of the residual stream (default: 128)"
    )
    command.add_argument(
        "--vocab", type=at_least(1), metavar="N", help="size of the vocabulary (default: 256)"
    )
    for limit in LIMITS:
        option = f"--{limit.replace('_', '-')}"
        command.add_argument(
            option, type=at_least(1), metavar="N", help="of the space, see its documentation"
        )
    command.add_argument("--json", action="store_true")


def _list(options: argparse.Namespace) -> int:
    import spaces

    rows = [{"name": name, **_describe(name)} for name in spaces.SPACES]
    if options.json:
        print_json(rows)
        return DONE
    for row in rows:
        print(f"{row['name']}  {row['about']}")
        for kind in ("productions", "operators"):
            if kind in row:
                print(f"  {kind}: {', '.join(row[kind])}")
        print(f"  known models: {', '.join(row['architectures']) or 'none'}")
    return DONE


def _describe(name: str) -> dict[str, Any]:
    import spaces
    from spaces.lookup import resolve

    found = resolve(name, spaces.SPACES, "space", spaces.InvalidSpace)
    module = sys.modules[spaces.SPACES[name].partition(":")[0]]
    about = (module.__doc__ or "").strip().splitlines()[0]
    if isinstance(found, spaces.Grammar):
        return {"about": about, "productions": list(found.productions), "architectures": list(found.named)}
    space = spaces.load(name)
    return {"about": about, "operators": list(space.operators), "architectures": list(space.named)}


def _load(options: argparse.Namespace) -> Any:
    from pathlib import Path

    import spaces
    from spaces.lookup import importable

    importable(Path.cwd())
    limits = {name: getattr(options, name) for name in LIMITS if getattr(options, name) is not None}
    sizes = {
        name: getattr(options, name) for name in ("vocab", "width") if getattr(options, name) is not None
    }
    return spaces.load(options.space, spaces.tokens(**sizes) if sizes else None, **limits)


def _genome_row(space: Any, genome: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return {"text": genome.text, "digest": genome.digest, **asdict(space.cost(genome))}


def _sample(options: argparse.Namespace) -> int:
    import numpy as np

    space = _load(options)
    rng = np.random.default_rng(options.seed)
    rows = [_genome_row(space, space.sample(rng, size=options.size)) for _ in range(options.count)]
    if options.json:
        print_json(rows)
    else:
        for row in rows:
            print(row["text"])
    return DONE


def _check(options: argparse.Namespace) -> int:
    from nas.display import short, size

    space = _load(options)
    named = options.genome in space.named or re.fullmatch(r"[\w .+-]*", options.genome)
    genome = space.architecture(options.genome) if named else space.parse(options.genome)
    row = _genome_row(space, genome)
    if options.json:
        print_json(row)
        return DONE
    print(f"valid: {row['text']}")
    print(f"digest           {row['digest']}")
    print(f"parameters       {short(row['parameters'])}, {short(row['active_parameters'])} active a token")
    print(f"FLOPs per token  {short(row['flops_per_token'])} at a context of {space.context}")
    print(f"decode state     {size(row['state_bytes'])} at a context of {space.context}")
    return DONE
