"""Answers are remembered for a moment; of many who ask at once, one works."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from glisk.short_memory import ShortMemory

ASKING = 6


class Slow:
    """Something that takes a while, and counts how often it is asked."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.asked = error, 0

    def __call__(self) -> int:
        self.asked += 1
        time.sleep(0.2)
        if self.error:
            raise self.error
        return self.asked


def test_of_many_at_once_one_works() -> None:
    memory, slow = ShortMemory[int](seconds=60), Slow()
    with ThreadPoolExecutor(ASKING) as pool:
        answers = list(pool.map(lambda _: memory.get("key", slow), range(ASKING)))
    assert (set(answers), slow.asked) == ({1}, 1)


def test_a_failure_is_told_to_all_who_waited_and_not_remembered() -> None:
    """One after the other they would wait for each other's timeouts."""
    memory, failing = ShortMemory[int](seconds=60), Slow(ConnectionError("down"))
    barrier = threading.Barrier(ASKING)

    def ask(_: int) -> str:
        barrier.wait()
        with pytest.raises(ConnectionError) as told:
            memory.get("key", failing)
        return str(told.value)

    with ThreadPoolExecutor(ASKING) as pool:
        assert set(pool.map(ask, range(ASKING))) == {"down"}
    assert failing.asked == 1
    failing.error = None
    assert memory.get("key", failing) == 2


def test_an_answer_is_forgotten_after_its_time_and_the_longest_unused_first() -> None:
    memory = ShortMemory[str](seconds=0.1, size=2)
    for key in ("a", "b", "a", "c"):
        memory.get(key, lambda: "old")
    assert memory.get("a", lambda: "new") == "old"
    assert memory.get("b", lambda: "new") == "new"
    time.sleep(0.15)
    assert memory.get("a", lambda: "new") == "new"
