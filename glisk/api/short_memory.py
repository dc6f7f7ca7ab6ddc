"""Remember answers that many ask for and that may be some seconds old, per process.

Counting the leaderboard of a million tokens takes 0.3 s, and 200 requests a second come meanwhile.
With Django's cache all of them would count when an answer has expired, and the figures
`p95_ms` and `leaderboard_p95_ms` of the benchmark `api_reads` (25 ms) could not be kept.
"""

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar
from weakref import WeakSet

T = TypeVar("T")
_all: "WeakSet[ShortMemory[Any]]" = WeakSet()


class ShortMemory(Generic[T]):
    """Answers by key, each for `seconds`; of several that ask at once, one works.

    The others get the answer from before while that is not more than `grace` seconds too old, and
    wait for the new one else. An exception is not kept, but all who waited get it: trying one
    after the other, they would wait for each other's timeouts while the database is down.
    """

    def __init__(self, *, seconds: float, grace: float = 0.0) -> None:
        self._seconds, self._grace = seconds, grace
        self._answers: dict[Hashable, tuple[float, T]] = {}  # until when (monotonic), and what
        self._working: dict[Hashable, Future[T]] = {}
        self._guard = threading.Lock()
        _all.add(self)

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the remembered answer, or what `make` returns now; raise what it raises."""
        with self._guard:
            work = self._working.get(key)
            if known := self._answers.get(key):
                until, answer = known
                if time.monotonic() < until + (self._grace if work else 0.0):
                    return answer
            mine: Future[T] = Future()
            work = self._working.setdefault(key, mine)
        if work is mine:
            self._do(key, make, work)
        return work.result()

    def _do(self, key: Hashable, make: Callable[[], T], work: "Future[T]") -> None:
        try:
            answer = make()
            now = time.monotonic()
            with self._guard:  # what nobody is given any more goes, so that keys do not pile up
                usable = {k: v for k, v in self._answers.items() if now < v[0] + self._grace}
                self._answers = usable | {key: (now + self._seconds, answer)}
            work.set_result(answer)
        except BaseException as error:  # noqa: BLE001 - raised by whoever waits for it
            work.set_exception(error)
        finally:
            with self._guard:
                del self._working[key]

    def clear(self) -> None:
        with self._guard:
            self._answers = {}


def forget_all() -> None:
    """Empty every memory of this process: tests begin without what others remembered."""
    for memory in list(_all):
        memory.clear()
