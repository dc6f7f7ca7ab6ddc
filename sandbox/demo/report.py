"""What is shown when all is done: verdicts, gas, and where to look on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from sandbox.chain import Reveal
from sandbox.contact_sheet import make_contact_sheet
from sandbox.demo.checks import Verdict
from sandbox.demo.evidence import TokenEvidence
from sandbox.demo.people import author_of
from sandbox.demo.screen import ACCENT, eth
from sandbox.world import World

_ROWS_SHOWN = 60
_FAULTS_SHOWN = 5
_PICTURES_SHOWN = 60
_LINK = "#7dcfff"


def verdict_lines(verdicts: Sequence[Verdict]) -> list[str]:
    """Return a line per check, and some of its faults below it."""
    lines = []
    for verdict in verdicts:
        mark = "[bold red]✗[/]" if verdict.faults else "[green]✓[/]"
        lines.append(f"  {mark} {verdict.claim:<62} [dim]{verdict.looked_at:>4}[/]")
        lines += [f"      [red]{escape(fault)}[/]" for fault in verdict.faults[:_FAULTS_SHOWN]]
        if len(verdict.faults) > _FAULTS_SHOWN:
            lines.append(f"      [red]and {len(verdict.faults) - _FAULTS_SHOWN} more[/]")
    return lines


def gas_table(reveals: Sequence[Reveal]) -> Table:
    """Return what each reveal used and cost, and all together."""
    table = Table(
        title="Gas of the reveals", title_justify="left", title_style="bold",
        box=box.SIMPLE_HEAD, padding=(0, 1),
    )  # fmt: skip
    table.add_column("block", justify="right")
    table.add_column("transaction")
    for heading in ("tokens", "gas", "gas per token", "gwei", "keeper paid"):
        table.add_column(heading, justify="right")
    for reveal in reveals[:_ROWS_SHOWN]:
        table.add_row(
            str(reveal.block_number),
            f"[dim]{reveal.tx_hash[:10]}…{reveal.tx_hash[-4:]}[/]",
            str(len(reveal.token_ids)),
            f"{reveal.gas_used:,}",
            f"{reveal.gas_used / len(reveal.token_ids):,.0f}",
            f"{reveal.effective_gas_price_wei / 10**9:.4f}",
            eth(reveal.gas_used * reveal.effective_gas_price_wei),
        )
    tokens = sum(len(reveal.token_ids) for reveal in reveals)
    gas = sum(reveal.gas_used for reveal in reveals)
    fees = sum(reveal.gas_used * reveal.effective_gas_price_wei for reveal in reveals)
    table.add_section()
    table.add_row(
        "", f"[bold]{len(reveals)} reveals[/]", f"[bold]{tokens}[/]", f"[bold]{gas:,}[/]",
        f"[bold {ACCENT}]{gas / max(1, tokens):,.0f}[/]", "", f"[bold]{eth(fees)}[/]",
    )  # fmt: skip
    return table


def write_contact_sheet(tokens: Sequence[TokenEvidence], path: Path) -> Path | None:
    """Lay the newest pictures out on one sheet; None if there are none."""
    shown = [token for token in tokens if token.image][-_PICTURES_SHOWN:]
    if not shown:
        return None
    items = []
    for token in shown:
        author = author_of(token.prompt_author)
        subtitle = f"{author.name} · {author.prompt}" if author else "the default author's prompt"
        items.append((token.image or b"", f"GLISK S0 #{token.token_id}", subtitle))
    return make_contact_sheet(items, path, "GLISK Season 0")


def places_panel(world: World, *, user: str, password: str, sheet: Path | None) -> Panel:
    """Return where to look on."""
    base_url = world.ports.url("web")
    table = Table.grid(padding=(0, 3))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, text in (
        ("gallery", f"[{_LINK}]{base_url}/[/]"),
        ("admin", f"[{_LINK}]{base_url}/admin/[/]   [bold]{user}[/] / [bold]{escape(password)}[/]"),
        ("API docs", f"[{_LINK}]{base_url}/docs[/]"),
        ("contact sheet", escape(str(sheet)) if sheet else "none"),
        ("logs", escape(str(world.directory / "logs"))),
    ):
        table.add_row(name, text)
    return Panel(table, border_style=ACCENT, padding=(1, 2), expand=False)
