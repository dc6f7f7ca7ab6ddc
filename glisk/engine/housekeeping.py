"""The engine's own scheduled tasks."""

from datetime import timedelta

import structlog
from django.utils import timezone
from django_q.models import Failure

from glisk.engine import leases
from glisk.engine.broker import forget_lost_queues
from glisk.engine.clock_skew import machine_skew, note_clock
from glisk.engine.heartbeat import prune_heartbeats
from glisk.engine.schedules import declare

logger = structlog.get_logger(__name__)

_KEEP_FAILURES = timedelta(days=7)
# After the end of a lease: what a dead machine held is taken over soon after LEASE_SECONDS.
_RESCUE_SECONDS = 20


def rescue() -> int:
    """Free the leases that ran out, forget processes that are long silent, look at the clock."""
    count = leases.rescue_leases()
    if count:
        logger.warning("leases_rescued", count=count)
    prune_heartbeats()
    note_clock(machine_skew())
    return count


def purge() -> int:
    """Delete old records of failed tasks (django-q2 keeps them for ever), and what apps name."""
    count: int = Failure.objects.filter(stopped__lt=timezone.now() - _KEEP_FAILURES).delete()[0]
    return count + forget_lost_queues() + leases.purge_rows()


def declare_housekeeping() -> None:
    declare("rescue", "glisk.engine.housekeeping.rescue", _RESCUE_SECONDS)
    declare("purge", "glisk.engine.housekeeping.purge", 3600, at_start=False)
