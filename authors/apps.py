from typing import Any

from django.apps import AppConfig
from django.apps import apps as todays_apps

DEFAULT_AUTHOR = "default_author"


class AuthorsConfig(AppConfig):
    name = "authors"
    verbose_name = "Authors"

    def ready(self) -> None:
        from django.db.models.signals import post_migrate

        from authors.purging import purge_expired
        from glisk.engine.schedules import purges

        purges.append(purge_expired)
        post_migrate.connect(make_default_author, sender=self, dispatch_uid=DEFAULT_AUTHOR)


def make_default_author(apps: Any = todays_apps, **kwargs: Any) -> None:
    """Make the default author as soon as the tables are there (Django's signal post_migrate).

    `flush` sends it too, without `apps`.
    """
    from authors.models import Author

    try:
        apps.get_model("authors", "PromptChange")
    except LookupError:
        return  # migrated back to before the tables
    Author.objects.default()
