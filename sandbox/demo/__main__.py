"""Run the demo: `make demo`."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

from sandbox.anvil import AnvilInstallError
from sandbox.demo.options import DemoOptions, parse_options
from sandbox.demo.screen import Screen, bypass_proxies, make_output_robust
from sandbox.demo.show import Demo, build_world
from sandbox.services import ServiceError
from sandbox.world import DirectoryInUse, claimed

_INTERRUPTED = 130


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


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _wait_for_interrupt() -> None:
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    sys.exit(main())
