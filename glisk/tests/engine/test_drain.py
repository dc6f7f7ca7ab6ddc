"""One drain in this process: what ends a wait, slots, faults."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.db import connection
from django_q.models import OrmQ

from glisk.engine import heartbeat
from glisk.engine.broker import notify, own_queue
from glisk.engine.drain import Drain
from glisk.engine.heartbeat import owner_prefix
from glisk.engine.step import CallResult
from glisk.models import WorkerHeartbeat
from glisk.tests.engine.conftest import Start, query
from glisk.tests.waiting import eventually
from glisk.timing import timing

pytestmark = pytest.mark.django_db(transaction=True)


class Scripted(Drain):
    """Does in each turn what the test says."""

    stage = "scripted"
    channels = ("engine_scripted",)
    script: Callable[[Scripted, list[CallResult]], float | None]

    @property
    def threads(self) -> int:
        return 4

    def turn(self, results: list[CallResult]) -> float | None:
        return type(self).script(self, results)


def scripted(
    script: Callable[[Scripted, list[CallResult]], float | None], **attributes: Any
) -> type[Scripted]:
    return type("ScriptedOnce", (Scripted,), {"script": staticmethod(script), **attributes})


@pytest.fixture
def nothing_is_routine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no heartbeat end a wait, so that whatever ends one is what the test did."""
    monkeypatch.setattr(timing, "beat", 3600.0)


def _slots(columns: str, condition: str = "true") -> list[tuple[Any, ...]]:
    """Ask about the slots of this database: the view shows those of the whole server."""
    return query(
        f"SELECT {columns} FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND database "
        f"= (SELECT oid FROM pg_database WHERE datname = current_database()) AND {condition}"
    )


def _slots_taken() -> int:
    return len(_slots("pid"))


@pytest.mark.usefixtures("nothing_is_routine")
def test_a_finished_call_and_a_notification_end_the_wait(run: Start) -> None:
    turns: list[int] = []

    def script(drain: Scripted, results: list[CallResult]) -> float:
        turns.append(len(results))
        if len(turns) == 1:
            drain.submit("nap", 1, time.sleep, 0.1)
        return 3600.0

    run(scripted(script))
    eventually(lambda: turns == [0, 1], what="the turn after the call")
    notify("engine_scripted")
    eventually(lambda: turns == [0, 1, 0], what="the turn after the notification")


@pytest.mark.usefixtures("nothing_is_routine")
def test_what_comes_together_is_gathered_into_one_turn(
    run: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "gathering", 1000.0)
    turns: list[int] = []
    ends = threading.Event()

    def script(drain: Scripted, results: list[CallResult]) -> float:
        if not turns:
            for number in range(6):
                drain.submit("nap", number, time.sleep if number else ends.wait, 0.02 * number)
        turns.append(len(results))
        return 3600.0

    run(scripted(script, load=6))
    ends.set()
    eventually(lambda: sum(turns) == 6)  # before the time is over: all has come
    assert turns == [0, 6]


@pytest.mark.parametrize("one_per_worker", [True, False])
def test_each_worker_has_one_or_there_is_one_in_all(
    run: Start, monkeypatch: pytest.MonkeyPatch, one_per_worker: bool
) -> None:
    def script(drain: Scripted, results: list[CallResult]) -> None:
        return None

    drain_class = scripted(script, one_per_worker=one_per_worker)
    first = run(drain_class)
    eventually(lambda: _slots_taken() == 1, what="a slot")
    assert run(drain_class).join().outcome == 0

    monkeypatch.setattr(heartbeat, "_main_pid", 1)  # another worker
    if one_per_worker:
        second = run(drain_class)
        eventually(lambda: _slots_taken() == 2, what="the other worker's slot")
        assert run(drain_class).join().outcome == 0
        second.stop()
    else:
        assert run(drain_class).join().outcome == 0
    first.stop()
    eventually(lambda: _slots_taken() == 0, what="free slots")


def test_a_drain_is_enqueued_only_where_none_runs(run: Start) -> None:
    drain = scripted(lambda drain, results: 3600.0, task="a.task")
    running = run(drain)
    eventually(lambda: _slots_taken() == 1, what="a slot")
    drain.start_if_missing()
    assert not OrmQ.objects.exists()
    running.stop()
    eventually(lambda: _slots_taken() == 0, what="a free slot")
    drain.start_if_missing()
    assert [row.key for row in OrmQ.objects.all()] == [own_queue()]


