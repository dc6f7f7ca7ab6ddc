"""What the schedules call; where nothing is set up, each returns at once."""

from datetime import timedelta

from django.conf import settings

from glisk.clock import database_now
from glisk.console.alerts.dead_man import ping_dead_man, what_needs_a_person
from glisk.console.alerts.delivery import deliver
from glisk.console.alerts.evaluation import note_troubles
from glisk.console.alerts.targets import targets
from glisk.engine.schedules import delete_in_portions
from glisk.models import Alert

_KEEP = timedelta(days=90)


def watch_troubles() -> int:
    """Write what is to be told, and send it; return how many messages were accepted."""
    if not targets() and not settings.HEARTBEAT_URL:
        return 0
    note_troubles()
    return deliver()


def ping() -> str:
    """Ping by what is true now; who cannot find that out does not ping."""
    if not settings.HEARTBEAT_URL:
        return ""
    note_troubles()
    return ping_dead_man(what_needs_a_person())


def purge_alerts() -> int:
    """Delete what ended long ago, with its messages; return the number of rows."""
    old = Alert.objects.filter(ended_at__lt=database_now() - _KEEP)
    return delete_in_portions(old.order_by("ended_at"))
