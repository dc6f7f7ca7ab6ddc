"""The demo from the first step to the last: `make demo`."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from types import FrameType

from sandbox.accounts import KEEPER
from sandbox.anvil import AnvilInstallError, ensure_anvil, find_anvil
from sandbox.demo import report
from sandbox.demo.evidence import collect, judge
from sandbox.demo.people import COLLECTOR_INDICES, OPERATOR, Minter, name_of, plan_mints, seed
from sandbox.demo.screen import ACCENT, Screen, bypass_proxies, make_output_robust
from sandbox.demo.watching import Snapshot, Watcher
from sandbox.services import ServiceError
from sandbox.world import (
    BASE_DIR,
    DirectoryInUse,
    Ports,
    World,
    WorldOptions,
    claimed,
    reset_directory,
)

_INTERRUPTED = 130
_MOST_TOKENS = 2000
_LOOK_EVERY_SECONDS = 0.12
# Nothing has moved for so long: something is wrong that waiting does not mend.
_PATIENCE_SECONDS = 60.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_EXAMPLES = """\
examples:
  make demo                                  watch 24 tokens, then look around; Ctrl-C ends it
  make demo ARGS="--exit --tokens 24"        end alone; status 0 only if every token is right
  make demo ARGS="--keep --tokens 5"         five more tokens in the world of the last run
"""


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; ends the process with a message if it makes no sense."""
    parser = argparse.ArgumentParser(
        prog="make demo",
        description="Show a mint become a revealed token.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--tokens", type=int, default=24, metavar="N", help="tokens to mint (24)")
    add("--exit", action="store_true", help="end when all is checked")
    add("--seed", type=int, default=7, help="who mints what, and when (7)")
    add("--keep", action="store_true", help="go on with chain and database of the last run")
    add("--block-time", type=float, default=2.0, metavar="S", help="seconds per block (2)")
    directory = BASE_DIR / "var" / "demo"
    add("--directory", type=Path, default=directory, help="where the world lives (var/demo)")
    add("--free-ports", action="store_true", help="any free ports, not those of .env.example")
    add("--screenshots", type=Path, metavar="DIR", help="save pictures of the pages; by Chromium")
    chosen = parser.parse_args(arguments)
    if not 1 <= chosen.tokens <= _MOST_TOKENS:
        parser.error(f"--tokens must be from 1 to {_MOST_TOKENS}")
    if not 0.2 <= chosen.block_time <= 60:
        parser.error("--block-time must be from 0.2 to 60 seconds")
    return chosen


def main() -> int:
    """Return 0 if every token is right, 1 if not, 130 if it was ended before that was known."""
    options = parse_options()
    make_output_robust()
    bypass_proxies()
    screen = Screen()
    for number in _SIGNALS:
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


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _show(options: argparse.Namespace, screen: Screen) -> int:
    subtitle = "a mint becomes a revealed token, on this machine alone"
    screen.show(f"\n[bold {ACCENT}]GLISK[/]  [dim]{subtitle}[/]\n")
    if not options.keep:
        reset_directory(options.directory)
    ports = Ports.free() if options.free_ports else Ports.default_or_free()
    settings = WorldOptions(block_time=options.block_time)
    with World(options.directory, ports=ports, options=settings) as world:
        try:
            password = _start(world, screen)
            right = _run(options, screen, world, password)
            if options.exit:
                screen.show("\n  [dim]All of it ends now; without --exit it stays up.[/]")
            else:
                screen.show("\n  [dim]Everything stays up. Ctrl-C ends it.[/]")
                with suppress(KeyboardInterrupt):
                    threading.Event().wait()
        finally:
            # A second Ctrl-C must not leave half of it behind.
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_IGN)
    return 0 if right else 1


def _start(world: World, screen: Screen) -> str:
    """Start the world and let its people in; return the operator's password."""
    if find_anvil() is None:
        with screen.step("Local EVM node installed"):
            ensure_anvil()
    ensure_anvil()  # raises before anything has started
    with ThreadPoolExecutor(1) as pool:
        migrated = pool.submit(world.manage, "migrate", "--verbosity", "0")
        with screen.step("EVM node, contract, emulated vendors") as notes:
            world.start_vendors()
            notes.append(f"contract {world.chain.contract.address}")
        with screen.step("PostgreSQL, tables up to date"):
            migrated.result()
    with screen.step("Web server and worker") as notes:
        world.start_apps(migrate=False)
        world.watch()
        notes.append(world.ports.url("web"))
    with screen.step("Three authors, one operator"):
        password = seed(world)
        world.wait_for_workers()
    return password