def test_of_many_that_start_at_once_one_gets_the_slot(run: Start) -> None:
    started: list[str] = []

    def script(drain: Scripted, results: list[CallResult]) -> None:
        started.append(drain.owner)

    runs = [run(scripted(script)) for _ in range(6)]
    eventually(lambda: sum(each.thread.is_alive() for each in runs) == 1, what="five that end")
    eventually(lambda: started, what="the turn of the one that stays")
    assert len(set(started)) == 1
    assert _slots_taken() == 1


def test_a_heartbeat_is_one_row_that_moves_and_stands_as_long_as_the_drain(
    run: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "beat", 0.01)

    def script(drain: Scripted, results: list[CallResult]) -> None:
        return None

    drain = run(scripted(script))
    row = eventually(WorkerHeartbeat.objects.first)
    eventually(WorkerHeartbeat.objects.filter(beat_at__gt=row.beat_at).exists)
    again = WorkerHeartbeat.objects.get()
    assert (again.stage, again.started_at) == ("scripted", row.started_at)
    assert row.owner.startswith(owner_prefix(row.host, row.main_pid))
    drain.stop()
    assert not WorkerHeartbeat.objects.exists()


def _terminate_listeners() -> None:
    query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND backend_type = 'client backend'"
    )


@pytest.mark.usefixtures("nothing_is_routine")
def test_a_lost_listener_is_replaced_and_its_slot_taken_again(run: Start) -> None:
    turns: list[float] = []

    def script(drain: Scripted, results: list[CallResult]) -> float:
        turns.append(time.monotonic())
        return 3600.0

    run(scripted(script))
    eventually(lambda: turns)
    _terminate_listeners()
    eventually(lambda: len(turns) >= 2 and _slots_taken() == 1, what="the slot")
    before = len(turns)
    notify("engine_scripted")
    eventually(lambda: len(turns) > before, what="a turn after a notification")


def test_a_drain_whose_slot_was_taken_meanwhile_only_finishes(run: Start) -> None:
    saved: list[bool] = []
    knew: list[bool] = []
    end = threading.Event()

    def script(drain: Scripted, results: list[CallResult]) -> None:
        saved.extend(drain.stopping for _ in results)
        knew.append(drain.stopping)
        if not saved and not drain.in_flight:
            drain.submit("paid", 1, end.wait)

    drain = run(scripted(script))
    eventually(lambda: _slots_taken() == 1)
    ((key, index),) = _slots("classid::int, objid::int")
    parameters = connection.get_connection_params()
    parameters.pop("cursor_factory")
    with psycopg.connect(**parameters, autocommit=True) as session:
        waiting = threading.Thread(
            target=session.execute, args=("SELECT pg_advisory_lock(%s, %s)", (key, index))
        )
        waiting.start()
        eventually(lambda: _slots("pid", "NOT granted"), what="somebody who waits for the slot")
        _slots("pg_terminate_backend(pid)", "granted")
        waiting.join()
        eventually(lambda: knew[-1], what="a turn that knows of the loss")
        end.set()
        drain.join()
    assert saved == [True]
    assert drain.outcome == 1


def test_a_fault_in_a_turn_ends_the_drain_but_loses_no_other_result(run: Start) -> None:
    saved: list[int] = []

    def script(drain: Scripted, results: list[CallResult]) -> None:
        if any(result.key == 2 for result in results):
            raise ValueError("this one cannot be saved")
        saved.extend(result.key for result in results)
        if not drain.in_flight and not saved and not drain.stopping:
            for key in (1, 2, 3):
                drain.submit("paid", key, time.sleep, 0.1 * key)

    drain = run(scripted(script)).join()
    assert isinstance(drain.error, ValueError)
    assert sorted(saved) == [1, 3]
    assert _slots_taken() == 0
    assert not WorkerHeartbeat.objects.exists()


def test_a_fault_in_prepare_frees_the_slot(run: Start) -> None:
    def fail(self: Drain) -> None:
        raise RuntimeError("no client")

    def release(self: Drain) -> None:
        raise AttributeError("there is nothing yet that could be given back")

    drain = run(scripted(lambda *_: None, prepare=fail, release=release)).join()
    assert isinstance(drain.error, RuntimeError)
    assert _slots_taken() == 0
