from django.apps import AppConfig
from django.conf import settings


class RevealsConfig(AppConfig):
    name = "reveals"
    verbose_name = "Reveals"

    def ready(self) -> None:
        from glisk.engine.schedules import declare, declare_drain
        from reveals import outbox
        from tokens.registry import register_reveals

        register_reveals(in_flight=outbox.in_flight, perhaps_revealed=outbox.perhaps_revealed)
        declare("look_at_keeper", "reveals.tasks.look_at_keeper", 60)
        declare_drain(
            "reveals.tasks.RevealDrain",
            settings.POLL_INTERVAL_SECONDS,
            wanted=settings.ENABLE_REVEAL_WORKER,
        )
