"""The demo from the first step to the last."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sandbox.accounts import KEEPER
from sandbox.anvil import ensure_anvil, find_anvil
from sandbox.demo import report
from sandbox.demo.checks import Verdict, judge
from sandbox.demo.evidence import Evidence, collect
from sandbox.demo.minting import Minter, PlannedMint, plan_mints
from sandbox.demo.people import COLLECTOR_INDICES, OPERATOR, name_of, seed
from sandbox.demo.screen import Screen
from sandbox.demo.watching import Snapshot, Watcher
from sandbox.world import BASE_DIR, Ports, World, WorldOptions, reset_directory

_LOOK_EVERY_SECONDS = 0.12
# Nothing has moved for so long: something is wrong that waiting does not mend.
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class DemoOptions:
    """`block_time` is in seconds."""

    tokens: int = 24
    exit: bool = False
    seed: int = 7
    keep: bool = False
    block_time: float = 2.0
    directory: Path = BASE_DIR / "var" / "demo"
    free_ports: bool = False
    screenshots: Path | None = None


class Demo:
    """One run. `finish` leaves the world up; leaving the `with` of the world ends it."""

    def __init__(self, options: DemoOptions, screen: Screen, world: World) -> None:
        self._options, self._screen, self._world = options, screen, world
        self._password = ""

    def start(self) -> None:
        """Start the world and let its people in."""
        world, screen = self._world, self._screen
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
            self._password = seed(world)
            world.wait_for_workers()

    def run(self) -> bool:
        """Mint, watch, check; return whether every token is right."""
        screen, world = self._screen, self._world
        watcher = Watcher(world)
        try:
            screen.show()
            ended = self._mint_and_watch(watcher)
            screen.show()
            with screen.step("Everything read again, independently"):
                evidence = collect(world, KEEPER.address)
            verdicts = judge(evidence)
            self._report(watcher, evidence, verdicts)
        finally:
            watcher.close()
        return ended and not any(verdict.faults for verdict in verdicts)

    # -- the run ------------------------------------------------------------------------

    def _mint_and_watch(self, watcher: Watcher) -> bool:
        """Send the mints wave by wave and follow the tokens; False if they got stuck."""
        minter = Minter(self._world.chain, plan_mints(self._options.tokens, self._options.seed))
        teller = _Teller(self._screen)
        moved_at, before = time.monotonic(), Snapshot()
        with self._screen.live():
            while True:
                teller.tell_mints(minter.step(watcher.block))
                snapshot = watcher.look()
                teller.tell_reveals(snapshot)
                self._screen.update(snapshot, expected=self._options.tokens)
                ended = snapshot.counts["revealed"] + snapshot.counts["failed"]
                if ended == self._options.tokens and not snapshot.in_flight:
                    return snapshot.counts["revealed"] == self._options.tokens
                if snapshot.statuses != before.statuses:
                    moved_at, before = time.monotonic(), snapshot
                if fault := self._fault(time.monotonic() - moved_at):
                    self._screen.fail(fault, f"The logs are in {self._world.directory / 'logs'}")
                    return False
                time.sleep(_LOOK_EVERY_SECONDS)

    def _fault(self, quiet_seconds: float) -> str:
        if broken := self._world.broken:
            return f"{broken[0].name} does not stay up:\n{broken[0].log_tail()}"
        if quiet_seconds > _PATIENCE_SECONDS:
            return f"no token has moved for {_PATIENCE_SECONDS:.0f} seconds"
        return ""

    # -- what is said at the end --------------------------------------------------------

    def _report(self, watcher: Watcher, evidence: Evidence, verdicts: Sequence[Verdict]) -> None:
        screen, world = self._screen, self._world
        for line in report.verdict_lines(verdicts):
            screen.show(line)
        screen.show()
        if reveals := world.chain.reveal_transactions(watcher.first_block):
            screen.show(report.gas_table(reveals))
        sheet = report.write_contact_sheet(evidence.tokens, world.directory / "contact-sheet.png")
        screen.show(
            report.places_panel(
                base_url=world.ports.url("web"),
                user=OPERATOR,
                password=self._password,
                sheet=sheet,
                logs=world.directory / "logs",
            )
        )
        if self._options.screenshots is not None:
            self._take_screenshots(self._options.screenshots, sheet)

    def _take_screenshots(self, directory: Path, sheet: Path | None) -> None:
        from sandbox.demo.screenshots import ScreenshotError, shrink, take_screenshots

        try:
            with self._screen.step("Screenshots") as notes:
                take_screenshots(
                    directory,
                    self._world,
                    user=OPERATOR,
                    password=self._password,
                    terminal_svg=self._screen.picture_svg(),
                )
                if sheet is not None:
                    shrink(sheet, directory / "contact-sheet.jpg")
                notes.append(str(directory))
        except ScreenshotError as error:
            self._screen.fail("The screenshots could not be taken.", str(error))


class _Teller:
    """Say each mint and each reveal once."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._told: set[str] = set()

    def tell_mints(self, mints: Sequence[PlannedMint]) -> None:
        for mint in mints:
            collector = COLLECTOR_INDICES.index(mint.collector) + 1
            tokens = "1 token" if mint.quantity == 1 else f"{mint.quantity} tokens"
            self._screen.event(
                f"collector {collector} mints {tokens} of {name_of(mint.author)}",
                mark="+", style="#7aa2f7",
            )  # fmt: skip

    def tell_reveals(self, snapshot: Snapshot) -> None:
        for reveal in snapshot.reveals:
            if reveal.tx_hash not in self._told:
                self._told.add(reveal.tx_hash)
                tokens = "1 token" if reveal.tokens == 1 else f"{reveal.tokens} tokens"
                self._screen.event(
                    f"block {reveal.block} reveals {tokens} for {reveal.gas:,} gas",
                    mark="✓", style="#9ece6a",
                )  # fmt: skip


def build_world(options: DemoOptions) -> World:
    """Prepare the world; deletes the last one unless it is to be kept. Starts nothing."""
    if not options.keep:
        reset_directory(options.directory)
    return World(
        options.directory,
        ports=Ports.free() if options.free_ports else Ports.default_or_free(),
        options=WorldOptions(block_time=options.block_time),
    )
