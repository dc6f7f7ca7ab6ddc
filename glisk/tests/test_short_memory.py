"""Answers are remembered for a moment; of many who ask at once, one works."""

import threading
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

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


class Watched(ShortMemory[str]):
    """A memory that says when so many have come while another one works."""

    def __init__(self, waiting: int) -> None:
        super().__init__(seconds=60)
        self.all_wait = threading.Event()
        self._missing = waiting

    def _usable(self, key: Hashable, *, for_whoever_works: bool) -> Any:
        known = super()._usable(key, for_whoever_works=for_whoever_works)
        if known is None and not for_whoever_works:
            self._missing -= 1
            if self._missing == 0:
                self.all_wait.set()
        return known


@pytest.mark.parametrize("error", [None, ConnectionError("down")])
def test_of_many_at_once_one_works_and_its_failure_is_told_to_all(error: Exception | None) -> None:
    """One after the other they would wait for each other's timeouts."""
    memory, held = Watched(ASKING - 1), Held(error)
    with ThreadPoolExecutor(ASKING) as pool:
        asked = [pool.submit(memory.get, "key", held) for _ in range(ASKING)]
        assert memory.all_wait.wait(20)
        held.let_go.set()
        assert {each.exception(20) for each in asked} == {error}
    assert held.asked == 1
    held.error = None
    assert memory.get("key", held) == "new"
    assert held.asked == (1 if error is None else 2)  # a failure is not remembered


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


@pytest.mark.parametrize("error", [None, ConnectionError("down")])
def test_while_one_works_the_others_get_the_answer_from_before(error: Exception | None) -> None:
    memory, held = ShortMemory[str](seconds=0.0, grace=60), Held(error)
    memory.get("key", lambda: "old")
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(memory.get, "key", held)
        assert held.begun.wait(20)
        assert memory.get("key", lambda: "never asked for") == "old"
        held.let_go.set()
        assert working.exception(20) == error
    assert memory.get("key", lambda: "newer") == "newer"  # whoever asks alone waits for it


def test_what_is_too_old_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(short_memory.time, "monotonic", lambda: now)
    memory, held = Watched(1), Held()
    memory.get("key", lambda: "old")
    now += 60
    with ThreadPoolExecutor(2) as pool:
        working = pool.submit(memory.get, "key", held)
        assert held.begun.wait(20)
        waiting = pool.submit(memory.get, "key", lambda: "never asked for")
        assert memory.all_wait.wait(20)
        held.let_go.set()
        assert (working.result(20), waiting.result(20)) == ("new", "new")
