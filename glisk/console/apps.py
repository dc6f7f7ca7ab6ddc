from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    name = "glisk.console"
    verbose_name = "Console"

    def ready(self) -> None:
        from glisk.console.alerts import checks  # noqa: F401 - registers the system checks
        from glisk.engine.schedules import declare, purges

        declare("watch_troubles", "glisk.console.alerts.tasks.watch_troubles", 30)  # seconds
        purges.append(purge_alerts)


def purge_alerts() -> int:
    # Not at the start: the console imports the apps' admins, which may not be imported yet.
    from glisk.console.alerts import tasks

    return tasks.purge_alerts()
