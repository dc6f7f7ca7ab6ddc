"""A drain of steps: rows from claim to settle, and every commit whose answer is lost."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from django.db import OperationalError, connection, transaction
from pytest_django.fixtures import Settings

from glisk.breaker import Breaker
from glisk.engine import drain as engine_drain
from glisk.engine.broker import notify
from glisk.engine.drain import Drain
from glisk.engine.step import Done, Failed, Step
from glisk.models import SystemState
from glisk.tests.engine.conftest import Start, query
from glisk.tests.waiting import eventually
from glisk.timing import timing

pytestmark = pytest.mark.django_db(transaction=True)

CHANNEL = "engine_steps"
FAULTS: dict[int, Callable[[], Any]] = {
    200: lambda: int("x"),
    201: sys.exit,
    202: SystemState.objects.count,
}


@dataclass(frozen=True)
class Row:
    pk: int
    fence: int


# Commits whose answer is lost, each once: they are made all the same.
losing: set[str] = set()


def lose_answer_of(commit: str) -> None:
    if commit in losing:
        losing.remove(commit)
        raise OperationalError("the answer to the commit was lost")


def _execute(sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall() if cursor.description else []


class Work(Step[Row, int]):
    """Takes rows of the test's table in one state to the next one."""

    source, target = "new", "made"
    calls: ClassVar[list[int]] = []
    gate: ClassVar[threading.Event] = threading.Event()

    @property
    def most(self) -> int:
        return 3

    def claim(self, limit: int) -> Sequence[Row]:
        found = _execute(
            "UPDATE step_rows SET owner = %s, fence = fence + 1 WHERE id IN ("
            "SELECT id FROM step_rows WHERE state = %s AND owner IS NULL ORDER BY id "
            "LIMIT %s FOR UPDATE SKIP LOCKED) RETURNING id, fence",
            self.owner,
            self.source,
            limit,
        )
        if found:
            lose_answer_of("claim")
        return [Row(*each) for each in found]

    def call(self, work: Row) -> int:
        self.calls.append(work.pk)
        self.gate.wait()
        FAULTS.get(work.pk, int)()
        return work.pk

    def leased(self, work: Row) -> Sequence[int]:
        return (work.pk,)

    def settle(self, done: Sequence[Done[Row, int]], failed: Sequence[Failed[Row]]) -> None:
        with transaction.atomic():
            for work, target in [
                *((each.work, self.target) for each in done),
                *((each.work, type(each.error).__name__) for each in failed),
            ]:
                _execute(
                    "UPDATE step_rows SET state = %s, owner = NULL, settled = settled + 1 "
                    "WHERE id = %s AND owner = %s AND fence = %s",
                    target,
                    work.pk,
                    self.owner,
                    work.fence,
                )
            notify(CHANNEL)
        lose_answer_of("settle")


class Finish(Work):
    source, target = "made", "done"


class RareFinish(Finish):
    rare = True


class StepsDrain(Drain):
    stage = "steps"
    channels = (CHANNEL,)
    kinds: ClassVar[tuple[type[Work], ...]] = (Finish, Work)
    renewed: ClassVar[list[list[int]]] = []

    def prepare(self) -> None:
        self.steps = [kind(self.owner) for kind in self.kinds]

    def renew(self, ids: Any) -> None:
        self.renewed.append(sorted(ids))

    def free_all_but(self, ids: Any) -> None:
        _execute(
            "UPDATE step_rows SET owner = NULL WHERE owner = %s AND NOT id = ANY(%s)",
            self.owner,
            list(ids),
        )


@pytest.fixture(autouse=True)
def table(transactional_db: None) -> Iterator[None]:
    Work.calls.clear()
    Work.gate.set()
    StepsDrain.renewed.clear()
    losing.clear()
    _execute(
        "CREATE TABLE step_rows (id int PRIMARY KEY, state text NOT NULL DEFAULT 'new', "
        "owner text, fence int NOT NULL DEFAULT 0, settled int NOT NULL DEFAULT 0)"
    )
    yield
    Work.gate.set()
    _execute("DROP TABLE step_rows")


def _add(*ids: int) -> None:
    with transaction.atomic():
        _execute("INSERT INTO step_rows (id) SELECT unnest(%s::int[])", list(ids))
        notify(CHANNEL)


def _states() -> dict[int, str]:
    return dict(query("SELECT id, state FROM step_rows"))


def _all_are(state: str) -> bool:
    return set(_states().values()) == {state}


def test_rows_go_through_the_steps_and_more_than_there_are_places_for(run: Start) -> None:
    _add(*range(1, 11))
    drain = run(StepsDrain)
    eventually(lambda: _all_are("done"))
    drain.stop()
    assert sorted(Work.calls) == sorted([*range(1, 11)] * 2)
    assert query("SELECT max(settled), min(settled), count(owner) FROM step_rows") == [(2, 2, 0)]


