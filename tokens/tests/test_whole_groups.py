"""A group of tokens costs the database what one of them does, however many they are."""

import time

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from glisk.clients.replicate import ReplicateClient
from glisk.timing import timing
from tokens.pipeline.jobs import record_prediction
from tokens.tests.factories import TokenFactory
from tokens.tests.stage import PATIENCE_SECONDS, Start, Vendors, Worker, is_ready

pytestmark = pytest.mark.django_db

# Claimed, accepted, ended, captured and pinned: one turn each.
TURNS = 5
NEVER = 1e9


def all_ended(vendors: Vendors, count: int) -> bool:
    return len(vendors.predictions) == count and all(p.terminal for p in vendors.predictions)


def record_all(vendors: Vendors, drain: Worker, count: int) -> None:
    """Do what the vendor's callbacks do."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not all_ended(vendors, count):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    client: ReplicateClient = drain.drain.services.replicate.client
    for prediction in vendors.predictions:
        assert record_prediction(client.get_prediction(prediction.id)) == "recorded"


@pytest.mark.parametrize("count", [6, 18])
def test_a_group_takes_five_turns_of_few_statements(
    worker: Start,
    vendors: Vendors,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
) -> None:
    settings.WORKER_BATCH_SIZE = settings.UPLOAD_CONCURRENCY = count
    # Statements that come by the clock would be counted once more on a slow machine.
    monkeypatch.setattr(timing, "breaker_refresh", NEVER)
    monkeypatch.setattr(timing, "rare_look", NEVER)
    monkeypatch.setattr(timing, "poll", NEVER)
    monkeypatch.setattr(timing, "clock_note", NEVER)
    tokens = TokenFactory.create_batch(count)
    drain = worker()
    spent = []
    for turn in range(TURNS):
        drain.rest()
        if turn == 2:
            record_all(vendors, drain, count)
        with CaptureQueriesContext(connection) as queries:
            drain.step(0)
        spent.append(len(queries))
    assert is_ready(*tokens)()
    assert sum(spent) <= 62, spent


def test_a_group_is_whole_when_all_predictions_have_ended(worker: Start, vendors: Vendors) -> None:
    TokenFactory.create_batch(3)
    drain = worker()
    drain.step(0)
    assert drain.drain.awaited_notifications == 0  # not accepted yet
    drain.rest()
    drain.step(0)
    assert drain.drain.awaited_notifications == 3
    record_all(vendors, drain, 3)
    drain.step(0)
    assert drain.drain.awaited_notifications == 0
