"""Shows the dashboard in a terminal."""

import json
import time
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DatabaseError, InterfaceError

from glisk.admin.formatting import duration
from glisk.console.overview import Overview, take_overview
from glisk.management.base import ExplainedCommand, counted, explain_database_error

TROUBLE = 2
_CLEAR = "\x1b[H\x1b[2J"


class Command(ExplainedCommand):
    help = "Shows how the pipeline stands: tokens, stages, reveals, workers, obstacles, chain."
    examples = """\
examples:
  manage.py pipeline_status                  (once)
  manage.py pipeline_status --watch          (every two seconds, until Ctrl-C)
  manage.py pipeline_status --watch 10       (every ten seconds)
  manage.py pipeline_status --json | jq .stages

exit status: 0 it flows, 1 the database does not answer, 2 something is wrong: what, and what to do
about it, stands in the answer.
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
        if period is not None and period <= 0:
            raise CommandError("--watch needs a number of seconds above 0.")
        if period is None:
            view = take_overview()
            self._show(view, options)
            if view.troubles:
                raise SystemExit(TROUBLE)
            return
        try:
            while True:
                self._show_again(options)
                time.sleep(period)
        except KeyboardInterrupt:
            return

    def _show(self, view: Overview, options: dict[str, Any]) -> None:
        if options["json"]:
            self.stdout.write(json.dumps(asdict(view), cls=DjangoJSONEncoder))
        else:
            self.stdout.write("\n".join(describe(view)))

    def _show_again(self, options: dict[str, Any]) -> None:
        """Show it once more; a database that is away for a while ends nothing."""
        try:
            view = take_overview()
        except (DatabaseError, InterfaceError) as error:
            if (sentence := explain_database_error(error)) is None:
                raise
            self.stderr.write(sentence)
            return
        if self.stdout.isatty() and not options["json"]:
            self.stdout.write(_CLEAR, ending="")
        self._show(view, options)


def describe(view: Overview) -> list[str]:
    """Return the lines that a person reads."""

    def since(moment: datetime | None) -> str:
        return "" if moment is None else duration((view.taken_at - moment).total_seconds())

    lines = [f"{view.taken_at:%Y-%m-%d %H:%M:%S} UTC", "", "Tokens"]
    for count in view.tokens:
        oldest = f"  oldest {since(count.oldest_at)}" if count.oldest_at else ""
        lines.append(f"  {count.status.label:<12} {count.number:>10,}{oldest}")
    lines += [f"  failed share of the last day: {view.error_rate_24h:.2%}", "", "Stages"]
    for load in view.stages:
        oldest = f"  oldest {since(load.oldest_at)}" if load.oldest_at else ""
        lines.append(
            f"  {load.stage:<12} {load.pending:>6} waiting {load.active:>6} in work{oldest}"
        )
    lines += ["", "Reveals under way"]
    for batch in view.batches:
        state = batch["tx_status"] or "not signed yet"
        number = f", {batch['transactions']} transactions" if batch["transactions"] > 1 else ""
        lines.append(
            f"  nonce {batch['nonce']:<6} {batch['tokens']:>4} tokens  {state}{number}  "
            f"{since(batch['created_at'])}  {batch['tx_hash'] or ''}".rstrip()
        )
    lines += [*(["  none"] if not view.batches else []), "", "Workers"]
    for worker in view.workers:
        state = "alive" if worker.alive else f"SILENT for {since(worker.beat_at)}"
        moved = f"  moved {since(worker.last_progress_at)} ago" if worker.last_progress_at else ""
        lines.append(f"  {worker.stage:<12} {state}, {worker.in_flight} in flight{moved}")
    lines += ["  NONE: tokens wait until one starts"] if not view.workers else []
    lines += ["", "What is wrong, and what to do"] if view.troubles else []
    for trouble in view.troubles:
        lasts = f" for {since(trouble.since)}" if trouble.since else ""
        waiting = f"; {counted(trouble.tokens, 'token')} wait" if trouble.keeps_waiting else ""
        lines.append(f"  {trouble.headline}{lasts}{waiting}")
        lines += [f"    {text}" for text in (trouble.reason, trouble.advice) if text]
    cap = "" if view.spend["cap_usd"] is None else f" of {view.spend['cap_usd']:.2f}"
    spent = f"{view.spend['today_usd']:.2f}{cap} today, {view.spend['all_time_usd']:.2f} in all"
    lines += ["", "Spend in US dollars", f"  {spent}"]
    return [*lines, "", "Chain", f"  {_chain_line(view, since(view.chain.read_at))}"]


def _chain_line(view: Overview, read_ago: str) -> str:
    chain = view.chain
    if chain.last_processed_block is None:
        return f"id {chain.chain_id}, nothing read yet"
    behind = "?" if chain.blocks_behind is None else chain.blocks_behind
    stale = "" if chain.is_fresh else ": NOT READ SINCE"
    return (
        f"id {chain.chain_id}, read up to block {chain.last_processed_block:,}, "
        f"{behind} behind, {read_ago} ago{stale}"
    )
