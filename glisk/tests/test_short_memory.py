"""Answers are remembered for a moment; of many who ask at once, one works."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from glisk.api import short_memory
from glisk.api.short_memory import ShortMemory

ASKING = 6


class Held:
    """Something that takes until it is let go, and counts how often it is asked."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.asked = error, 0
        self.begun, self.let_go = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.asked += 1
        self.begun.set()
        assert self.let_go.wait(20)
        if self.error:
            raise self.error
        return "new"


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Counts those who wait for another one's work."""
    come = threading.Semaphore(0)

    class Watched(Future[str]):
        def result(self, timeout: float | None = None) -> str:
            if not self.done():
                come.release()
            return super().result(timeout)

    monkeypatch.setattr(short_memory, "Future", Watched)
    return come


@pytest.mark.parametrize("error", [None, ConnectionError("down")])
def test_of_many_at_once_one_works_and_its_failure_is_told_to_all(
    waiting: threading.Semaphore, error: Exception | None
) -> None:
    """One after the other they would wait for each other's timeouts."""
    memory, held = ShortMemory[str](seconds=60), Held(error)
    with ThreadPoolExecutor(ASKING) as pool:
        asked = [pool.submit(memory.get, "key", held) for _ in range(ASKING)]
        for _ in range(ASKING - 1):
            assert waiting.acquire(timeout=20)
        held.let_go.set()
        assert {each.exception(20) for each in asked} == {error}
    assert held.asked == 1
    held.error = None
    assert memory.get("key", held) == "new"
    assert held.asked == (1 if error is None else 2)  # a failure is not remembered


def test_what_is_old_is_given_only_while_another_one_works_and_not_for_long(
    waiting: threading.Semaphore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(short_memory.time, "monotonic", lambda: now)
    memory, held = ShortMemory[str](seconds=10, grace=5), Held()
    memory.get("key", lambda: "old")
    now += 9
    assert memory.get("key", lambda: "never asked for") == "old"
    now += 5  # whoever asks alone works
    with ThreadPoolExecutor(2) as pool:
        working = pool.submit(memory.get, "key", held)
        assert held.begun.wait(20)
        assert memory.get("key", lambda: "never asked for") == "old"
        now += 1
        too_old = pool.submit(memory.get, "key", lambda: "never asked for")
        assert waiting.acquire(timeout=20)
        held.let_go.set()
        assert (working.result(20), too_old.result(20)) == ("new", "new")
    assert memory.get("key", lambda: "never asked for") == "new"
