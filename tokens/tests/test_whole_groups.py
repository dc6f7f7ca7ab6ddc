"""A group of tokens costs the database what one of them does, however many they are."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from glisk.models import SystemState
from glisk.timing import timing
from tokens.pipeline.jobs import record_prediction
from tokens.tests.factories import TokenFactory
from tokens.tests.stage import Start, Vendors, is_ready, until_ended

pytestmark = pytest.mark.django_db

# Claimed, accepted, ended, captured and pinned: one turn each.
TURNS = 5
NEVER = 1e9


@pytest.mark.parametrize("count", [6, 18])
def test_a_group_takes_five_turns_of_few_statements(
    worker: Start,
    vendors: Vendors,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
) -> None:
    settings.WORKER_BATCH_SIZE = settings.UPLOAD_CONCURRENCY = count
    for vendor in ("replicate", "pinata"):
        SystemState.objects.create(state_key=f"limit:{vendor}", state_value={})
    # Statements that come by the clock would be counted once more on a slow machine.
    for name in ("pause_refresh", "breaker_refresh", "rare_look", "poll", "clock_note"):
        monkeypatch.setattr(timing, name, NEVER)
    tokens = TokenFactory.create_batch(count)
    drain = worker()
    spent = []
    for turn in range(TURNS):
        drain.rest()
        if turn == 2:  # do what the vendor's callbacks do
            until_ended(vendors)
            client = drain.drain.services.replicate.client
            for prediction in vendors.predictions:
                assert record_prediction(client.get_prediction(prediction.id)) == "recorded"
        with CaptureQueriesContext(connection) as queries:
            drain.step(0)
        spent.append(len(queries))
    assert is_ready(*tokens)()
    assert sum(spent) <= 60, spent
