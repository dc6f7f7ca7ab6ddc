"""Lets somebody in again whose login is locked."""

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from glisk.admin.audit import record_action
from glisk.management.base import ExplainedCommand, counted
from glisk.security.lockout import unlock_login


class Command(ExplainedCommand):
    help = "Ends the lockout of a login: wrong passwords and wrong codes are forgotten."
    examples = """\
examples:
  manage.py unlock_login maria --reason "she was at the wrong keyboard"

A lockout ends without this command, too: the page says when. `manage.py changepassword maria` sets
a new password and unlocks as well.
"""
    requires_migrations_checks = True
    dry_run_takes_back = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", help="The user's name.")
        parser.add_argument("--reason", default="", help="Why; it is kept in the audit.")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["user"]).first()
        if user is None:
            raise CommandError(f"There is no user {options['user']}.")
        name = user.get_username()
        with transaction.atomic():
            number = unlock_login(user)
            record_action(
                actor="unlock_login",
                action="unlock_login",
                subject=name[:100],
                reason=options["reason"],
            )
        self.stdout.write(f"{name} may log in: {counted(number, 'wrong password')} forgotten.")
