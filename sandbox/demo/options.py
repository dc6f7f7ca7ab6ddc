"""What the demo can be asked for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.recipes import BASE_DIR

DEFAULT_DIRECTORY = BASE_DIR / "var" / "demo"
_MOST_TOKENS = 2000
_EXAMPLES = """\
examples:
  make demo                                  watch 24 tokens, then look around; Ctrl-C ends it
  make demo ARGS="--exit --tokens 24"        end by itself; status 0 only if every token is right
  make demo ARGS="--keep --tokens 5"         five more tokens in the world of the last run
"""


@dataclass(frozen=True)
class DemoOptions:
    """`block_time` is in seconds."""

    tokens: int = 24
    exit: bool = False
    seed: int = 7
    keep: bool = False
    block_time: float = 2.0
    directory: Path = DEFAULT_DIRECTORY
    free_ports: bool = False
    screenshots: Path | None = None


def parse_options(arguments: Sequence[str] | None = None) -> DemoOptions:
    """Read the command line; ends the process with a message if it makes no sense."""
    usual = DemoOptions()
    parser = argparse.ArgumentParser(
        prog="make demo",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--tokens", type=int, default=usual.tokens, metavar="N", help="tokens to mint (24)"
    )
    parser.add_argument("--exit", action="store_true", help="end when all is checked")
    parser.add_argument("--seed", type=int, default=usual.seed, help="who mints what, and when (7)")
    parser.add_argument(
        "--keep", action="store_true", help="go on with the chain and the database of the last run"
    )
    parser.add_argument(
        "--block-time", type=float, default=usual.block_time, metavar="S",
        help="seconds per block (2)",
    )  # fmt: skip
    parser.add_argument(
        "--directory", type=Path, default=usual.directory, help="where the world lives (var/demo)"
    )
    parser.add_argument(
        "--free-ports", action="store_true", help="take any free ports, not those of .env.example"
    )
    parser.add_argument(
        "--screenshots", type=Path, metavar="DIR", help="save pictures of the pages; needs Chromium"
    )
    chosen = parser.parse_args(arguments)
    if not 1 <= chosen.tokens <= _MOST_TOKENS:
        parser.error(f"--tokens must be from 1 to {_MOST_TOKENS}")
    if not 0.2 <= chosen.block_time <= 60:
        parser.error("--block-time must be from 0.2 to 60 seconds")
    return DemoOptions(**vars(chosen))
