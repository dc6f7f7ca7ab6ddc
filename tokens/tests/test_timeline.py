"""Each row of the timeline is added to the totals once, whatever order it was committed in."""

import time
from datetime import datetime, timedelta
from itertools import pairwise
from threading import Event, Thread

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from glisk.models import SystemState
from tokens import timeline
from tokens.models import TokenTransition
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory
from tokens.tests.plans import assert_uses, table
from tokens.timeline import BOUNDS, add_up_timeline, timeline_totals

__all__ = ["table"]

LONG_AGO = timezone.now() - timedelta(hours=1)


def moved(token_id: int, *states: str, began: datetime = LONG_AGO, seconds: float = 10) -> None:
    """Write moves of a token into its timeline, so many seconds apart."""
    for number, (source, target) in enumerate(pairwise(states)):
        row = TokenTransition.objects.create(
            token_id=token_id, from_status=source, to_status=target, actor="test"
        )
        at = began + timedelta(seconds=seconds * number)
        TokenTransition.objects.filter(pk=row.pk).update(created_at=at)


def add_up_all(seconds: float = 20) -> int:
    """Add up until nothing is left: what others write on the same server holds it up."""
    ends, count = time.monotonic() + seconds, add_up_timeline()
    while SystemState.objects.get(pk=timeline.KEY).state_value["mark"] and time.monotonic() < ends:
        time.sleep(0.05)
        count += add_up_timeline()
    return count


WHOLE_WAY = ("", "detected", "generating", "uploading", "ready", "revealed")


@pytest.mark.django_db(transaction=True)
def test_moves_and_durations_are_added_up_once() -> None:
    assert timeline_totals().moves == {}
    token = TokenFactory.create(token_id=7, mint_timestamp=LONG_AGO - timedelta(seconds=2))
    moved(token.pk, *WHOLE_WAY)
    moved(8, "", "detected", "failed", seconds=BOUNDS[0])
    # Notes are no moves, and one between two moves does not shorten the state.
    moved(9, "", "detected", "detected", "failed", "detected", seconds=30)
    add_up_all()
    add_up_timeline()
    totals = timeline_totals()
    assert totals.moves == {
        ("", "detected"): 3,
        ("detected", "generating"): 1,
        ("generating", "uploading"): 1,
        ("uploading", "ready"): 1,
        ("ready", "revealed"): 1,
        ("detected", "failed"): 2,
        ("failed", "detected"): 1,
    }
    detected = totals.states[TokenStatus.DETECTED]
    assert (detected.number, round(detected.seconds, 3)) == (3, 10 + BOUNDS[0] + 60)
    at_most = dict(detected.cumulative())
    assert [at_most[bound] for bound in (0.1, 5, 10, 60, float("inf"))] == [1, 1, 2, 3, 3]
    assert totals.states[TokenStatus.REVEALED].number == 0
    reveal = totals.mint_to_reveal
    assert (reveal.number, round(reveal.seconds)) == (1, 42)


@pytest.mark.django_db(transaction=True)
def test_what_is_committed_late_under_an_older_id_is_not_passed_over() -> None:
    written, released = Event(), Event()

    def late() -> None:
        with transaction.atomic():
            moved(1, "", "detected")
            written.set()
            released.wait(30)
        connections.close_all()

    thread = Thread(target=late)
    thread.start()
    assert written.wait(30)
    try:
        moved(2, "", "detected", "failed")  # newer ids, committed before
        for _ in range(3):
            add_up_timeline()
            assert timeline_totals().moves == {}  # it may still come
    finally:
        released.set()
        thread.join()
    add_up_all()
    assert timeline_totals().moves == {("", "detected"): 2, ("detected", "failed"): 1}


@pytest.mark.django_db(transaction=True)
def test_a_long_history_is_added_up_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "_AT_ONCE", 3)
    for token_id in range(1, 6):
        moved(token_id, "", "detected", "failed")
    assert add_up_all() == 10
    assert sum(timeline_totals().moves.values()) == 10
    before = SystemState.objects.get(pk=timeline.KEY)
    add_up_timeline()
    after = SystemState.objects.get(pk=timeline.KEY)
    assert after.updated_at == before.updated_at  # an idle system writes nothing


@pytest.mark.django_db(transaction=True)
def test_a_mark_of_the_server_that_was_there_before_a_restore_holds_nothing_up() -> None:
    moved(1, "", "detected", "failed")
    newest = TokenTransition.objects.latest("pk").pk
    mark = {"xmax": 10**12, "id": newest}
    SystemState.put(timeline.KEY, {"upto": 0, "mark": mark, "spans": {}})
    assert add_up_timeline() == 2


@pytest.mark.plans
@pytest.mark.django_db
@pytest.mark.usefixtures("table")
def test_a_portion_reads_its_rows_and_the_moves_before_them_by_index() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO token_transitions (token_id, from_status, to_status, reason, attempt, "
            "actor, detail, created_at) SELECT i / 5, 'detected', 'failed', '', 0, 'x', '{}', "
            "now() FROM generate_series(1, 50000) i"
        )
        cursor.execute("ANALYZE token_transitions, tokens_s0")
        cursor.execute("SELECT max(id) FROM token_transitions")
        newest = cursor.fetchone()[0]
        given = {"after": newest - 100, "upto": newest, "bounds": [1.0], "reveal": "r"}
        cursor.execute(f"EXPLAIN (FORMAT JSON) {timeline._ADD_UP}", given)
        plan = str(cursor.fetchone()[0]).replace("'", '"')
        assert_uses(plan, "token_transitions_pkey")
        cursor.execute(f"EXPLAIN (FORMAT JSON) {timeline._MARK}")
        plan = str(cursor.fetchone()[0]).replace("'", '"')
        assert_uses(plan, "token_transitions_pkey")
