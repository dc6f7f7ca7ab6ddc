"""System checks of who is told; run by `manage.py check --deploy`. They print no address."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks


@checks.register(checks.Tags.security, deploy=True)
def check_alerts(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """Judge the targets of alerts; apprise is asked whether it understands them."""
    return list(_faults())


def _faults() -> Iterator[checks.CheckMessage]:
    # Not at the start: the console imports the apps' admins, which may not be imported yet.
    from glisk.console.alerts.targets import not_understood, targets

    for label in not_understood():
        yield checks.Error(
            f"{label}: apprise does not understand this address.",
            hint="Its forms: https://github.com/caronc/apprise/wiki. Is a part missing?",
            id="glisk.E020",
        )
    if targets() and not settings.PUBLIC_BASE_URL:
        yield checks.Warning(
            "PUBLIC_BASE_URL is empty: alerts have no link to the admin.",
            hint="Give the address under which this server is reached.",
            id="glisk.W022",
        )
    if settings.PRODUCTION and not targets():
        yield checks.Warning(
            "ALERT_URLS is empty: nobody is told what goes wrong.",
            hint="Give one or more addresses; docs/alerts.md. Try them: manage.py send_test_alert",
            id="glisk.W020",
        )
    if settings.PRODUCTION and not settings.HEARTBEAT_URL:
        yield checks.Warning(
            "HEARTBEAT_URL is empty: when no worker lives, nobody is told.",
            hint="Make a check at healthchecks.io, or a service like it; docs/alerts.md.",
            id="glisk.W021",
        )
