from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glisk.backoff import backoff_seconds


class Draw(random.Random):
    """A source whose every draw is the same."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self._value = value

    def random(self) -> float:
        return self._value


def test_waits_grow_by_the_factor_up_to_the_cap() -> None:
    waits = [backoff_seconds(n, base=2, factor=3, cap=60, jitter=0) for n in range(1, 7)]
    assert waits == [2, 6, 18, 54, 60, 60]


def test_jitter_shortens_by_at_most_its_share() -> None:
    assert backoff_seconds(3, jitter=0.2, rng=Draw(0.0)) == 4.0
    assert backoff_seconds(3, jitter=0.2, rng=Draw(0.5)) == pytest.approx(3.6)
    assert backoff_seconds(3, jitter=0.2, rng=Draw(1.0)) == pytest.approx(3.2)


def test_rows_that_failed_together_come_back_apart() -> None:
    rng = random.Random(1)
    waits = {backoff_seconds(10, cap=60, rng=rng) for _ in range(100)}
    assert len(waits) == 100 and max(waits) - min(waits) > 6


def test_a_vendors_wish_is_never_undercut_even_beyond_the_cap() -> None:
    assert 500 <= backoff_seconds(1, cap=60, at_least=500) <= 500.2
    assert backoff_seconds(5, base=1, jitter=0, at_least=3) == 16


def test_the_same_source_gives_the_same_wait() -> None:
    first = backoff_seconds(4, rng=random.Random(7))
    assert first == backoff_seconds(4, rng=random.Random(7))


@settings(deadline=None)
@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(0, 1))
def test_a_wait_is_always_between_zero_and_the_cap(
    attempt: int, jitter: float, draw: float
) -> None:
    assert 0 <= backoff_seconds(attempt, cap=300, jitter=jitter, rng=Draw(draw)) <= 300


@pytest.mark.parametrize(("attempt", "jitter"), [(0, 0.2), (-1, 0.2), (1, -0.1), (1, 1.1)])
def test_senseless_arguments_are_refused(attempt: int, jitter: float) -> None:
    with pytest.raises(ValueError, match=r"attempt counts|jitter is"):
        backoff_seconds(attempt, jitter=jitter)
