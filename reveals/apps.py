from django.apps import AppConfig
from django.conf import settings

FOLLOW_UP_INTERVAL_SECONDS = 60  # the net: a confirmation enqueues it at once
KEEPER_INTERVAL_SECONDS = 60


class RevealsConfig(AppConfig):
    name = "reveals"
    verbose_name = "Reveals"

    def ready(self) -> None:
        from glisk.engine.schedules import declare, declare_drain

        declare("follow_up_reveals", "reveals.tasks.follow_up_reveals", FOLLOW_UP_INTERVAL_SECONDS)
        declare("look_at_keeper", "reveals.tasks.look_at_keeper", KEEPER_INTERVAL_SECONDS)
        declare_drain(
            "reveals.tasks.reveal_tokens",
            settings.POLL_INTERVAL_SECONDS,
            wanted=settings.ENABLE_REVEAL_WORKER,
        )