def _run(options: argparse.Namespace, screen: Screen, world: World, password: str) -> bool:
    """Mint, watch, check; return whether every token is right."""
    screen.show()
    with closing(Watcher(world)) as watcher:
        ended = _mint_and_watch(options, screen, world, watcher)
    screen.show()
    with screen.step("Everything read again, independently"):
        evidence = collect(world, KEEPER.address)
    verdicts = judge(evidence)
    for line in report.verdict_lines(verdicts):
        screen.show(line)
    screen.show()
    if reveals := world.chain.reveal_transactions(watcher.first_block):
        screen.show(report.gas_table(reveals))
    sheet = report.write_contact_sheet(evidence.tokens, world.directory / "contact-sheet.png")
    shown = None if options.exit else (OPERATOR, password)
    screen.show(report.places_panel(world, login=shown, sheet=sheet))
    if options.screenshots is not None:
        _take_screenshots(options.screenshots, screen, world, password, sheet)
    return ended and not any(verdict.faults for verdict in verdicts)


def _mint_and_watch(
    options: argparse.Namespace, screen: Screen, world: World, watcher: Watcher
) -> bool:
    """Send the mints wave by wave and follow the tokens; False if they got stuck."""
    minter = Minter(world.chain, plan_mints(options.tokens, options.seed))
    told: set[str] = set()  # the reveals, by hash
    moved_at, before = time.monotonic(), Snapshot()
    with screen.live():
        while True:
            for mint in minter.step(watcher.block):
                collector = COLLECTOR_INDICES.index(mint.collector) + 1
                text = f"collector {collector} mints {_tokens(mint.quantity)}"
                screen.event(f"{text} of {name_of(mint.author)}", mark="+", style="#7aa2f7")
            snapshot = watcher.look()
            for reveal in snapshot.reveals:
                if reveal.tx_hash not in told:
                    told.add(reveal.tx_hash)
                    text = f"block {reveal.block} reveals {_tokens(reveal.tokens)}"
                    screen.event(f"{text} for {reveal.gas:,} gas", mark="✓", style="#9ece6a")
            screen.update(snapshot, expected=options.tokens)
            ended = snapshot.counts["revealed"] + snapshot.counts["failed"]
            if ended == options.tokens and not snapshot.in_flight:
                return not snapshot.counts["failed"]
            if snapshot.statuses != before.statuses:
                moved_at, before = time.monotonic(), snapshot
            if fault := _fault(world, time.monotonic() - moved_at):
                screen.fail(fault, f"The logs are in {world.directory / 'logs'}")
                return False
            time.sleep(_LOOK_EVERY_SECONDS)


def _tokens(number: int) -> str:
    return "1 token" if number == 1 else f"{number} tokens"


def _fault(world: World, quiet_seconds: float) -> str:
    if broken := world.broken:
        return f"{broken[0].name} does not stay up:\n{broken[0].log_tail()}"
    if quiet_seconds > _PATIENCE_SECONDS:
        return f"no token has moved for {_PATIENCE_SECONDS:.0f} seconds"
    return ""


def _take_screenshots(
    directory: Path, screen: Screen, world: World, password: str, sheet: Path | None
) -> None:
    from sandbox.demo.screenshots import ScreenshotError, shrink, take_screenshots

    try:
        with screen.step("Screenshots") as notes:
            take_screenshots(
                directory,
                world,
                user=OPERATOR,
                password=password,
                terminal_svg=screen.picture_svg(),
            )
            if sheet is not None:
                shrink(sheet, directory / "contact-sheet.jpg")
            notes.append(str(directory))
    except ScreenshotError as error:
        screen.fail("The screenshots could not be taken.", str(error))


if __name__ == "__main__":
    sys.exit(main())
