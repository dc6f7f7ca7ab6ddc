"""Run the workers; replaces django-q2's command of the same name (see docs/adr/0002-engine.md)."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from glisk.engine.supervisor import Supervisor


class Command(BaseCommand):
    help = "Runs the workers of GLISK until SIGTERM or Ctrl-C."
    # They would load the URLs and all views; the web process and CI run them.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--run-once", action="store_true", help="Not supported.")
        parser.add_argument("-n", "--name", help="Not supported.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["run_once"]:
            raise CommandError(
                "--run-once is not supported: a drain is resident. "
                "Start qcluster and send it SIGTERM when the work is done."
            )
        if options["name"]:
            raise CommandError(
                "--name is not supported: there is one queue. "
                "Start several qclusters on one database for more machines."
            )
        Supervisor().run()
