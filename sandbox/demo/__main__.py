"""Run the demo: `make demo`."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from sandbox.anvil import AnvilInstallError
from sandbox.demo.screen import Screen, bypass_proxies, make_output_robust
from sandbox.demo.show import Demo, DemoOptions, build_world
from sandbox.services import ServiceError
from sandbox.world import DirectoryInUse, claimed

_INTERRUPTED = 130
_MOST_TOKENS = 2000
_EXAMPLES = """\
examples:
  make demo                                  watch 24 tokens, then look around; Ctrl-C ends it
  make demo ARGS="--exit --tokens 24"        end by itself; status 0 only if every token is right
  make demo ARGS="--keep --tokens 5"         five more tokens in the world of the last run
"""


def main() -> int:
    """Return 0 if every token is right, 1 if not, 130 if it was ended before that was known."""
    options = parse_options()
    make_output_robust()
    bypass_proxies()
    screen = Screen()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        with claimed(options.directory):
            return _show(options, screen)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except DirectoryInUse as error:
        screen.fail(f"Another world runs in {error}.", "End it, or give a --directory of its own.")
    except AnvilInstallError as error:
        screen.fail(
            "The local EVM node could not be installed.",
            "It is fetched once, from npm's registry. Connect to the network and try again, or "
            f"set ANVIL_BINARY to an anvil of your own.\n\n{error}",
        )
    except (ServiceError, RuntimeError, OSError) as error:
        screen.fail("The local world does not run.", str(error))
    return 1


def _show(options: DemoOptions, screen: Screen) -> int:
    screen.title("GLISK", "a mint becomes a revealed token, on this machine alone")
    with build_world(options) as world:
        demo = Demo(options, screen, world)
        try:
            demo.start()
            right = demo.run()
            if options.exit:
                screen.show("\n  [dim]All of it ends now; without --exit it stays up.[/]")
            else:
                screen.show("\n  [dim]Everything stays up. Ctrl-C ends it.[/]")
                _wait_for_interrupt()
        finally:
            # A second Ctrl-C must not leave half of it behind.
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
    return 0 if right else 1


def parse_options(arguments: Sequence[str] | None = None) -> DemoOptions:
    """Read the command line; ends the process with a message if it makes no sense."""
    usual = DemoOptions()
    parser = argparse.ArgumentParser(
        prog="make demo",
        description="Show a mint become a revealed token.",
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


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _wait_for_interrupt() -> None:
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    sys.exit(main())
