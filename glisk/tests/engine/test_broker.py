"""The queue: transactional, delivered once, woken by notifications."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from django.db import connections, transaction
from django_q.brokers import get_broker
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.tasks import async_task

from glisk.engine import broker as module
from glisk.engine.broker import Listener, ListeningBroker
from glisk.engine.process import Flag
from glisk.tests.engine.conftest import query

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Flag]:
    flag = Flag()
    monkeypatch.setattr(module, "process_stop_flag", lambda: flag)
    yield flag
    flag.close()


@pytest.fixture
def broker(stop: Flag) -> Iterator[ListeningBroker]:
    broker = get_broker()
    assert isinstance(broker, ListeningBroker)
    yield broker
    broker.close()


def _dequeued(broker: ListeningBroker) -> list[int]:
    return [key for key, _ in broker.dequeue() or []]


def test_a_task_is_delivered_once_and_again_if_it_was_not_acknowledged(
    broker: ListeningBroker,
) -> None:
    first, second = broker.enqueue("a"), broker.enqueue("b")
    other = ListeningBroker()
    assert _dequeued(broker) == [first]  # the oldest
    assert _dequeued(other) == [second]
    broker.acknowledge(first)
    assert list(OrmQ.objects.values_list("pk", flat=True)) == [second]
    query("UPDATE django_q_ormq SET lock = now() - interval '1 second' RETURNING 1")
    assert _dequeued(broker) == [second]
    other.close()


def test_a_rolled_back_task_was_never_there(broker: ListeningBroker) -> None:
    with transaction.atomic():
        async_task("glisk.engine.schedules.rescue")
        transaction.set_rollback(True)
    assert OrmQ.objects.count() == 0


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Tell when a pusher has found nothing and waits; by itself it would wait for an hour."""
    event, wait = threading.Event(), ListeningBroker._wait

    def tell_and_wait(self: ListeningBroker, listener: Listener) -> None:
        event.set()
        wait(self, listener)

    monkeypatch.setattr(ListeningBroker, "_wait", tell_and_wait)
    monkeypatch.setattr(Conf, "POLL", 3600)
    return event


def test_an_enqueued_task_ends_the_wait(broker: ListeningBroker, waits: threading.Event) -> None:
    def enqueue() -> None:
        waits.wait()
        broker.enqueue("a")
        connections.close_all()

    thread = threading.Thread(target=enqueue)
    thread.start()
    assert broker.dequeue() is None  # waited for the notification
    thread.join()
    assert len(_dequeued(broker)) == 1


@pytest.mark.usefixtures("waits")
def test_the_stop_flag_ends_the_wait(broker: ListeningBroker, stop: Flag) -> None:
    stop.set()
    assert broker.dequeue() is None


def test_a_lost_session_is_replaced(broker: ListeningBroker) -> None:
    key = broker.enqueue("a")
    assert _dequeued(broker) == [key]
    assert broker._listener is not None
    query("SELECT pg_terminate_backend(%s)", broker._listener.session.info.backend_pid)
    again = broker.enqueue("b")
    assert broker.dequeue() is None
    assert _dequeued(broker) == [again]
