"""Schedules are declared in code; the supervisor writes them to django-q2's table."""

import ast
from dataclasses import dataclass
from datetime import datetime
from zlib import crc32

import structlog
from django.db import connection, transaction
from django.utils import timezone
from django_q.models import Schedule
from django_q.tasks import async_task

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
    """A task that runs by the clock."""

    name: str
    func: str
    cron: str
    at_start: bool


@dataclass(frozen=True)
class DeclaredDrain:
    """A task that each worker starts for itself, again and again: it ends at once if one runs."""

    func: str
    seconds: float


_declared: dict[str, Declared] = {}
_drains: dict[str, DeclaredDrain] = {}


def declare(name: str, func_path: str, cron_seconds: float | str, *, at_start: bool = True) -> None:
    """Declare that `func_path` runs every `cron_seconds`, or by a 6-field cron expression.

    The task takes no argument and returns an int or None. `at_start` runs it at the start of
    every supervisor as well. To be called while apps load (`AppConfig.ready`); the last
    declaration of a name counts. Declare whatever the settings say, and let a task that is
    switched off return at once: the schedules of all machines are one table.
    """
    cron = cron_seconds if isinstance(cron_seconds, str) else cron_of(cron_seconds)
    _declared[name] = Declared(name, func_path, cron, at_start)


def declare_drain(func_path: str, seconds: float, *, wanted: bool) -> None:
    """Declare that this worker starts the drain every `seconds`, if it is `wanted` here.

    No other worker takes that task, so one that does not do a stage takes nothing from those that
    do. To be called while apps load, as `declare`.
    """
    _drains.pop(func_path, None)
    if wanted:
        _drains[func_path] = DeclaredDrain(func_path, seconds)


def drains() -> list[DeclaredDrain]:
    return list(_drains.values())


def declared() -> list[Declared]:
    return sorted(_declared.values(), key=lambda schedule: schedule.name)


def forget_all() -> None:
    """Forget what was declared, so that a test's own tasks run alone."""
    _declared.clear()
    _drains.clear()


def cron_of(seconds: float) -> str:
    """Return the 6-field cron expression nearest to an interval; the seconds stand last."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"* * * * * */{whole}"
    minutes = round(whole / 60)
    if minutes < 60:
        return f"*/{minutes} * * * * 0"
    hours = round(minutes / 60)
    return f"0 */{hours} * * * 0" if hours < 24 else "0 3 * * * 0"


def write_schedules() -> None:
    """Make django-q2's table hold what is declared: add, mend, and remove what no longer is.

    Several supervisors may do this at once; a running schedule keeps its next run.
    """
    kept = []
    with transaction.atomic():
        with connection.cursor() as cursor:  # the table has no unique name
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_WRITE_LOCK])
        for schedule in declared():
            name = _PREFIX + schedule.name
            facts = {"func": schedule.func, "cron": schedule.cron, **_FIXED}
            row = Schedule.objects.filter(name=name).first() or Schedule(name=name)
            if any(getattr(row, column) != fact for column, fact in facts.items()):
                for column, fact in facts.items():
                    setattr(row, column, fact)
                row.next_run = row.calculate_next_run()
                row.save()
            kept.append(row.pk)
        Schedule.objects.filter(name__startswith=_PREFIX).exclude(pk__in=kept).delete()


def next_due() -> datetime | None:
    """Return when the next schedule is due; None if there is none. One cheap statement."""
    due: datetime | None = (
        Schedule.objects.exclude(repeats=0)
        .order_by("next_run")
        .values_list("next_run", flat=True)
        .first()
    )
    return due


def mend() -> None:
    """Make the due schedules runnable again: ours as declared, an operator's switched off.

    django-q2 runs all due schedules in one transaction: one whose arguments or cron expression
    cannot be read would hold up all others for ever.
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
