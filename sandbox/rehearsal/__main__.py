"""Let something go wrong in the running local world: `make rehearse`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sandbox.rehearsal.mishaps import MISHAPS
from sandbox.world import NoWorldError, World

_EXAMPLES = """\
examples:
  make rehearse                            the list
  make rehearse ARGS="pinata-key"          let it happen; make mint brings tokens that meet it
  make rehearse ARGS="pinata-key --end"    undo it
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is asked for; return 1 if no world runs."""
    parser = argparse.ArgumentParser(
        prog="make rehearse",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("mishap", nargs="?", choices=sorted(MISHAPS), metavar="MISHAP")
    parser.add_argument("--end", action="store_true", help="undo it")
    parser.add_argument("--directory", type=Path, help="the world's (var/sandbox or var/demo)")
    chosen = parser.parse_args(arguments)
    if chosen.mishap is None:
        print(_list())
        return 0
    mishap = MISHAPS[chosen.mishap]
    try:
        mishap.let_happen(World.find(chosen.directory), end=chosen.end)
    except (NoWorldError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    if chosen.end:
        print(f"It is over: {mishap.about}.")
    else:
        print(f"It happens: {mishap.about}.\nYou see:    {mishap.seen}.")
        print(f"Repair:     {mishap.repair}.")
        print(f'Undo:       make rehearse ARGS="{mishap.name} --end"')
    return 0


def _list() -> str:
    lines = ['What can go wrong here (make rehearse ARGS="NAME", undone by ARGS="NAME --end"):']
    lines += [f"  {mishap.name:17} {mishap.about}" for mishap in MISHAPS.values()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
