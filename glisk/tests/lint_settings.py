"""Settings of the linter for migrations (`make lint`), which asks the tests' database server."""

from glisk.tests.settings import *  # noqa: F403 - all of them
from glisk.tests.settings import INSTALLED_APPS as _APPS

INSTALLED_APPS = [*_APPS, "django_migration_linter"]
