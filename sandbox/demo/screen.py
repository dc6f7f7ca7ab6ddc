"""The terminal: steps with their times, a live picture; plain lines where there is none."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from sandbox.demo.watching import STATES, Snapshot

ACCENT = "#8b7cf6"
STATE_STYLES = {
    "minting": "grey42",
    "detected": "#7aa2f7",
    "generating": "#bb9af7",
    "uploading": "#e0af68",
    "ready": "#7dcfff",
    "revealed": "#9ece6a",
    "failed": "bold red",
}
_PLAIN_WIDTH = 110
_WIDEST = 118
_REFRESH_PER_SECOND = 8
_PLAIN_EVERY_SECONDS = 1.0
_BAR, _LEAST_BAR = 34, 6
_BESIDE_BAR = 22  # state and count, with their gaps
_FIGURES = 46
_AROUND = 10  # frame and padding, and the gap between the two halves
_MOST_CELLS = 300


class Screen:
    """Print to the terminal; the same content in plain lines if the output is none."""

    def __init__(self) -> None:
        console = Console(highlight=False)
        width = min(_WIDEST, console.width) if console.is_terminal else _PLAIN_WIDTH
        self.console = Console(highlight=False, width=width)
        self._live: Live | None = None
        self._began = time.monotonic()
        self._plain_due = 0.0
        self._plain_line = ""
        self._printed: list[RenderableType] = []
        self._best: tuple[int, list[RenderableType]] = (0, [])

    def show(self, thing: RenderableType = "") -> None:
        """Print a line of markup or anything else that rich can draw."""
        self.console.print(thing)
        self._printed.append(thing)

    @contextmanager
    def step(self, text: str) -> Iterator[list[str]]:
        """Show a step while it runs, and its time after it; append to the list to add a note."""
        notes: list[str] = []
        started = time.monotonic()
        if self.console.is_terminal:
            with self.console.status(f"[bold]{text}[/] …", spinner="dots", spinner_style=ACCENT):
                yield notes
        else:
            yield notes
        took = time.monotonic() - started
        line = f"  [green]✓[/] {text:<40} [dim]{took:5.1f} s[/]"
        for note in notes:  # beside it, or below it where that has no room
            beside = Text.from_markup(line).cell_len + 2 + len(note) <= self.console.width
            line += f"{'  ' if beside else chr(10) + ' ' * 4}[dim]{note}[/]"
        self.show(line)

    def event(self, text: str, *, mark: str, style: str) -> None:
        """Print one thing that happened, above the live picture if there is one."""
        seconds = time.monotonic() - self._began
        self.show(f"  [dim]{seconds:6.1f} s[/]  [{style}]{mark}[/] {text}")

    def fail(self, text: str, detail: str = "") -> None:
        self.console.print(f"\n  [bold red]✗[/] [bold]{escape(text)}[/]")
        if detail:
            self.console.print(Padding(Text(detail), (0, 4)))

    @contextmanager
    def live(self) -> Iterator[None]:
        """Keep a picture of the run on the terminal while the block runs."""
        self._began = time.monotonic()
        if not self.console.is_terminal:
            yield
            return
        with Live(
            console=self.console,
            refresh_per_second=_REFRESH_PER_SECOND,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def update(self, snapshot: Snapshot, *, expected: int) -> None:
        """Draw the state; in plain output print a line when it has changed."""
        seconds = time.monotonic() - self._began
        picture = draw(snapshot, expected=expected, seconds=seconds, width=self.console.width)
        if self._live is not None:
            self._live.update(picture)
        elif not self.console.is_terminal:
            line = plain(snapshot, expected=expected)
            done = snapshot.counts["revealed"] == expected
            if line != self._plain_line and (seconds >= self._plain_due or done):
                self._plain_line, self._plain_due = line, seconds + _PLAIN_EVERY_SECONDS
                self.console.print(f"  {seconds:6.1f} s  {line}", soft_wrap=True)
        variety = len(snapshot.counts)
        if variety >= self._best[0]:
            self._best = (variety, [*self._printed, picture])

    def picture_svg(self) -> str:
        """Return the screen as an SVG, at the moment when the run showed most at once."""
        canvas = Console(
            record=True, file=io.StringIO(), width=_WIDEST, force_terminal=True, highlight=False
        )
        for thing in self._best[1]:
            canvas.print(thing)
        return canvas.export_svg(title="make demo")


def plain(snapshot: Snapshot, *, expected: int) -> str:
    counts = snapshot.counts
    states = "  ".join(f"{state} {counts[state]}" for state in (*STATES, "failed") if counts[state])
    flying = f"  in flight {len(snapshot.in_flight)}" if snapshot.in_flight else ""
    waiting = expected - len(snapshot.statuses)
    unminted = f"  not minted yet {waiting}" if waiting else ""
    return f"block {snapshot.block}  {states}{unminted}{flying}"


def draw(snapshot: Snapshot, *, expected: int, seconds: float, width: int = _PLAIN_WIDTH) -> Panel:
    """Draw the run for a terminal of `width` columns: bars shrink first, no word is cut."""
    room = width - _AROUND - _BESIDE_BAR
    body: RenderableType
    if room - _FIGURES >= _LEAST_BAR:
        beside = Table.grid(padding=(0, 4))
        beside.add_row(_states(snapshot, expected, min(_BAR, room - _FIGURES)), _figures(snapshot))
        body = beside
    else:
        bar = max(_LEAST_BAR, min(_BAR, room))
        body = Group(_states(snapshot, expected, bar), Text(), _figures(snapshot))
    done = snapshot.counts["revealed"] == expected
    return Panel(
        Group(body, Text(), _cells(snapshot, expected)),
        title=f"[bold]block {snapshot.block}[/]",
        title_align="left",
        subtitle=f"[dim]{seconds:.1f} s[/]",
        subtitle_align="right",
        border_style="green" if done else ACCENT,
        padding=(1, 2),
    )


def _states(snapshot: Snapshot, expected: int, bar_width: int) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(min_width=10, no_wrap=True)
    table.add_column(width=bar_width)
    table.add_column(justify="right", min_width=4, no_wrap=True)
    counts = snapshot.counts
    shown = [*STATES, *(["failed"] if counts["failed"] else [])]
    for state in shown:
        count = counts[state]
        length = round(count / max(1, expected) * bar_width)
        bar = Text("━" * max(length, 1 if count else 0), style=STATE_STYLES[state])
        bar.append("─" * (bar_width - len(bar)), style="grey19")
        table.add_row(
            Text(state, style=STATE_STYLES[state] if count else "grey42"),
            bar,
            Text(str(count), style="bold" if count else "grey42"),
        )
    return table


def _figures(snapshot: Snapshot) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    flying = (
        ", ".join(f"{tx_hash[:8]}… ({tokens})" for tx_hash, tokens in snapshot.in_flight[:2])
        or "none"
    )
    table.add_row("in flight", flying)
    table.add_row("reveals", str(len(snapshot.reveals)))
    table.add_row("gas", f"{snapshot.gas:,}")
    table.add_row("keeper paid", eth(snapshot.fees_wei))
    table.add_row("Replicate", f"{snapshot.predictions} predictions, ${snapshot.vendor_usd:.3f}")
    return table


def _cells(snapshot: Snapshot, expected: int) -> Text:
    cells = Text()
    shown = sorted(snapshot.statuses.items())[:_MOST_CELLS]
    for token_id, status in shown:
        cells.append(f"{token_id:>3} ", style=f"{STATE_STYLES.get(status, 'white')}")
    for _ in range(min(expected, _MOST_CELLS) - len(shown)):
        cells.append("  · ", style=STATE_STYLES["minting"])
    return cells


def eth(wei: int) -> str:
    return f"{wei / 10**18:.8f} ETH" if wei else "0 ETH"


def bypass_proxies() -> None:
    """Have nothing on this machine be asked for through a proxy of the developer's shell."""
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [host for host in os.environ.get(name, "").split(",") if host]
        os.environ[name] = ",".join([*hosts, "127.0.0.1", "localhost"])


def make_output_robust() -> None:
    """Never die of a character that the terminal cannot show."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
