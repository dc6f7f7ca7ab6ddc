"""What the schedules run: one at a time, patient with a node that is away, woken by webhooks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace

import psycopg
import pytest
from django_q.models import OrmQ
from django_q.signing import SignedPackage
from pytest_django import Settings

from glisk.breaker import Breaker
from glisk.engine import schedules
from glisk.tests.database import database_url
from glisk.timing import timing
from sandbox.chain import DemoChain
from sandbox.node import free_port
from tokens import tasks
from tokens.models import Token
from tokens.recovery import schedule
from tokens.recovery.drift import DriftReport, last_report
from tokens.recovery.progress import load_progress
from tokens.tests.recovery.conftest import assert_equal_to_chain
from tokens.tests.recovery.node_proxy import NodeProxy
from tokens.tests.recovery.stage import mint

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    schedule._kept_reader.cache_clear()
    monkeypatch.setattr(schedule, "_nudged_at", -1e9)
    yield
    schedule._kept_reader.cache_clear()


@pytest.fixture
def other_machine() -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url(), autocommit=True) as session:
        yield session


def queued() -> list[str]:
    return [SignedPackage.loads(row.payload)["func"] for row in OrmQ.objects.order_by("pk")]


def test_both_run_by_the_clock_and_at_the_start(settings: Settings) -> None:
    declared = {schedule.name: schedule for schedule in schedules.declared()}
    look, proof = declared["look_at_chain"], declared["prove_completeness"]
    assert (look.func, look.at_start) == ("tokens.tasks.look_at_chain", True)
    assert look.cron == schedules.cron_of(settings.POLL_INTERVAL_SECONDS)
    assert (proof.func, proof.at_start) == ("tokens.tasks.prove_completeness", True)
    assert proof.cron == "*/3 * * * * 0"


def test_without_any_webhook_a_look_finds_the_mints(chain: DemoChain) -> None:
    mint(chain, quantity=3)
    assert tasks.look_at_chain() == 3
    assert tasks.look_at_chain() == 0
    assert_equal_to_chain(chain)
    assert tasks.prove_completeness() == 0


def test_a_look_does_nothing_while_another_machine_looks(
    chain: DemoChain, other_machine: psycopg.Connection
) -> None:
    mint(chain)
    other_machine.execute("SELECT pg_advisory_lock(%s)", [schedule._LOCK])
    assert tasks.look_at_chain() == 0
    assert not Token.objects.exists()
    other_machine.execute("SELECT pg_advisory_unlock(%s)", [schedule._LOCK])
    assert tasks.look_at_chain() == 1


def test_new_mints_are_found_while_everything_is_compared(
    chain: DemoChain, other_machine: psycopg.Connection
) -> None:
    mint(chain)
    other_machine.execute("SELECT pg_advisory_lock(%s)", [schedule._COMPARISON_LOCK])
    assert tasks.look_at_chain() == 1
    assert tasks.compare_everything() == 0
    assert last_report() == DriftReport()  # one comparison is enough
    other_machine.execute("SELECT pg_advisory_unlock(%s)", [schedule._COMPARISON_LOCK])
    other_machine.execute("SELECT pg_advisory_lock(%s)", [schedule._LOCK])
    tasks.compare_everything()
    assert last_report().tokens_checked == 1


def test_the_proof_waits_for_the_look_that_began_with_it(
    chain: DemoChain, other_machine: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    mint(chain)
    other_machine.execute("SELECT pg_advisory_lock(%s)", [schedule._LOCK])

    def sleep(seconds: float) -> None:
        other_machine.execute("SELECT pg_advisory_unlock_all()")

    monkeypatch.setattr(
        schedule, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep)
    )  # of this module alone: other threads sleep too
    assert tasks.prove_completeness() == 1


def test_the_lock_is_given_back_after_a_fault(
    chain: DemoChain, other_machine: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("a fault of the program")

    with monkeypatch.context() as patch:
        patch.setattr(schedule, "scan_chain", fail)
        with pytest.raises(RuntimeError):
            tasks.look_at_chain()
    row = other_machine.execute("SELECT pg_try_advisory_lock(%s)", [schedule._LOCK]).fetchone()
    assert row == (True,)


def test_a_node_that_is_away_opens_the_breaker_and_nothing_else(
    chain: DemoChain, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "breaker_refresh", 0.0)
    monkeypatch.setattr(timing, "backoff", 600.0)
    settings.RPC_URL = f"http://127.0.0.1:{free_port()}"
    for _ in range(3):
        assert tasks.look_at_chain() == 0
    breaker = Breaker("rpc")
    assert breaker.places(1) == 0
    assert "did not reach" in breaker.reason
    assert load_progress().block is None
    assert tasks.prove_completeness() == 0


def test_a_long_history_is_read_in_pieces(
    chain: DemoChain, proxy: NodeProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    mint(chain)
    monkeypatch.setattr(timing, "look_budget", -1.0)
    assert tasks.look_at_chain() == 0
    assert load_progress().block is None
    assert queued() == ["tokens.tasks.look_at_chain"]  # the next piece comes at once
    monkeypatch.undo()
    assert tasks.look_at_chain() == 1


def test_a_nudge_enqueues_one_look_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([100.0, 100.1, 100.5, 100.9, 101.1])
    monkeypatch.setattr(schedule, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    for _ in range(4):
        schedule.look_soon()
    assert queued() == ["tokens.tasks.look_at_chain"]
    schedule.look_soon()
    assert queued() == ["tokens.tasks.look_at_chain"] * 2
