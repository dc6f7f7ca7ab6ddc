"""django-q2's ORM broker, and the notifications that wake it and the drains.

A task starts a few milliseconds after the commit that enqueued it, and an idle queue costs one
statement per `poll` seconds instead of several a second.
"""

from __future__ import annotations

import select
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import psycopg
import structlog
from django.db import InterfaceError, OperationalError, connection, connections
from django.db.models.functions import Now
from django_q.brokers.orm import ORM
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.tasks import async_task
from psycopg import sql

from glisk.engine.heartbeat import own_prefix
from glisk.engine.process import process_stop_flag

logger = structlog.get_logger(__name__)

QUEUE_CHANNEL = "glisk_queue"
_RETRY_SECONDS = 0.5
_LONGEST_KEY = 100  # of django-q2's column
_LOST_AFTER = timedelta(days=1)

# The lock is what the next delivery waits for; clocks are compared on the database's side only.
_CLAIM = """
    UPDATE django_q_ormq SET lock = now() + make_interval(secs => %s)
    WHERE id IN (SELECT id FROM django_q_ormq WHERE key = ANY(%s) AND lock <= now()
                 ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)
    RETURNING id, payload
"""

# Django's own classes, which a plain connection does without.
_DJANGO_ONLY = {"cursor_factory", "context", "prepare_threshold"}


def notify(channel: str) -> None:
    """Notify `channel` inside the caller's transaction: the listeners hear of it at its commit."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, '')", [channel])


class Listener:
    """A direct connection that listens on channels and may hold a slot.

    It is psycopg's own, since Django closes and opens its connection as it likes. A pooler in
    transaction mode (PgBouncer) breaks it.

    Raises `psycopg.OperationalError` when the connection is lost.
    """

    def __init__(self, channels: Iterable[str]) -> None:
        given = connection.get_connection_params()
        parameters = {name: given[name] for name in given.keys() - _DJANGO_ONLY}
        self.session: psycopg.Connection[Any] = psycopg.connect(**parameters, autocommit=True)
        try:
            for channel in channels:
                self.session.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        except BaseException:
            self.session.close()
            raise

    def fileno(self) -> int:
        return self.session.fileno()

    def heard(self) -> int:
        """Return how many notifications came since the last call; never waits."""
        return len(list(self.session.notifies(timeout=0)))

    def is_alive(self) -> bool:
        try:
            self.session.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    def close(self) -> None:
        self.session.close()


def own_queue() -> str:
    return own_prefix()[:_LONGEST_KEY]


def enqueue_here(func_path: str) -> None:
    """Enqueue a task that no other worker may take."""
    async_task(func_path, broker=ListeningBroker(own_queue()))


def forget_queue(prefix: str) -> None:
    """Delete the own queue of a supervisor whose processes are gone."""
    OrmQ.objects.using(Conf.ORM).filter(key=prefix[:_LONGEST_KEY]).delete()


def forget_lost_queues() -> int:
    """Delete what waits in the own queues of supervisors that never came back; return how many."""
    rows = OrmQ.objects.using(Conf.ORM).exclude(key=Conf.CLUSTER_NAME)
    return int(rows.filter(lock__lt=Now() - _LOST_AFTER).delete()[0])


class ListeningBroker(ORM):
    """Queues in PostgreSQL, the shared one and a worker's own.

    `dequeue()` runs in the pusher process only.
    """

    _listener: Listener | None = None

    @staticmethod
    def get_connection(list_key: str | None = None) -> Any:
        """Return the queue's manager without a connection: the database may be away."""
        return OrmQ.objects.using(Conf.ORM)

    def enqueue(self, task: str) -> int:
        """Insert a task and wake the pushers, both in the caller's transaction if there is one."""
        row = OrmQ.objects.create(key=self.list_key, payload=task, lock=Now())
        notify(QUEUE_CHANNEL)
        return int(row.pk)

    def dequeue(self) -> list[tuple[int, str]] | None:
        """Claim up to `bulk` tasks; if there is none, wait for a notification first."""
        try:
            if self._listener is None:
                self._listener = Listener([QUEUE_CHANNEL])
            claimed = self._listener.session.execute(
                _CLAIM, [Conf.RETRY, [self.list_key, own_queue()], Conf.BULK]
            ).fetchall()
            if claimed:
                return claimed
            self._wait(self._listener)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            if self._listener is not None:  # once, not all through an outage
                logger.warning("queue_unreachable", error=str(error).strip())
            self.close()
            process_stop_flag().wait(_RETRY_SECONDS)
        return None

    def _wait(self, listener: Listener) -> None:
        if listener.heard():  # came with the claim's own answer
            return
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        poll.register(process_stop_flag(), select.POLLIN)
        if poll.poll(Conf.POLL * 1000):
            listener.heard()

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def acknowledge(self, task_id: int) -> None:
        """Delete a finished task; a lost connection must not end the monitor process.

        A task that stays is delivered again after `retry` seconds, which drains bear.
        """
        try:
            self.delete(task_id)
        except (OperationalError, InterfaceError) as error:
            connections.close_all()
            logger.warning("task_not_acknowledged", error=str(error).strip())
