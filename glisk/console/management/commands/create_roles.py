"""Makes the roles viewer, operator and admin, and gives one to somebody."""

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import CommandError, CommandParser

from glisk.console.roles import ADMIN, OPERATOR, VIEWER, give_role, make_roles
from glisk.management.base import ExplainedCommand


class Command(ExplainedCommand):
    help = "Makes the roles viewer, operator and admin (harmless when repeated)."
    examples = """\
examples:
  manage.py create_roles                           (make them, or bring them up to date)
  manage.py create_roles --give maria operator     (maria repairs from now on)

viewer    sees everything of the pipeline, changes nothing
operator  takes in authors and repairs: retry, hold, reveal, pause, replay, recover
admin     does all that, and makes logins

A user has one of the roles; giving another one takes the first away. Logins are made in the
admin or by `manage.py createsuperuser`.
"""
    requires_migrations_checks = True
    dry_run_takes_back = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--give", nargs=2, metavar=("USER", "ROLE"), help="Give a role to a user, too."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        names = (VIEWER, OPERATOR, ADMIN)
        given = options["give"]
        if given and given[1] not in names:
            raise CommandError(f"There is no role {given[1]}, only {', '.join(names)}.")
        if given and not User.objects.filter(username=given[0]).exists():
            raise CommandError(f"There is no user {given[0]}.")
        for name, permissions, outcome in make_roles():
            self.stdout.write(f"{name:<10} {permissions:>3} permissions, {outcome}")
        if given:
            user = give_role(*given)
            self.stdout.write(f"{user.get_username()} is {given[1]} now")
            if user.is_superuser:
                self.stderr.write(
                    f"But {user.get_username()} is a superuser, who may do everything whatever the "
                    "role: untick that in the admin (Users) if it is not meant."
                )
