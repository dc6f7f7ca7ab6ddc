"""django-q2's sentinel, made crash-only.

Stock django-q2 replaces a killed child and goes on; but a child that was killed while it held
a lock of a shared queue leaves it locked, and the cluster hangs for ever. Here the death of
any child by a signal or an error ends the sentinel and with it the whole tree: fresh processes
with fresh queues are 100 ms away, and the truth is in the token rows. Nothing here waits for a
lock that a child may hold.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
import time
import uuid
from collections.abc import Callable
from multiprocessing import connection as waiting
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn

import structlog
from django_q.cluster import Sentinel, get_mp_context, worker
from django_q.conf import Conf
from django_q.pusher import pusher

from glisk.engine.process import StopFlag, run_child

logger = structlog.get_logger(__name__)

CRASHED = 70
_STOP_CYCLE_SECONDS = 0.05
_LAST_WORDS_SECONDS = 10


def run_sentinel(stop: StopFlag) -> NoReturn:
    """Run a tree's sentinel to its end; the target of its process."""
    code = CRASHED
    try:
        CrashOnlySentinel(stop).run()
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

    def __init__(self, stop: StopFlag) -> None:
        super().__init__(stop, threading.Event(), uuid.uuid4(), start=False)
        # The parent class restores SIGTERM's default; see run_child.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def run(self) -> None:
        self.spawn_cluster()
        self.guard()

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
        """Watch the children until the stop flag is set, then stop them."""
        looked = time.monotonic()
        while not self.stop_event.is_set():
            self._watch(Conf.GUARD_CYCLE)
            for process in self._children():
                if not process.is_alive():
                    self.reincarnate(process)
            now = time.monotonic()
            self._run_timers(now - looked)
            looked = now
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

    def _watch(self, seconds: float) -> None:
        """Wait until a child ends or the stop flag is set, at most `seconds`."""
        watched = [process.sentinel for process in self._children()]
        waiting.wait([*watched, self.stop_event], seconds)

    def _watch_stopping(self) -> None:
        watched = [process.sentinel for process in self._children() if process.is_alive()]
        waiting.wait(watched, _STOP_CYCLE_SECONDS)
        for process in self._children():
            if process.exitcode not in (None, 0):
                self._crash(process)

    def _run_timers(self, seconds: float) -> None:
        """Count down the time that busy workers have left; give up the tree for a stuck one.

        A worker writes its own timer, so it is counted under its lock, but never waited for.
        """
        for process in self.pool:
            timer = process.timer
            if not timer.get_lock().acquire(block=False):
                continue
            try:
                left = timer.value
                if left > 0:
                    timer.value = left = max(0.0, left - seconds)
            finally:
                timer.get_lock().release()
            if left == 0:
                # Its own alarm ended the task, and it now reports that; or it is stuck.
                process.join(_LAST_WORDS_SECONDS)
                if process.is_alive():
                    process.kill()
                    process.join()

    def _crash(self, process: BaseProcess) -> NoReturn:
        logger.error("worker_process_died", pid=process.pid, exitcode=process.exitcode)
        logging.shutdown()
        os._exit(CRASHED)  # the kernel kills the children of a process that ended
