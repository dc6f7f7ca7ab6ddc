"""Answers are remembered for a moment; of many who ask at once, one works."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from glisk import short_memory
from glisk.short_memory import ShortMemory

ASKING = 6


class Slow:
    """Something that takes a while, and counts how often it is asked."""

    def __init__(self, error: Exception | None = None, seconds: float = 0.2) -> None:
        self.error, self.asked, self.seconds = error, 0, seconds

    def __call__(self) -> int:
        self.asked += 1
        time.sleep(self.seconds)
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
    memory, failing = ShortMemory[int](seconds=60), Slow(ConnectionError("down"), seconds=1.0)
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


def test_an_answer_is_forgotten_after_its_time_and_the_longest_unused_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(short_memory.time, "monotonic", lambda: now)
    memory = ShortMemory[str](seconds=0.1, size=2)
    for key in ("a", "b", "a", "c"):
        memory.get(key, lambda: "old")
    assert memory.get("a", lambda: "new") == "old"
    assert memory.get("b", lambda: "new") == "new"
    now += 0.15
    assert memory.get("a", lambda: "new") == "new"


def test_an_answer_lasts_as_long_as_it_is_worth(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(short_memory.time, "monotonic", lambda: now)
    memory = ShortMemory[float](seconds=15, worth=50)

    def take(seconds: float) -> float:
        nonlocal now
        now += seconds
        return now

    cheap = memory.get("cheap", lambda: take(0.002))
    now = cheap + 0.09
    assert memory.get("cheap", lambda: take(0.002)) == cheap
    now = cheap + 0.11
    assert memory.get("cheap", lambda: take(0.002)) == now
    dear = memory.get("dear", lambda: take(1))
    now = dear + 14.9
    assert memory.get("dear", lambda: take(1)) == dear
    now = dear + 15.1
    assert memory.get("dear", lambda: take(1)) == now


class Held:
    """Something that takes until it is let go."""

    def __init__(self) -> None:
        self.begun, self.let_go = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.let_go.wait(20)
        return "new"


def test_while_one_works_the_others_get_the_answer_from_before() -> None:
    memory, held = ShortMemory[str](seconds=0.0, grace=60), Held()
    memory.get("key", lambda: "old")
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(memory.get, "key", held)
        assert held.begun.wait(20)
        assert memory.get("key", lambda: "never asked for") == "old"
        held.let_go.set()
        assert working.result(20) == "new"
    assert memory.get("key", lambda: "newer") == "newer"  # whoever asks alone waits for it


@pytest.mark.parametrize("known", [True, False], ids=["too old", "never made"])
def test_what_is_too_old_is_waited_for(known: bool) -> None:
    memory, held = ShortMemory[str](seconds=0.0, grace=0.0), Held()
    if known:
        memory.get("key", lambda: "old")
    with ThreadPoolExecutor(2) as pool:
        working = pool.submit(memory.get, "key", held)
        assert held.begun.wait(20)
        waiting = pool.submit(memory.get, "key", lambda: "never asked for")
        held.let_go.set()
        assert (working.result(20), waiting.result(20)) == ("new", "new")


def test_a_failure_reaches_whoever_worked_and_the_others_have_the_answer_from_before() -> None:
    memory, held = ShortMemory[str](seconds=0.0, grace=60), Held()
    memory.get("key", lambda: "old")

    def fail() -> str:
        held()
        raise ConnectionError("down")

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(memory.get, "key", fail)
        assert held.begun.wait(20)
        assert memory.get("key", lambda: "never asked for") == "old"
        held.let_go.set()
        with pytest.raises(ConnectionError):
            working.result(20)
