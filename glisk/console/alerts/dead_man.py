"""The dead man's switch: somebody outside is pinged while all is well, and raises the alarm if not.

The convention is that of healthchecks.io (https://healthchecks.io/docs/http_api/): GET the address
for "alive", POST it with /fail for "alive, and in trouble". Where a service knows no /fail, it
hears no ping, which alarms as well.
"""

from __future__ import annotations

import structlog
from django.conf import settings

from glisk.clients.http import HttpClient, HttpOptions
from glisk.console.overview.causes import PAGE
from glisk.errors import ProviderError
from glisk.models import Alert

logger = structlog.get_logger(__name__)
_OPTIONS = HttpOptions(connect_timeout_seconds=5, read_timeout_seconds=10, pool_size=1)


def what_needs_a_person() -> list[str]:
    """Return the headlines of the alerts that go on and cannot wait."""
    stuck = Alert.objects.filter(level=PAGE, told_at__isnull=False, gone_at=None)
    return list(stuck.order_by("pk").values_list("headline", flat=True))


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
