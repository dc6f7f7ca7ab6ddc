"""Makes a token of the operations API, and shows it once."""

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import CommandError, CommandParser
from knox.models import AuthToken

from glisk.management.base import ExplainedCommand, at_least, counted


class Command(ExplainedCommand):
    help = "Makes a token of the operations API for a user of the staff."
    examples = """\
examples:
  manage.py create_api_token deploy-script --days 30
  curl -H "Authorization: Token $TOKEN" https://…/api/admin/tokens?status=failed

The token may do what the user may do (manage.py create_roles --give USER ROLE). It is shown here
only: the database holds a digest. The admin lists the tokens of all users and revokes them.
"""
    requires_migrations_checks = True
    dry_run_takes_back = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", help="The user's name.")
        parser.add_argument(
            "--days", type=at_least(1), default=90, help="Days it is valid (default 90)."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["user"], is_active=True).first()
        if user is None:
            raise CommandError(f"There is no active user {options['user']}.")
        if not user.is_staff:
            raise CommandError(f"{user.get_username()} is no member of the staff.")
        if options["days"] > 3650:
            raise CommandError("--days must be 1 to 3650.")
        _, token = AuthToken.objects.create(user, expiry=timedelta(days=options["days"]))
        if options["dry_run"]:
            self.stdout.write(f"{user.get_username()} would get a token.")
            return
        self.stderr.write(f"Valid for {counted(options['days'], 'day')}; it is not shown again:")
        self.stdout.write(token)
