"""`nas space`: search spaces and their genomes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from typing import Any

from nas.commands.common import DONE, Commands, at_least, print_json
from nas.commands.space_arguments import add_space, load_space

EXACT = (5, 7, 8, 10, 11)
"""The numbers of nodes whose genomes of a flow grammar are counted, which takes a second or so."""
ESTIMATED = (15, 20, 30, 40)
"""Those whose genomes are estimated."""

SHOWN = 12
"""The most operators or productions that `nas space list` names of a space; `show` names all."""


def add(commands: Commands) -> None:
    space = commands.add_parser("space", help="look at search spaces").add_subparsers(
        title="commands", metavar="COMMAND", required=True
    )
    listed = space.add_parser("list", help="the spaces known by name")
    listed.add_argument("--json", action="store_true")
    listed.set_defaults(command=_list)

    show = space.add_parser("show", help="what a space is made of")
    add_space(show)
    show.set_defaults(command=_show)

    count = space.add_parser("count", help="how many genomes there are, before the limits on cost")
    add_space(count)
    count.set_defaults(command=_count)

    sample = space.add_parser("sample", help="draw genomes from a space")
    add_space(sample)
    sample.add_argument("--count", type=at_least(1), default=1, metavar="N", help="default: 1")
    sample.add_argument("--seed", type=at_least(0), default=0, help="default: 0")
    sample.add_argument("--size", type=at_least(1), metavar="NODES", help="the most nodes of a genome")
    sample.set_defaults(command=_sample)

    mutate = space.add_parser("mutate", help="draw neighbours of a genome, or of a known model")
    add_space(mutate)
    mutate.add_argument("genome", metavar="GENOME", help="its text, or a name such as transformer++")
    mutate.add_argument("--count", type=at_least(1), default=1, metavar="N", help="default: 1")
    mutate.add_argument("--seed", type=at_least(0), default=0, help="default: 0")
    mutate.set_defaults(command=_mutate)

    draw = space.add_parser("draw", help="draw a genome, or a known model, as a picture")
    add_space(draw)
    draw.add_argument("genome", metavar="GENOME", help="its text, or a name such as transformer++")
    draw.add_argument("--out", required=True, metavar="FILE", help="a name that ends in .svg, .png or .pdf")
    draw.set_defaults(command=_draw)

    check = space.add_parser("check", help="check a genome, or the name of a known model, and tell its cost")
    add_space(check)
    check.add_argument("genome", metavar="GENOME", help="its text, or a name such as transformer++")
    check.set_defaults(command=_check)


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
                names = row[kind]
                more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
                print(f"  {kind}: {', '.join(names[:SHOWN])}{more}")
        print(f"  known models: {', '.join(row['architectures']) or 'none'}")
    return DONE


def _describe(name: str) -> dict[str, Any]:
    import spaces
    from spaces.lookup import resolve

    found = resolve(name, spaces.SPACES, "space", spaces.InvalidSpace)
    module = sys.modules[spaces.SPACES[name].partition(":")[0]]
    about = getattr(found, "about", None) or (module.__doc__ or "").strip().splitlines()[0]
    if isinstance(found, spaces.Grammar):
        return {"about": about, "productions": list(found.productions), "architectures": list(found.named)}
    space = spaces.load(name)
    return {"about": about, "operators": list(space.operators), "architectures": list(space.named)}


def _genome_row(space: Any, genome: Any) -> dict[str, Any]:
    """A genome, with what it costs where its space tells that."""
    from dataclasses import asdict

    import spaces

    row = {"text": genome.text, "digest": genome.digest}
    try:
        return {**row, **asdict(space.cost(genome))}
    except spaces.InvalidSpace:
        return row


def _show(options: argparse.Namespace) -> int:
    space = load_space(options)
    rows = _rows(space)
    if options.json:
        print_json(rows)
        return DONE
    print(space)
    for row in rows:
        if "form" in row:
            print(f"  {row['form']}: a form of weight {row['weight']:g}")
            continue
        if "field" in row:
            print(f"  {row['field']}: {_in_words(row)}")
            continue
        never = "" if row["available"] else ", whose guard never holds at this input and output"
        print(f"  {row['production']}, a {' or '.join(row['of'])} of weight {row['weight']:g}" + never)
        for key, field in row["fields"].items():
            print(f"    {key}: {_in_words(field)}")
    return DONE


def _rows(space: Any) -> list[dict[str, Any]]:
    """What a space is made of: its productions, or its fields."""
    import spaces

    if isinstance(space, spaces.JointSpace):
        ours = [{"field": key, **_field(field)} for key, field in space.fields.items()]
        return _rows(space.architectures) + ours
    if isinstance(space, spaces.GrammarSpace):
        return [
            {
                "production": production.name,
                "of": list(production.nonterminals),
                "weight": production.weight,
                "available": production.name not in space.unavailable,
                "fields": {key: _field(field) for key, field in production.fields.items()},
            }
            for production in space.grammar.productions.values()
        ]
    if isinstance(space, spaces.FlowSpace):
        forms: list[dict[str, Any]] = [
            {"form": form, "weight": weight} for form, weight in space.weights.items()
        ]
        return forms + [
            {"field": kind, "values": list(terminals)} for kind, terminals in space.grammar.terminals.items()
        ]
    if isinstance(space, spaces.ProductSpace):
        return [{"field": key, **_field(field)} for key, field in space.fields.items()]
    return [
        {"field": f"{name}.{key}", **_field(field)}
        for name, choices in space.operators.items()
        for key, field in choices.items()
    ]


def _field(field: Any) -> dict[str, Any]:
    """What a field may hold: `values`, a range, or children (`of`, and how many where they are a list)."""
    from spaces.fields import Children, Real

    if isinstance(field, Children):
        many = {"least": field.low, "most": field.high} if field.listed else {}
        return {"of": field.nonterminal, **many}
    if isinstance(field, Real):
        return {"low": field.low, "high": field.high, "log": field.log}
    return {"values": list(field.values)}


def _in_words(field: dict[str, Any]) -> str:
    """The same as a person reads it."""
    from spaces.fields import spell

    if "values" in field:
        return " | ".join(map(spell, field["values"]))
    if "low" in field:
        scale = " on a logarithmic scale" if field["log"] else ""
        return f"from {field['low']:g} to {field['high']:g}{scale}"
    return f"{field['least']} to {field['most']} of {field['of']}" if "least" in field else f"a {field['of']}"


def _count(options: argparse.Namespace) -> int:
    from decimal import Decimal

    import spaces
    from nas.display import count

    space = load_space(options)
    by_nodes = _by_nodes(space) if isinstance(space, spaces.FlowSpace) else []
    if options.json:
        print_json({"genomes": space.size} | ({"by_nodes": by_nodes} if by_nodes else {}))
        return DONE
    print(f"{count(space.size)}{', by number of nodes:' if by_nodes else ''}")
    for row in by_nodes:
        if "genomes" in row:
            print(f"  {row['nodes']:>3}  {count(row['genomes'])}")
        else:
            about, error = Decimal(10) ** Decimal(row["log10"]), row["standard_error"]
            print(f"  {row['nodes']:>3}  about {about:.2e}, with a standard error of {error:.0%}")
    return DONE


def _by_nodes(space: Any) -> list[dict[str, Any]]:
    """The genomes of each number of nodes: exact where there are few shapes, then estimates with relative errors."""
    import numpy as np

    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = [
        {"nodes": nodes, "genomes": space.count(nodes)} for nodes in EXACT if nodes <= space.nodes
    ]
    for nodes in ESTIMATED:
        if nodes <= space.nodes:
            log10, error = space.estimate(nodes, rng)
            if np.isfinite(error):
                rows.append({"nodes": nodes, "log10": log10, "standard_error": error})
    return rows


def _sample(options: argparse.Namespace) -> int:
    import numpy as np

    space = load_space(options)
    rng = np.random.default_rng(options.seed)
    drawn = (space.sample(rng, size=options.size) for _ in range(options.count))
    return _print_genomes(options, space, drawn)


def _mutate(options: argparse.Namespace) -> int:
    import numpy as np

    from spaces.lookup import find_genome

    space = load_space(options)
    genome = find_genome(space, options.genome)
    rng = np.random.default_rng(options.seed)
    return _print_genomes(options, space, (space.mutate(genome, rng) for _ in range(options.count)))


def _print_genomes(options: argparse.Namespace, space: Any, genomes: Iterable[Any]) -> int:
    if options.json:
        print_json([_genome_row(space, genome) for genome in genomes])
    else:
        for genome in genomes:
            print(genome.text)
    return DONE


def _draw(options: argparse.Namespace) -> int:
    from nas.report.drawing import draw
    from nas.types import InvalidInput
    from spaces.lookup import find_genome

    space = load_space(options)
    try:
        path = draw(space, find_genome(space, options.genome), options.out)
    except OSError as error:
        raise InvalidInput(f"--out {options.out} cannot be written: {error}") from error
    if options.json:
        print_json({"path": str(path)})
    else:
        print(f"Drawn in {path}")
    return DONE


def _check(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from nas.display import short, size
    from spaces.io import TokenIO
    from spaces.lookup import find_genome
    from spaces.protocol import Sharing

    space = load_space(options)
    genome = find_genome(space, options.genome)
    row = _genome_row(space, genome)
    if isinstance(space, Sharing):
        row["saved"] = asdict(space.saved(genome))
    if options.json:
        print_json(row)
        return DONE
    print(f"valid: {row['text']}")
    print(f"digest           {row['digest']}")
    if "parameters" not in row:
        return DONE
    unit = "token" if isinstance(space.io, TokenIO) else "sample"
    print(f"parameters       {short(row['parameters'])}, {short(row['active_parameters'])} active a {unit}")
    if unit == "sample":
        print(f"FLOPs            {short(row['flops_per_token'])} a sample")
        return DONE
    print(f"FLOPs per token  {short(row['flops_per_token'])} at a context of {space.context}")
    print(f"decode state     {size(row['state_bytes'])} at a context of {space.context}")
    if saved := row.get("saved"):
        state = size(saved["state_bytes"])
        print(f"saved by sharing {short(saved['parameters'])} parameters, {state} of decode state")
    return DONE
