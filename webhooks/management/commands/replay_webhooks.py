"""Processes stored webhook events again."""

import argparse
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser
from tqdm import tqdm

from glisk.management.base import ExplainedCommand, counted
from webhooks.inbox import UNFINISHED, EventNotProcessedError, replay_event
from webhooks.models import WebhookEvent


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
        parser.add_argument("--until", metavar="TIME", type=_moment, help="And before this time.")
        parser.add_argument("--dry-run", action="store_true", help="List the events, process none.")

    def handle(self, *args: Any, **options: Any) -> None:
        wanted = {
            "event_id": options["event"],
            "status__in": UNFINISHED if options["failed"] else None,
            "received_at__gte": options["since"],
            "received_at__lt": options["until"],
        }
        events = WebhookEvent.objects.order_by("received_at").filter(
            **{lookup: value for lookup, value in wanted.items() if value}
        )
        if options["event"] and not events.exists():
            raise CommandError(f"There is no event {options['event']!r} in the inbox.")
        keys = list(events.values_list("pk", "event_id", "status"))
        if options["dry_run"]:
            for _, event_id, status in keys:
                self.stdout.write(f"{event_id}  {status}")
            self.stdout.write(f"{counted(len(keys), 'event')} would be processed again.")
            return
        created, failed = 0, []
        for pk, event_id, _ in tqdm(keys, unit="event", disable=None):
            try:
                created += replay_event(pk)
            except EventNotProcessedError as error:
                failed.append(f"  {event_id}: {error}")
        done = len(keys) - len(failed)
        self.stdout.write(
            f"{counted(done, 'event')} processed, {counted(created, 'token')} created, "
            f"{len(failed)} failed."
        )
        if failed:
            self.stdout.write("\n".join(failed))
            raise CommandError("Some events failed again; see above.", returncode=2)


def _moment(text: str) -> datetime:
    """Read a date or an ISO time; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a date nor an ISO time") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
