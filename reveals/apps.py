from django.apps import AppConfig
from django.conf import settings

KEEPER_INTERVAL_SECONDS = 60


class RevealsConfig(AppConfig):
    name = "reveals"
    verbose_name = "Reveals"

    def ready(self) -> None:
        from glisk.engine.schedules import declare

        declare("look_at_keeper", "reveals.tasks.look_at_keeper", KEEPER_INTERVAL_SECONDS)
        declare("reveal_tokens", "reveals.tasks.reveal_tokens", settings.POLL_INTERVAL_SECONDS)
