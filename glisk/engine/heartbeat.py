"""What workers say: who they are, that they live, if their clocks go right, what holds work back.

An owner, by whose name leases are held, is `host:main pid:pid:8 hex digits`, unique per drain run.

A heartbeat is a row per drain and per supervisor, written every few seconds. It proves that the
process reaches the database; django-q2's own status says "Idle" while its cluster is wedged. All
ages are told by the database's clock; a clock that differs from it is shown to operators.

An alarm is a cause of waiting that stands in no other row (as breakers and pauses do). The code
that meets it raises it again and again while it lasts; dashboard, `pipeline_status` and the pages
of the tokens in its stages show it.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil
import structlog
from django.utils import timezone

from glisk.clock import database_now, machine_ahead_seconds, read_moment
from glisk.models import SystemState, WorkerHeartbeat

logger = structlog.get_logger(__name__)

ALIVE_SECONDS = 15  # a process that was silent for longer counts as gone
# A row this old says only that its process is gone; operators have had time to see it.
PRUNE_AFTER = timedelta(minutes=10)

# Of clocks that differ.
TOLERATED_SECONDS = 10.0
_REMEMBERED_SECONDS = 300.0
_ADVICE = "Have the machines' clocks set by NTP. Nothing is decided by this one."

_UPSERT = """
    INSERT INTO worker_heartbeats (owner, host, main_pid, pid, stage, in_flight, started_at,
                                   beat_at, last_claim_at, last_progress_at)
    VALUES (%(owner)s, %(host)s, %(main_pid)s, %(pid)s, %(stage)s, %(in_flight)s, %(started_at)s,
            now(), %(last_claim_at)s, %(last_progress_at)s)
    ON CONFLICT (owner) DO UPDATE SET in_flight = EXCLUDED.in_flight, beat_at = now(),
        last_claim_at = EXCLUDED.last_claim_at, last_progress_at = EXCLUDED.last_progress_at
"""

_INITIAL_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO, its inode on Linux

_main_pid: int | None = None


@lru_cache(maxsize=1)
def host_name() -> str:
    """Return a name under which process ids are comparable.

    In a container it carries the PID namespace: two containers may share a host name, and
    process 7 of one is not process 7 of the other.
    """
    name = socket.gethostname()[:80]
    try:
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return name
    return name if namespace == _INITIAL_PID_NAMESPACE else f"{name}.{namespace}"


def set_main_pid(pid: int) -> None:
    """Make `pid` the supervisor of this process and of all that it forks."""
    global _main_pid
    _main_pid = pid


def main_pid() -> int:
    """Return the supervisor's pid; outside of a supervisor, this process's own."""
    return os.getpid() if _main_pid is None else _main_pid


def owner_prefix(host: str, main_pid: int) -> str:
    return f"{host}:{main_pid}:"


def own_prefix() -> str:
    return owner_prefix(host_name(), main_pid())


def new_owner() -> str:
    return f"{own_prefix()}{os.getpid()}:{secrets.token_hex(4)}"


@dataclass
class Heartbeat:
    owner: str
    pid: int
    stage: str
    in_flight: int = 0
    started_at: datetime = field(default_factory=timezone.now)
    last_claim_at: datetime | None = None
    last_progress_at: datetime | None = None

    def write(self, execute: Callable[[str, dict[str, Any]], Any]) -> None:
        """Upsert the row through `execute`: one statement, on whichever connection proves life."""
        execute(_UPSERT, {**vars(self), "host": host_name(), "main_pid": main_pid()})

    def remove(self, execute: Callable[[str, dict[str, Any]], Any]) -> None:
        execute("DELETE FROM worker_heartbeats WHERE owner = %(owner)s", {"owner": self.owner})


def stages_alive() -> set[str]:
    """Return the stages, and "supervisor", whose processes were heard of lately."""
    since = database_now() - timedelta(seconds=ALIVE_SECONDS)
    found = WorkerHeartbeat.objects.filter(beat_at__gte=since).values_list("stage", flat=True)
    return set(found)


def prune_heartbeats() -> int:
    stale = WorkerHeartbeat.objects.filter(beat_at__lt=database_now() - PRUNE_AFTER)
    return stale.delete()[0]


def dead_supervisors() -> set[int]:
    """Return the pids of this host's supervisors that left heartbeats and are no more.

    A pid that is in use again counts as alive: the leases decide then.
    """
    pids = WorkerHeartbeat.objects.filter(host=host_name()).values_list("main_pid", flat=True)
    return {pid for pid in set(pids) if pid == main_pid() or not _is_running(pid)}


def _is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@dataclass(frozen=True)
class ClockSkew:
    """A clock and the seconds that it is ahead of the database's; below 0 it is behind."""

    whose: str
    ahead_seconds: float

    @property
    def is_tolerable(self) -> bool:
        return abs(self.ahead_seconds) < TOLERATED_SECONDS

    def __str__(self) -> str:
        side = "ahead of" if self.ahead_seconds > 0 else "behind"
        return f"{self.whose}'s clock is {abs(self.ahead_seconds):.0f} s {side} the database's"


def machine_skew() -> ClockSkew:
    return ClockSkew(host_name(), machine_ahead_seconds())


def note_clock(skew: ClockSkew) -> None:
    """Show a difference to operators until it is over; to be told once a minute."""
    name = f"clock_{skew.whose}"[:80]
    if skew.is_tolerable:
        end_alarm(name)
        return
    logger.warning("clock_differs", clock=skew.whose, ahead_seconds=round(skew.ahead_seconds, 1))
    raise_alarm(name, headline=str(skew), advice=_ADVICE, lasts_seconds=_REMEMBERED_SECONDS)


PREFIX = "alarm:"
LASTS_SECONDS = 120.0


@dataclass(frozen=True)
class Alarm:
    """`stages` (generation, upload, reveal) are those whose tokens wait for it; perhaps none."""

    name: str
    headline: str
    reason: str
    advice: str
    stages: tuple[str, ...]
    since: datetime


def raise_alarm(
    name: str,
    *,
    headline: str,
    reason: str = "",
    advice: str = "",
    stages: Sequence[str] = (),
    lasts_seconds: float = LASTS_SECONDS,
) -> None:
    """Say what is wrong; it is over when nobody has said it again for so long.

    The texts are shown to operators, so they hold no secret.
    """
    key = f"{PREFIX}{name}"
    before = SystemState.objects.filter(pk=key).first()
    lasting = read_alarm(before) if before else None
    told = {
        "headline": headline,
        "reason": reason,
        "advice": advice,
        "stages": list(stages),
        "lasts_seconds": lasts_seconds,
        "since": (lasting.since if lasting else database_now()).isoformat(),
    }
    SystemState.put(key, told)


def end_alarm(name: str) -> None:
    """Take an alarm back at once: what it told of works again."""
    SystemState.objects.filter(pk=f"{PREFIX}{name}").delete()


def read_alarm(row: SystemState) -> Alarm | None:
    """Return a stored alarm; None if it is over."""
    told = row.state_value
    if row.updated_at + timedelta(seconds=told["lasts_seconds"]) < database_now():
        return None
    return Alarm(
        name=row.state_key.removeprefix(PREFIX),
        headline=told["headline"],
        reason=told["reason"],
        advice=told["advice"],
        stages=tuple(told["stages"]),
        since=read_moment(told["since"]) or row.updated_at,
    )
