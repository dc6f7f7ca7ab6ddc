from django.apps import AppConfig


class GliskConfig(AppConfig):
    name = "glisk"
    verbose_name = "System"

    def ready(self) -> None:
        from glisk import checks  # noqa: F401 - registers the system checks
