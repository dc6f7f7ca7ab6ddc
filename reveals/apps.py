from django.apps import AppConfig
from django.conf import settings


class RevealsConfig(AppConfig):
    name = "reveals"
    verbose_name = "Reveals"

    def ready(self) -> None:
        from glisk.engine.schedules import declare

        declare("reveal_tokens", "reveals.tasks.reveal_tokens", settings.POLL_INTERVAL_SECONDS)
