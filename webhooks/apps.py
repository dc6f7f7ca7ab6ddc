from django.apps import AppConfig


class WebhooksConfig(AppConfig):
    name = "webhooks"
    verbose_name = "Webhooks"

    def ready(self) -> None:
        from glisk.engine.schedules import declare, purges
        from webhooks.tasks import purge_events

        declare("finish_webhook_events", "webhooks.tasks.finish_events", 60)
        purges.append(purge_events)
