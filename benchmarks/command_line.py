"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from types import ModuleType

from benchmarks import (
    admin_pages,
    api_reads,
    generation,
    health,
    idle,
    limits,
    lone_mint,
    mint_many,
    recovery,
    reveal,
    takeover,
    webhook_intake,
)
from benchmarks.report import NotHere

# Each has NAME, add_options(parser) and run(options), which returns a Report.
BENCHMARKS: tuple[ModuleType, ...] = (
    lone_mint,
    mint_many,
    limits,
    generation,
    webhook_intake,
    recovery,
    reveal,
    idle,
    api_reads,
    admin_pages,
    health,
    takeover,
)


def main(arguments: list[str] | None = None) -> int:
    """Run one benchmark, or all with their default options; return the exit status."""
    options = _parser().parse_args(arguments)
    chosen = [module for module in BENCHMARKS if options.name in (None, module.NAME)]
    found = []
    try:
        for module in chosen:
            settings = options if options.name else _defaults(module)
            try:
                report = module.run(settings)
            except NotHere as error:
                print(f"{module.NAME}: not measured here: {error}", file=sys.stderr)
                if options.name:
                    return 1
                continue
            print(report.as_text(), flush=True)
            found.append(report.as_json())
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        if options.json and found:
            content = found[0] if options.name else found
            options.json.write_text(json.dumps(content, indent=2) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure the program, each time in a world of its own. No name: all of them.",
    )
    parser.set_defaults(json=None)
    _add_json(parser)
    names = parser.add_subparsers(dest="name", metavar="NAME")
    for module in BENCHMARKS:
        one = names.add_parser(module.NAME, help=_summary(module), description=module.__doc__)
        _add_json(one)
        module.add_options(one)
    return parser


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json",
        type=Path,
        default=argparse.SUPPRESS,
        metavar="FILE",
        help="write the result there: an object, or a list of them if all run",
    )


def _defaults(module: ModuleType) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    module.add_options(parser)
    return parser.parse_args([])


def _summary(module: ModuleType) -> str:
    return (module.__doc__ or "").strip().splitlines()[0]
