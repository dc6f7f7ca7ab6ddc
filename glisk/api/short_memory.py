"""Remember answers that many ask for and that may be some seconds old, per process.

Counting the leaderboard of a million tokens takes 0.3 s, and 200 requests a second come meanwhile.
With Django's cache all of them would count when an answer has expired, and the figures
`p95_ms` and `leaderboard_p95_ms` of the benchmark `api_reads` (25 ms) could not be kept.
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, Generic, NamedTuple, TypeVar
from weakref import WeakSet

T = TypeVar("T")
_all: "WeakSet[ShortMemory[Any]]" = WeakSet()


class _Known(NamedTuple, Generic[T]):
    answer: T
    until: float  # monotonic


class ShortMemory(Generic[T]):
    """Answers by key, each for `seconds`; of several that ask at once, one works.

    The others get the answer from before while that is not more than `grace` seconds too old, and
    wait for the new one else. So whoever asks alone never gets an answer older than `seconds`, and
    among many no more than one waits. With `worth`, an answer lasts so many times as long as it
    took to make, `seconds` at most: what costs nothing is not old either.

    At most `size` answers are kept, the longest unused one goes first. An exception is not kept,
    but all who waited get it: trying one after the other, they would wait for each other's
    timeouts while the database is down.
    """

    def __init__(
        self, *, seconds: float, grace: float = 0.0, worth: float = math.inf, size: int = 1024
    ) -> None:
        self._seconds, self._grace, self._worth, self._size = seconds, grace, worth, size
        self._answers: OrderedDict[Hashable, _Known[T]] = OrderedDict()
        self._guard = threading.Lock()
        self._working: dict[Hashable, Future[T]] = {}
        _all.add(self)

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the remembered answer, or what `make` returns now; raise what it raises."""
        with self._guard:
            is_mine = key not in self._working
            if (known := self._usable(key, for_whoever_works=is_mine)) is not None:
                return known.answer
            work = self._working.setdefault(key, Future())
        if is_mine:
            self._do(key, make, work)
        return work.result()

    def _do(self, key: Hashable, make: Callable[[], T], work: "Future[T]") -> None:
        began = time.monotonic()
        try:
            answer = make()
        except BaseException as error:  # noqa: BLE001 - raised by whoever waits for it
            with self._guard:
                del self._working[key]
            work.set_exception(error)
            return
        now = time.monotonic()
        lasts = self._seconds
        if now > began:
            lasts = min(lasts, self._worth * (now - began))
        with self._guard:
            del self._working[key]
            self._answers[key] = _Known(answer, until=now + lasts)
            self._answers.move_to_end(key)
            while len(self._answers) > self._size:
                self._answers.popitem(last=False)
        work.set_result(answer)

    def clear(self) -> None:
        with self._guard:
            self._answers.clear()

    def _usable(self, key: Hashable, *, for_whoever_works: bool) -> _Known[T] | None:
        known = self._answers.get(key)
        grace = 0.0 if for_whoever_works else self._grace
        if known is None or known.until + grace <= time.monotonic():
            return None
        self._answers.move_to_end(key)
        return known


def forget_all() -> None:
    """Empty every memory of this process: tests begin without what others remembered."""
    for memory in list(_all):
        memory.clear()
