"""What runs by the clock.

Schedules are declared in code; the supervisor writes them to django-q2's table. Two are the
engine's own, `rescue` and `purge`: apps name what gives leases back, frees those that ran out, and
deletes what nobody needs any more; the engine knows when, only they know which rows.
"""

import ast
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zlib import crc32

import structlog
from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django_q.models import Failure, Schedule
from django_q.tasks import async_task

from glisk.engine.broker import forget_lost_queues
from glisk.engine.heartbeat import machine_skew, note_clock, prune_heartbeats

logger = structlog.get_logger(__name__)

# Rows of this name belong to this module; an operator's own schedules are left alone.
_PREFIX = "glisk:"
_WRITE_LOCK = crc32(b"glisk:write_schedules")
_FIXED = {
    "schedule_type": Schedule.CRON,
    "repeats": -1,
    "args": None,
    "kwargs": None,
    "hook": None,
}


@dataclass(frozen=True)
class Declared:
    name: str
    func: str
    cron: str
    at_start: bool


_declared: dict[str, Declared] = {}
# The drains that each worker starts for itself if none runs, looked at every so many seconds.
drains: dict[str, float] = {}


def declare(name: str, func_path: str, seconds: float, *, at_start: bool = True) -> None:
    """Declare that `func_path` runs every `seconds`, up to an hour.

    `at_start` runs it at the start of every supervisor as well. To be called while apps load
    (`AppConfig.ready`), whatever the settings say: the schedules of all machines are one table, so
    a task that is switched off returns at once.
    """
    _declared[name] = Declared(name, func_path, cron_of(seconds), at_start)


def declare_drain(class_path: str, seconds: float, *, wanted: bool) -> None:
    """Declare that this worker starts the drain, if it is `wanted` here and none holds its slot.

    No other worker takes that task, so one that does not do a stage takes nothing from those that
    do.
    """
    if wanted:
        drains[class_path] = seconds


def declared() -> list[Declared]:
    return sorted(_declared.values(), key=lambda schedule: schedule.name)


def forget_all() -> None:  # for tests
    _declared.clear()
    drains.clear()


def cron_of(seconds: float) -> str:
    """Return the 6-field cron expression nearest to an interval; the seconds stand last."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"* * * * * */{whole}"
    minutes = round(whole / 60)
    return f"*/{minutes} * * * * 0" if minutes < 60 else "0 * * * * 0"


def write_schedules() -> None:
    """Make django-q2's table hold what is declared; a schedule that stays keeps its next run."""
    with transaction.atomic():
        with connection.cursor() as cursor:  # the table has no unique name
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_WRITE_LOCK])
        kept = []
        for schedule in declared():
            facts = {"name": _PREFIX + schedule.name, "func": schedule.func, "cron": schedule.cron}
            row = Schedule.objects.filter(**facts, **_FIXED).first()
            if row is None:
                row = Schedule(**facts, **_FIXED)
                row.next_run = row.calculate_next_run()
                row.save()
            kept.append(row.pk)
        Schedule.objects.filter(name__startswith=_PREFIX).exclude(pk__in=kept).delete()


def next_due() -> datetime | None:
    """Return when the next schedule is due; None if there is none."""
    due: datetime | None = (
        Schedule.objects.exclude(repeats=0)
        .order_by("next_run")
        .values_list("next_run", flat=True)
        .first()
    )
    return due


def mend() -> None:
    """Make the due schedules runnable again: ours as declared, an operator's switched off.

    django-q2 runs them in one transaction: one that cannot be read would hold up all for ever.
    """
    write_schedules()
    foreign = Schedule.objects.exclude(name__startswith=_PREFIX).exclude(repeats=0)
    due = foreign.filter(next_run__lt=timezone.now())
    for schedule in due:
        try:
            _check_runnable(schedule)
        except Exception:
            logger.exception("schedule_disabled", schedule=schedule.name, func=schedule.func)
            Schedule.objects.filter(pk=schedule.pk).update(repeats=0)


def _check_runnable(schedule: Schedule) -> None:
    """Do what django-q2's scheduler does with a row, short of running it; raise as it does."""
    if schedule.args:
        ast.literal_eval(schedule.args)
    if schedule.kwargs and schedule.kwargs.lstrip()[:1] in "{[(":
        dict(ast.literal_eval(schedule.kwargs))
    if schedule.schedule_type != Schedule.ONCE:
        schedule.calculate_next_run()


def seed() -> None:
    """Enqueue every task that is to run at the start."""
    for schedule in declared():
        if schedule.at_start:
            async_task(schedule.func)


AT_ONCE = 1000
BUDGET_SECONDS = 120.0  # what is left waits for the next hour
_KEEP_FAILURES = timedelta(days=7)
# After the end of a lease: what a dead machine held is taken over soon after LEASE_SECONDS.
_RESCUE_SECONDS = 20

# What apps do, each returning a number of rows. With a dead supervisor's `owner_prefix`: free the
# leases of its processes, after a crash and at the end.
lease_releases: list[Callable[[str], int]] = []
# At the start and every 20 seconds: free leases that ran out.
rescues: list[Callable[[], int]] = []
# Hourly: delete rows that nobody needs any more.
purges: list[Callable[[], int]] = []


def declare_housekeeping() -> None:
    declare("rescue", "glisk.engine.schedules.rescue", _RESCUE_SECONDS)
    declare("purge", "glisk.engine.schedules.purge", 3600, at_start=False)


def release_leases(prefix: str) -> int:
    return sum(release(prefix) for release in lease_releases)


def rescue() -> int:
    """Free the leases that ran out, forget processes that are long silent, look at the clock."""
    count = _sum_guarded(rescues)
    if count:
        logger.warning("leases_rescued", count=count)
    prune_heartbeats()
    note_clock(machine_skew())
    return count


def purge() -> int:
    """Delete old records of failed tasks (django-q2 keeps them for ever), and what apps name."""
    count: int = Failure.objects.filter(stopped__lt=timezone.now() - _KEEP_FAILURES).delete()[0]
    return count + forget_lost_queues() + _sum_guarded(purges)


def _sum_guarded(functions: list[Callable[[], int]]) -> int:
    """Call all; one that fails must not keep the others from their work."""
    count = 0
    for function in functions:
        try:
            count += function()
        except Exception:
            logger.exception("housekeeping_failed", function=function.__qualname__)
    return count


def in_portions(
    purge: Callable[[int], int], *, at_once: int = AT_ONCE, budget_seconds: float = BUDGET_SECONDS
) -> int:
    """Call `purge(at_once)`, which returns how many rows it took, until there are no more."""
    began, total, found = time.monotonic(), 0, at_once
    while found >= at_once and time.monotonic() - began < budget_seconds:  # cascades count, too
        found = purge(at_once)
        total += found
    return total


def delete_in_portions(rows: QuerySet[Any], *, at_once: int = AT_ONCE) -> int:
    """Delete these rows, which an index gives in their order; return how many."""

    def delete(limit: int) -> int:
        oldest = rows.values("pk")[:limit]
        return int(rows.model._base_manager.filter(pk__in=oldest).delete()[0])

    return in_portions(delete, at_once=at_once)


def purge_sessions() -> int:
    """Delete the sessions that have expired; return how many."""
    expired = Session.objects.filter(expire_date__lt=timezone.now())
    return delete_in_portions(expired.order_by("expire_date"))
