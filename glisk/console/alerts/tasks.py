"""What the schedule calls; where nothing is set up, it returns at once.

The dead man's switch: somebody outside is pinged while all is well, and raises the alarm if not.
The convention is that of healthchecks.io (https://healthchecks.io/docs/http_api/): GET the address
for "alive", POST it with /fail for "alive, and in trouble". Where a service knows no /fail, it
hears no ping, which alarms as well.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Final

import structlog
from django.conf import settings

from glisk.clients.http import HttpClient, HttpOptions
from glisk.clock import database_now
from glisk.console.alerts.delivery import deliver
from glisk.console.alerts.evaluation import note_troubles
from glisk.console.alerts.targets import targets
from glisk.console.overview.causes import PAGE
from glisk.engine.schedules import delete_in_portions
from glisk.errors import ProviderError
from glisk.models import Alert

logger = structlog.get_logger(__name__)
_OPTIONS: Final = HttpOptions(connect_timeout_seconds=5, read_timeout_seconds=10, pool_size=1)
_KEEP: Final = timedelta(days=90)


def watch_troubles() -> int:
    """Write what is to be told, ping by it, send it; return how many messages were accepted.

    Who cannot find out what is wrong does not ping.
    """
    if not targets() and not settings.HEARTBEAT_URL:
        return 0
    note_troubles()
    if not settings.HEARTBEAT_URL:
        return deliver()
    with ThreadPoolExecutor(1, "heartbeat") as aside:  # neither waits for the other
        pinging = aside.submit(ping_dead_man, urgent_headlines())
        accepted = deliver()
        pinging.result()
    return accepted


def urgent_headlines() -> list[str]:
    """Return what was found last and needs a person, whether or not somebody was told.

    People are told less often of what comes back; that does not matter here.
    """
    lasting = database_now() - timedelta(seconds=settings.ALERT_AFTER_SECONDS)
    urgent = Alert.objects.filter(level=PAGE, gone_at=None, seen_at__lte=lasting).order_by("pk")
    return list(urgent.values_list("headline", flat=True))


def ping_dead_man(headlines: list[str]) -> str:
    """Say that we live, or what needs a person; return why nobody heard it, or an empty text."""
    client = HttpClient(vendor="heartbeat", base_url=settings.HEARTBEAT_URL, options=_OPTIONS)
    try:
        if headlines:
            client.call("POST", "/fail", idempotent=True, data="\n".join(headlines).encode())
        else:
            client.call("GET", "", idempotent=True)
    except ProviderError as error:
        logger.warning("heartbeat_not_heard", error=str(error))
        return str(error)
    finally:
        client.close()
    return ""


def purge_alerts() -> int:
    """Delete what ended long ago, with its messages; return the number of rows."""
    old = Alert.objects.filter(ended_at__lt=database_now() - _KEEP)
    return delete_in_portions(old.order_by("ended_at"))
