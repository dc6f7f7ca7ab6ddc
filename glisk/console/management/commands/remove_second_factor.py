"""Removes the second factor of somebody who has lost phone and recovery codes."""

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import CommandError, CommandParser

from glisk.management.base import ExplainedCommand, confirm
from glisk.security.second_factor import remove_second_factor


class Command(ExplainedCommand):
    help = "Removes the second factor of a user who has lost it, and logs them out everywhere."
    examples = """\
examples:
  manage.py remove_second_factor maria --reason "lost her phone; I spoke to her"

Be sure who asks: from now on the password alone opens the page that sets up a new second factor.
Have them do it at once. If you have a doubt, set a new password first (manage.py changepassword).
"""
    requires_migrations_checks = True
    dry_run_takes_back = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", help="The user's name.")
        parser.add_argument("--reason", default="", help="Why; it is kept in the audit.")
        parser.add_argument("--yes", action="store_true", help="Do not ask.")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["user"]).first()
        if user is None:
            raise CommandError(f"There is no user {options['user']}.")
        name = user.get_username()
        confirm(
            f"The password of {name} alone will be enough to enter.",
            yes=options["yes"] or options["dry_run"],
        )
        if not remove_second_factor(user, actor="remove_second_factor", reason=options["reason"]):
            raise CommandError(f"{name} has no second factor.")
        self.stdout.write(f"{name} has no second factor any more and is logged out everywhere.")
