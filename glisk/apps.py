from django.apps import AppConfig


class GliskConfig(AppConfig):
    name = "glisk"
    verbose_name = "System"

    def ready(self) -> None:
        from glisk.config import checks  # noqa: F401 - registers the system checks
        from glisk.engine.leases import register_purge
        from glisk.engine.purging import purge_sessions
        from glisk.web.request_counts import purge_request_counts

        register_purge(purge_request_counts)
        register_purge(purge_sessions)
