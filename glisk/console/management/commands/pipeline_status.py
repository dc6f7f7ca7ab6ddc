"""Shows the dashboard in a terminal."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.core.management.color import Style
from django.core.serializers.json import DjangoJSONEncoder

from glisk.admin.formatting import duration
from glisk.console.overview import Overview, take_overview
from glisk.management.base import ExplainedCommand, counted

TROUBLE = 2
_CLEAR = "\x1b[H\x1b[2J"


class Command(ExplainedCommand):
    help = "Shows what is wrong, then tokens, stages, reveals, workers, spend and chain."
    examples = """\
examples:
  manage.py pipeline_status                  (once)
  manage.py pipeline_status --watch          (every two seconds, until Ctrl-C)
  manage.py pipeline_status --watch 10       (every ten seconds)
  manage.py pipeline_status --json | jq .stages

exit status: 0 all is well, 1 the database does not answer, 2 something is wrong: what, and what to
do about it, comes first in the answer. Colours are for a terminal; NO_COLOR=1 or --no-color: none.
"""
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--watch",
            nargs="?",
            const=2.0,
            type=float,
            metavar="SECONDS",
            help="Show it again and again (default every 2 seconds).",
        )
        parser.add_argument("--json", action="store_true", help="One JSON object, for programs.")

    def handle(self, *args: Any, **options: Any) -> None:
        period = options["watch"]
        if period is None:
            if self._show(options).troubles:
                raise SystemExit(TROUBLE)
            return
        if period <= 0:
            raise CommandError("--watch needs a number of seconds above 0.")
        with suppress(KeyboardInterrupt):
            while True:
                self._show(options, before=_CLEAR if self.stdout.isatty() else "")
                time.sleep(period)

    def _show(self, options: dict[str, Any], *, before: str = "") -> Overview:
        view = take_overview()
        if options["json"]:
            self.stdout.write(json.dumps(view.as_json(), cls=DjangoJSONEncoder))
        else:
            self.stdout.write(before + "\n".join(describe(view, self.style)))
        return view


def describe(view: Overview, style: Style) -> Iterator[str]:
    """Yield the lines that a person reads: what is wrong, and what to do about it, comes first."""

    def since(moment: datetime | None, before: str = "", after: str = "") -> str:
        if moment is None:
            return ""
        return f"{before}{duration((view.taken_at - moment).total_seconds())}{after}"

    yield f"{view.taken_at:%Y-%m-%d %H:%M:%S} UTC"
    if not view.troubles:
        yield style.SUCCESS("All well: nothing waits for a person.")
    for trouble in view.troubles:
        yield f"\n{style.ERROR(trouble.title)}{since(trouble.since, ' for ')}"
        if trouble.reason:
            yield f"    {trouble.reason}"
        if trouble.advice:
            yield f"    {style.WARNING('To do:')} {trouble.advice}"

    yield f"\n{style.MIGRATE_HEADING('Tokens')}"
    for count in view.tokens:
        oldest = since(count.oldest_at, "  oldest ")
        yield f"  {count.status.label:<12} {count.number:>10,}{oldest}"
    yield f"  failed in 24 hours: {view.error_rate_24h:.2%}"
    yield f"\n{style.MIGRATE_HEADING('Stages')}"
    for load in view.stages:
        numbers = f"{load.pending:>6} waiting {load.active:>6} in work"
        yield f"  {load.stage:<12} {numbers}{since(load.oldest_at, '  oldest ')}"
    yield f"\n{style.MIGRATE_HEADING('Reveals under way')}"
    for batch in view.batches:
        state = batch["tx_status"] or "not signed yet"
        number = f", {batch['transactions']} transactions" if batch["transactions"] > 1 else ""
        tokens = counted(batch["tokens"], "token")
        yield (
            f"  nonce {batch['nonce']:<6} {tokens:>10}  {state}{number}  "
            f"{since(batch['created_at'])}  {batch['tx_hash'] or ''}"
        )
    if not view.batches:
        yield "  none"
    yield f"\n{style.MIGRATE_HEADING('Workers')}"
    for worker in view.workers:
        state = "alive" if worker.alive else style.ERROR(f"silent for {since(worker.beat_at)}")
        moved = since(worker.last_progress_at, "  moved ", " ago")
        yield f"  {worker.stage:<12} {state}, {worker.in_flight} in flight{moved}"
    if not view.workers:
        yield style.ERROR("  none: tokens wait until one starts")
    cap = "" if view.spend.cap_usd is None else f" of {view.spend.cap_usd:.2f}"
    yield f"\n{style.MIGRATE_HEADING('Spend (USD)')}"
    yield f"  {view.spend.today_usd:.2f}{cap} today, {view.spend.all_time_usd:.2f} in all"
    yield f"\n{style.MIGRATE_HEADING('Chain')}"
    block = view.chain.last_processed_block or 0
    yield f"  id {view.chain.chain_id}, block {block:,}, {view.chain.pace(view.taken_at)}"
