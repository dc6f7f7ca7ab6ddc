"""Asks the vendors and the chain whether the settings are right."""

from typing import Any

from django.core.management.base import CommandError

from glisk.console.online_checks import ask_everybody
from glisk.management.base import ExplainedCommand

NOT_WELL = 2


class Command(ExplainedCommand):
    help = (
        "Asks the chain about network, contract and keeper, and the vendors about their keys. "
        "Nothing is paid for, pinned or sent."
    )
    examples = """\
examples:
  manage.py check_setup        (before the first start, and after a key was changed)

What needs no answer from outside is told at every start, and by `manage.py check --deploy`.

exit status: 0 all is well, 1 the options make no sense, 2 something is not, and the line says what
to do about it.
"""

    def handle(self, *args: Any, **options: Any) -> None:
        wrong = 0
        for answer in ask_everybody():
            self.stdout.write(
                f"{'ok' if answer.is_well else 'WRONG':<6} {answer.subject:<11} {answer.text}"
            )
            wrong += not answer.is_well
        if wrong:
            raise CommandError(f"{wrong} of these must be mended; see above.", returncode=NOT_WELL)
