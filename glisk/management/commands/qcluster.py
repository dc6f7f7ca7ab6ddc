"""Run the workers; replaces django-q2's command of the same name (see docs/adr/0002-engine.md)."""

from typing import Any

from django.core.management.base import BaseCommand

from glisk.engine.supervisor import Supervisor


class Command(BaseCommand):
    help = "Runs the workers of GLISK until SIGTERM or Ctrl-C."
    # They would load the URLs and all views; the web process and CI run them.
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        Supervisor().run()
