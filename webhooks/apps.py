from django.apps import AppConfig


class WebhooksConfig(AppConfig):
    name = "webhooks"
    verbose_name = "Webhooks"

    def ready(self) -> None:
        from glisk.engine.schedules import declare

        declare("finish_webhook_events", "webhooks.tasks.finish_events", 60)
