"""The supervisor: keeps one tree of django-q2 processes alive, and runs the schedules.

It is crash-only. Stock django-q2 replaces a killed child and goes on; but a child that was killed
while it held a lock of a shared queue leaves it locked, and the cluster hangs for ever. Here the
death of any child by a signal or an error ends the sentinel and with it the whole tree: its leases
are released, and a new one is 100 ms away. The sentinel waits for no lock that a child may hold.
Signal handlers only set the stop flag.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import queue
import select
import signal
import threading
import time
import uuid
from collections.abc import Callable
from multiprocessing import connection as waiting
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, connections
from django.utils import timezone
from django.utils.module_loading import import_string
from django_q.brokers import get_broker
from django_q.cluster import Sentinel, get_mp_context, worker
from django_q.pusher import pusher
from django_q.scheduler import scheduler

from glisk.database import unapplied_migrations
from glisk.engine import schedules
from glisk.engine.broker import forget_queue
from glisk.engine.heartbeat import (
    Heartbeat,
    dead_supervisors,
    host_name,
    own_prefix,
    owner_prefix,
    set_main_pid,
)
from glisk.engine.process import Flag, process_stop_flag, run_child
from glisk.metrics.server import MetricsServer
from glisk.models import WorkerHeartbeat
from glisk.timing import timing

logger = structlog.get_logger(__name__)

# Imported before the first fork: the workers share the pages, and start in milliseconds.
_HEAVY_MODULES = ("replicate", "PIL.Image", "web3", "prometheus_client")
_STABLE_SECONDS = 10.0
_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 30.0
_RETRY_SECONDS = 0.5
_REMIND_SECONDS = 60.0


class Tree:
    """A sentinel and its children. They die with it, and it dies with us."""

    def __init__(self, stop: Flag) -> None:
        connections.close_all()  # a connection must not be shared by a fork
        # Every process of the tree holds the write end: end of file says that all are gone.
        self._life, alive = os.pipe()
        self.process: BaseProcess = get_mp_context().Process(
            target=run_child, args=(os.getpid(), run_sentinel, stop), name="sentinel"
        )
        self.process.start()
        os.close(alive)

    def end(self, seconds: float = 10.0) -> bool:
        """Kill what is left and wait until no process of the tree lives; False if one does."""
        self.process.kill()
        self.process.join(seconds)
        poll = select.poll()
        poll.register(self._life, select.POLLHUP)
        gone = bool(poll.poll(seconds * 1000))
        os.close(self._life)
        with contextlib.suppress(ValueError):
            self.process.close()
        return gone


class Supervisor:
    """Runs in the main process of `manage.py qcluster`."""

    def __init__(self) -> None:
        set_main_pid(os.getpid())
        self._stop = process_stop_flag()
        self._heartbeat = Heartbeat(f"{own_prefix()}supervisor", os.getpid(), "supervisor")
        self._next_beat = 0.0
        self._next_starts: dict[str, float] = {}  # of drains, by class
        self._metrics = MetricsServer()
        self._crashes = 0
        self._remind_at = 0.0  # of missing migrations

    def run(self) -> None:
        """Serve until SIGTERM, SIGINT or SIGHUP, then let the work under way finish."""
        for stop_signal in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(stop_signal, lambda *_: self._stop.set())
        schedules.declare_housekeeping()
        _import_before_fork()
        logger.info("supervisor_started", pid=os.getpid())
        self._metrics.keep_alive()
        self._repeat_until_done(self._has_tables)
        while self._repeat_until_done(_prepare_database):
            started = time.monotonic()
            tree = Tree(self._stop)
            try:
                while not self._stop.is_set() and tree.process.is_alive():
                    waiting.wait([self._stop.fileno(), tree.process.sentinel], self._run_due())
            finally:
                self._end(tree)
            if not self._stop.is_set():
                self._back_off(time.monotonic() - started)
        logger.info("supervisor_stopped", pid=os.getpid())

    def _end(self, tree: Tree) -> None:
        """See the tree to its end, within the grace if it is to stop; release its leases."""
        grace = settings.SHUTDOWN_GRACE_SECONDS
        if self._stop.is_set():
            tree.process.join(grace)
            if tree.process.is_alive():
                logger.warning("grace_exceeded", seconds=grace)
        if not tree.end():
            logger.error("processes_left", prefix=own_prefix())
        try:
            released = _release(own_prefix())
            if released:
                logger.warning("leases_released", count=released)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("leases_not_released", error=str(error).strip())
        connections.close_all()
        self._next_beat = 0.0
        self._next_starts = {}

    def _back_off(self, lived: float) -> None:
        """Restart a tree at once if it lived for a while, else ever later."""
        self._crashes = 0 if lived > _STABLE_SECONDS else self._crashes + 1
        later = _FIRST_BACKOFF_SECONDS * 2 ** min(self._crashes - 1, 10)
        delay = min(_LONGEST_BACKOFF_SECONDS, later) if self._crashes else 0.0
        logger.error("tree_died", lived_seconds=round(lived, 1), restart_in_seconds=delay)
        self._stop.wait(delay)

    def _repeat_until_done(self, attempt: Callable[[], bool]) -> bool:
        """Try it again and again; False if to stop before."""
        while not self._stop.is_set():
            try:
                if attempt():
                    return True
            except (DatabaseError, InterfaceError) as error:
                _meet_lost_database(error)
            self._stop.wait(_RETRY_SECONDS)
        return False

    def _has_tables(self) -> bool:
        """Begin nothing before `migrate` is through, and say once a minute what is waited for."""
        missing = unapplied_migrations()
        if missing and time.monotonic() >= self._remind_at:
            self._remind_at = time.monotonic() + _REMIND_SECONDS
            logger.warning(
                "waiting_for_migrations",
                missing=len(missing),
                first=missing[0],
                advice="Work begins when `manage.py migrate` has run; `make web` runs it.",
            )
        return not missing

    def _run_due(self) -> float:
        """Run what is due; return after how many seconds to come back."""
        try:
            now = time.monotonic()
            if now >= self._next_beat:
                self._next_beat = now + timing.beat
                self._metrics.keep_alive()
                with connection.cursor() as cursor:
                    self._heartbeat.write(cursor.execute)
            for path, seconds in schedules.drains.items():
                if now >= self._next_starts.get(path, 0.0):
                    import_string(path).start_if_missing()
                    self._next_starts[path] = now + seconds
            due = schedules.next_due()
            if due is not None and due <= timezone.now():
                scheduler(broker=get_broker())
                missed, due = due, schedules.next_due()
                if due == missed:  # it rolled everything back
                    schedules.mend()
                    return _RETRY_SECONDS
            left = timing.beat if due is None else (due - timezone.now()).total_seconds()
            starts = [at - time.monotonic() for at in self._next_starts.values()]
            return max(0.05, min(timing.beat, *starts, left + 0.01))
        except (DatabaseError, InterfaceError) as error:
            _meet_lost_database(error)
            return _RETRY_SECONDS


def _meet_lost_database(error: Exception) -> None:
    logger.warning("database_unreachable", error=str(error).strip())
    with contextlib.suppress(DatabaseError, InterfaceError):
        connections.close_all()
    if settings.EMBEDDED_DATABASE:
        from glisk.database.embedded_postgres import ensure_running

        try:
            ensure_running(settings.EMBEDDED_DATABASE_DIR)
        except Exception:
            logger.exception("embedded_database_not_started")


def _import_before_fork() -> None:
    """Load the tasks and what they need; raises if a declared task does not exist."""
    for name in _HEAVY_MODULES:
        importlib.import_module(name)
    for name in [*(schedule.func for schedule in schedules.declared()), *schedules.drains]:
        import_string(name)
    gc.collect()  # what is loaded stays: nobody shall visit it, or dirty the shared pages
    gc.freeze()


def _prepare_database() -> bool:
    """Write schedules, release what dead supervisors of this host held, seed the schedules."""
    schedules.write_schedules()
    for pid in dead_supervisors():
        released = _release(owner_prefix(host_name(), pid))
        logger.warning("dead_supervisor_found", pid=pid, leases_released=released)
    schedules.seed()
    return True


def _release(prefix: str) -> int:
    """Forget the processes of one supervisor, which are gone; return how many leases they held."""
    released = schedules.release_leases(prefix)
    WorkerHeartbeat.objects.filter(owner__startswith=prefix).delete()
    forget_queue(prefix)
    return released


CRASHED = 70
_STOP_CYCLE_SECONDS = 0.05


def run_sentinel(stop: Flag) -> NoReturn:
    """Run a tree's sentinel to its end; the target of its process."""
    code = CRASHED
    try:
        sentinel = CrashOnlySentinel(stop)
        sentinel.spawn_cluster()
        sentinel.guard()
        code = 0
    except Exception:
        logger.exception("sentinel_failed")
    finally:
        logging.shutdown()
        # Not by way of multiprocessing's exit handlers: they join children that may hang.
        os._exit(code)


