"""Processes stored webhook events again."""

import argparse
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser
from tqdm import tqdm

from glisk.management.base import ExplainedCommand
from webhooks.inbox import UNFINISHED, ReplayResult, replay_event
from webhooks.models import WebhookEvent

PARTLY_DONE = 2


class Command(ExplainedCommand):
    help = (
        "Processes webhook events that are stored in the inbox again: one, the failed ones, or "
        "those of a range of time. Harmless: a mint that is known stays as it is."
    )
    examples = """\
examples:
  manage.py replay_webhooks --failed                         (failed and interrupted ones)
  manage.py replay_webhooks --event whevt_vq499kv7elmlbp2v   (one, whatever its state)
  manage.py replay_webhooks --since 2026-02-01 --until 2026-02-02 --dry-run

exit status:
  0  all processed
  1  there is no such event
  2  some failed again; the reasons are listed
"""

    def add_arguments(self, parser: CommandParser) -> None:
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("--event", metavar="ID", help="One event, by its id.")
        which.add_argument("--failed", action="store_true", help="Failed and interrupted events.")
        which.add_argument(
            "--since",
            metavar="TIME",
            type=_moment,
            help="Events received since this date or ISO time (UTC).",
        )
        parser.add_argument(
            "--until", metavar="TIME", type=_moment, help="With --since: and before this time."
        )
        parser.add_argument("--dry-run", action="store_true", help="List the events, process none.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["until"] and not options["since"]:
            raise CommandError("--until goes with --since only.")
        events = WebhookEvent.objects.order_by("received_at")
        if options["event"]:
            events = events.filter(event_id=options["event"])
            if not events.exists():
                raise CommandError(f"There is no event {options['event']!r} in the inbox.")
        elif options["failed"]:
            events = events.filter(status__in=UNFINISHED)
        else:
            events = events.filter(received_at__gte=options["since"])
            if options["until"]:
                events = events.filter(received_at__lt=options["until"])
        keys = list(events.values_list("pk", "event_id", "status"))
        if options["dry_run"]:
            for _, event_id, status in keys:
                self.stdout.write(f"{event_id}  {status}")
            self.stdout.write(f"{len(keys)} events would be processed again.")
            return
        results = [
            (event_id, replay_event(pk))
            for pk, event_id, _ in tqdm(keys, unit="event", disable=None)
        ]
        failed = [(event_id, r) for event_id, r in results if r.failed]
        created = sum(result.tokens for _, result in results)
        self.stdout.write(
            f"{len(results) - len(failed)} events processed, {created} tokens created, "
            f"{len(failed)} failed."
        )
        for event_id, result in failed:
            self.stdout.write(f"  {event_id}: {_reason(result)}")
        if failed:
            raise CommandError("Some events failed again; see above.", returncode=PARTLY_DONE)


def _reason(result: ReplayResult) -> str:
    return result.reason or "the worker's log has the reason"


def _moment(text: str) -> datetime:
    """Read a date or an ISO time; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a date nor an ISO time") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
