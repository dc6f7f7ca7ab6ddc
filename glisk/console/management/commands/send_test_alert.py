"""Sends a test alert to every target, and says what became of each."""

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from glisk.console.alerts.targets import send, targets
from glisk.console.alerts.tasks import ping_dead_man
from glisk.management.base import ExplainedCommand

NOT_HEARD = 2
_BODY = "This is a test by manage.py send_test_alert: nothing is wrong. Alerts will come this way."

_NO_TARGET = "Set ALERT_URLS first; .env.example and docs/alerts.md explain it."


class Command(ExplainedCommand):
    help = "Sends a test alert to every target of ALERT_URLS, ALERT_PAGE_URLS and HEARTBEAT_URL."
    examples = """\
examples:
  manage.py send_test_alert      (after a target was added or its key was changed)

It is sent from here, at once: it needs no worker and no database. HEARTBEAT_URL gets one ping,
which says that all is well.

exit status: 0 all were accepted, 1 there is no target, 2 one was not, and its line says why.
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--dry-run", action="store_true", help="Name the targets, send nothing."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["dry_run"]:
            labels = [target.label for target in targets()]
            labels += ["HEARTBEAT_URL"] if settings.HEARTBEAT_URL else []
            if not labels:
                raise CommandError(_NO_TARGET)
            self.stdout.write(f"It would be sent to {', '.join(labels)}.")
            return
        title = f"TEST [GLISK {settings.NETWORK}]"
        outcomes = {
            target.label: send(target, title=title, body=_BODY, look="info") for target in targets()
        }
        if settings.HEARTBEAT_URL:
            outcomes["HEARTBEAT_URL"] = ping_dead_man([])
        if not outcomes:
            raise CommandError(_NO_TARGET)
        for label, error in outcomes.items():
            self.stdout.write(f"FAILED {label}: {error}" if error else f"ok     {label}")
        if failed := sum(map(bool, outcomes.values())):
            raise CommandError(f"{failed} of {len(outcomes)} were not heard.", returncode=NOT_HEARD)
