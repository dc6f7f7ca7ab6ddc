"""A rate limit holds for all processes together, in every window of 60 seconds."""

import random
import time
from typing import Any

import pytest
from django.db import transaction

from glisk.models import SystemState
from glisk.rate_limit import LimitState, RateLimit
from glisk.tests.waiting import at_once

pytestmark = pytest.mark.django_db
KEY = "limit:v"


def limit(per_minute: int, **options: Any) -> RateLimit:
    return RateLimit("v", per_minute=per_minute, **options)


def used() -> dict[str, int]:
    return dict(SystemState.objects.get(state_key=KEY).state_value["calls"])


def test_as_many_as_allowed_and_no_more() -> None:
    assert limit(5).take(3) == 3
    assert limit(5).take(3) == 2
    assert limit(5).take(3) == 0
    assert sum(used().values()) == 5


def test_calls_that_go_together_are_let_through_together() -> None:
    assert limit(5).take(4, unit=2) == 4
    assert limit(5).take(4, unit=2) == 0
    assert limit(5).take(1) == 1
    assert limit(8).take_whole([2, 1, 2]) == 1
    assert limit(11).take_whole([1, 2, 2]) == 2
    assert limit(11).take_whole([]) == 0
    assert RateLimit("found").take_whole([2, 1, 2]) == 3


def test_who_was_refused_asks_again_when_the_oldest_leaves(django_assert_num_queries: Any) -> None:
    waiting = limit(2, slack_seconds=5)
    assert waiting.take(3) == 2
    assert waiting.seconds_until_free > 1
    with django_assert_num_queries(0):
        assert waiting.take(1) == 0
    calls = {str(int(time.time()) - 61): 1, str(int(time.time()) - 70): 1}
    SystemState.objects.filter(state_key=KEY).update(state_value={"calls": calls})
    assert limit(2, slack_seconds=5).take(2) == 1


def test_what_a_wrong_clock_left_behind_blocks_nobody_for_ever() -> None:
    calls = {str(int(time.time()) + 10_000): 2}
    SystemState.objects.create(state_key=KEY, state_value={"calls": calls})
    assert limit(2).take(2) == 2


def test_no_window_of_a_minute_holds_more_than_the_limit() -> None:
    """Random askers on a made-up clock, calls that start late: every window is counted."""
    chance, state = random.Random(7), LimitState()
    slack, allowed = 5, 20
    now, starts = 1_800_000_000.0, []
    for _ in range(400):
        now += chance.choice([0.0, 0.01, 0.4, 1.0, 3.0, 9.0])
        wanted, unit = chance.randint(1, 12), chance.choice([1, 2])
        granted, wait = state.take_within(allowed, wanted, unit=unit, slack=slack, now=now)
        assert 0 <= granted <= wanted
        assert (wait > 0) == (granted < wanted)
        starts += [now + chance.uniform(0, slack) for _ in range(granted)]
    starts.sort()
    assert len(starts) > 2 * allowed
    busiest = max(sum(start <= other < start + 60 for other in starts) for start in starts)
    assert busiest <= allowed


@pytest.mark.django_db(transaction=True)
def test_two_processes_together_keep_to_the_limit() -> None:
    def ask(_: int) -> int:
        mine, granted = limit(600), 0
        for _ in range(40):
            with transaction.atomic():
                granted += mine.take(7)
        return granted

    assert sum(at_once(4, ask)) == 600
    assert sum(used().values()) == 600
