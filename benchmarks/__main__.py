"""Measure the program: `python -m benchmarks [NAME [options]] [--json FILE]`.

Each benchmark is a module: its docstring says what is measured and OPTIONS what can be chosen.
`measure` does it in a world with these `settings`, or `run` in one of its own. Without a name all
of them run.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

from benchmarks.report import Report, Result, machine_facts
from benchmarks.scene import scene

NAMES = (
    "lone_mint",
    "mint_many",
    "generation",
    "webhook_intake",
    "recovery",
    "reveal",
    "keepers",
    "idle",
    "api_reads",
    "admin_pages",
    "start_up",
    "steps",
    "queries",
    "big_tables",
)


def main(arguments: list[str] | None = None) -> int:
    """Run one benchmark, or all with their default options; return the exit status."""
    modules = {name: import_module(f"benchmarks.{name}") for name in NAMES}
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there")
    of_one = parser.add_subparsers(dest="name", metavar="NAME")
    for name, module in modules.items():
        summary = (module.__doc__ or "").splitlines()[0]
        one = of_one.add_parser(name, help=summary, description=module.__doc__)
        one.add_argument("--json", type=Path, metavar="FILE", default=argparse.SUPPRESS)
        _add_options(one, module)
    options = parser.parse_args(arguments)
    reports: list[Report] = []
    try:
        names = [options.name] if options.name else NAMES
        reports.extend(_report(name, modules[name], options) for name in names)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        if options.json and reports:
            found = [report.as_json() for report in reports]
            content = found[0] if options.name else found
            options.json.write_text(json.dumps(content, indent=2) + "\n")
    return 0


def _report(name: str, module: ModuleType, options: argparse.Namespace) -> Report:
    machine = machine_facts()
    result = _measure(name, module, options) if options.name else measure(name)
    report = Report(name, result, machine)
    print(report.as_text(), flush=True)
    return report


def measure(name: str, *arguments: str) -> Result:
    """Return what a benchmark finds with these options."""
    module, parser = import_module(f"benchmarks.{name}"), argparse.ArgumentParser()
    _add_options(parser, module)
    return _measure(name, module, parser.parse_args(arguments))


def _measure(name: str, module: ModuleType, options: argparse.Namespace) -> Result:
    result: Result
    if hasattr(module, "run"):
        result = module.run(options)
    else:
        with scene(name, module.settings(options)) as place:
            result = module.measure(place, options)
    return result


def _add_options(parser: argparse.ArgumentParser, module: ModuleType) -> None:
    for name, (default, meaning) in module.OPTIONS.items():
        option = f"--{name.replace('_', '-')}"
        if default is False:
            parser.add_argument(option, action="store_true", help=meaning)
        else:
            told = f"{meaning} (default {default})"
            parser.add_argument(option, type=type(default), default=default, help=told)


if __name__ == "__main__":
    sys.exit(main())
