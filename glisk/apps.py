import structlog
from django.apps import AppConfig

logger = structlog.get_logger(__name__)


class GliskConfig(AppConfig):
    name = "glisk"
    verbose_name = "System"

    def ready(self) -> None:
        from django.conf import settings

        from glisk.api.throttling import purge_request_counts
        from glisk.config import checks  # noqa: F401 - registers the system checks
        from glisk.engine.schedules import purge_sessions, purges
        from glisk.security import sessions  # noqa: F401 - hears of logins
        from glisk.security.lockout import purge_login_attempts

        purges.extend((purge_request_counts, purge_sessions, purge_login_attempts))
        for name, meant in settings.MISNAMED_VARIABLES.items():
            logger.warning("unknown_variable", name=name, meant=meant)