@pytest.mark.parametrize("name", ["claim", "settle"])
def test_a_commit_whose_answer_is_lost_costs_no_row_and_no_second_move(
    run: Start,
    name: str,
) -> None:
    losing.add(name)
    _add(1, 2, 3)
    drain = run(StepsDrain)
    eventually(lambda: _all_are("done"))
    drain.stop()
    assert not losing
    # Nothing was called under the lost claim, and the second delivery moved nothing.
    assert sorted(Work.calls) == [1, 1, 2, 2, 3, 3]
    assert query("SELECT DISTINCT settled FROM step_rows") == [(2,)]


def test_a_failed_turn_keeps_the_rows_whose_calls_are_under_way(run: Start) -> None:
    Work.gate.clear()
    _add(1)
    drain = run(StepsDrain)
    eventually(lambda: Work.calls == [1])
    losing.add("claim")
    _add(2)
    eventually(lambda: Work.calls == [1, 2])
    Work.gate.set()
    eventually(lambda: _all_are("done"))
    drain.stop()
    assert query("SELECT id, fence FROM step_rows ORDER BY id") == [(1, 2), (2, 3)]


def test_what_a_call_raised_is_settled_as_failed(run: Start) -> None:
    _add(1, *FAULTS)
    drain = run(StepsDrain)
    told = {1: "done", 200: "ValueError", 201: "RuntimeError", 202: "DatabaseInThreadError"}
    eventually(lambda: _states() == told)
    assert drain.stop().outcome == 5


def test_a_drain_that_ends_saves_its_calls_and_holds_nothing(run: Start) -> None:
    Work.gate.clear()
    _add(1, 2)
    drain = run(StepsDrain)
    eventually(lambda: len(Work.calls) == 2)
    _add(3, 4)
    eventually(lambda: len(Work.calls) == 3)
    drain.stop_flag.set()
    time.sleep(0.05)
    Work.gate.set()
    drain.join()
    assert _states() == {1: "made", 2: "made", 3: "made", 4: "new"}
    assert query("SELECT count(owner) FROM step_rows") == [(0,)]


def test_leases_are_renewed_while_a_call_is_under_way(run: Start, settings: Settings) -> None:
    settings.LEASE_SECONDS = 0.15
    Work.gate.clear()
    _add(1)
    drain = run(StepsDrain)
    eventually(lambda: len(StepsDrain.renewed) >= 2)
    Work.gate.set()
    eventually(lambda: _all_are("done"))
    drain.stop()
    assert StepsDrain.renewed[0] == [1]


def test_rare_work_is_found_under_load_all_the_same(
    run: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_drain, "MANY_CALLS", 1)
    Work.gate.clear()
    _add(1)
    drain = run(type("Rarely", (StepsDrain,), {"kinds": (RareFinish, Work)}))
    eventually(lambda: Work.calls == [1])
    _execute("INSERT INTO step_rows (id, state) VALUES (2, 'made')")
    notify(CHANNEL)
    eventually(lambda: Work.calls == [1, 2])
    Work.gate.set()
    eventually(lambda: _all_are("done"))
    drain.stop()


class Pausing(Work):
    def settle(self, done: Sequence[Done[Row, int]], failed: Sequence[Failed[Row]]) -> None:
        super().settle(done, failed)
        self.pause(0.2)


def test_a_step_that_pauses_goes_on_by_itself(run: Start) -> None:
    _add(1)
    drain = run(type("Pauses", (StepsDrain,), {"kinds": (Pausing,)}))
    eventually(lambda: _all_are("made"))
    settled_at = time.monotonic()
    _add(2)
    eventually(lambda: _all_are("made"))
    assert time.monotonic() - settled_at >= 0.15
    drain.stop()


class Probing(Work):
    """Asks a vendor whose breaker is open, and tells it nothing."""

    def __init__(self, owner: str) -> None:
        super().__init__(owner)
        self.breaker = Breaker("v")

    @property
    def breakers(self) -> Sequence[Breaker]:
        return (self.breaker,)

    def places(self) -> int:
        return self.breaker.places(super().places())

    def claim(self, limit: int) -> Sequence[Row]:
        assert self.breaker.probing
        probes.append(self.breaker)
        lose_answer_of("before the claim")
        return super().claim(limit)


probes: list[Breaker] = []


@pytest.mark.parametrize("case", ["nothing to call for", "a claim that fails", "a silent answer"])
def test_a_probe_that_tells_nothing_is_given_back(
    run: Start, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setattr(timing, "probe_window", 1e6)
    monkeypatch.setattr(timing, "breaker_refresh", 0.0)
    SystemState.objects.create(state_key="breaker:v", state_value={"state": "open"})
    probes.clear()
    Work.gate.clear()
    if case == "a claim that fails":
        losing.add("before the claim")
    elif case == "a silent answer":
        _add(1)
    drain = run(type("Probes", (StepsDrain,), {"kinds": (Probing,)}))
    eventually(lambda: probes)
    other = Breaker("v")
    if case == "a silent answer":
        eventually(lambda: Work.calls == [1])
        assert other.places(1) == 0
    Work.gate.set()
    eventually(lambda: other.places(1) == 1)
    drain.stop()