class CrashOnlySentinel(Sentinel):
    """Guards one tree of a pusher, a monitor and the workers."""

    pool: list[Any]  # processes, each with the timer that django-q2 hangs on it

    def __init__(self, stop: Flag) -> None:
        super().__init__(stop, threading.Event(), uuid.uuid4(), start=False)
        # The parent class restores SIGTERM's default; see run_child.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def spawn_process(self, target: Callable[..., Any], *args: Any) -> Any:
        """Fork a child that dies with this process."""
        process: Any = get_mp_context().Process(
            target=run_child, args=(os.getpid(), target, *args), name=f"q2-{uuid.uuid4().hex[:8]}"
        )
        process.daemon = True
        if target is worker:
            process.timer = args[2]
            self.pool.append(process)
        process.start()
        return process

    def spawn_pusher(self) -> Any:
        """Fork the pusher; it ends by the stop flag itself."""
        return self.spawn_process(pusher, self.task_queue, self.stop_event, self.broker)

    def guard(self) -> None:
        """Watch the children until the stop flag is set, then stop them.

        A task that takes too long is ended by its worker's own alarm.
        """
        while not self.stop_event.is_set():
            children = self._children()
            waiting.wait([self.stop_event, *(process.sentinel for process in children)])
            for process in children:
                if not process.is_alive():
                    self.reincarnate(process)
        self.stop()

    def reincarnate(self, process: BaseProcess) -> None:
        """Replace a child that ended as it should; give up the tree for any other."""
        if process.exitcode != 0:
            self._crash(process)
        super().reincarnate(process)

    def stop(self) -> None:
        """Let the children finish what they do; the supervisor bounds the time."""
        while self.pusher.is_alive():
            self._watch_stopping()
        pills = len(self.pool)
        while self.pool:
            try:
                while pills:
                    self.task_queue.put("STOP", block=False)
                    pills -= 1
            except queue.Full:
                pass
            self._watch_stopping()
            self.pool = [process for process in self.pool if process.is_alive()]
        self.result_queue.put("STOP")
        while self.monitor.is_alive():
            self._watch_stopping()

    def _children(self) -> list[BaseProcess]:
        return [*self.pool, self.monitor, self.pusher]

    def _watch_stopping(self) -> None:
        watched = [process.sentinel for process in self._children() if process.is_alive()]
        waiting.wait(watched, _STOP_CYCLE_SECONDS)
        for process in self._children():
            if process.exitcode not in (None, 0):
                self._crash(process)

    def _crash(self, process: BaseProcess) -> NoReturn:
        logger.error("worker_process_died", pid=process.pid, exitcode=process.exitcode)
        logging.shutdown()
        os._exit(CRASHED)  # the kernel kills the children of a process that ended
