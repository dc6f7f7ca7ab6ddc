"""Wait in a test for what other threads and processes do, and let several act at once."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection


def eventually(condition: Callable[[], Any], *, what: str = "it", seconds: float = 60.0) -> Any:
    """Return the first true value of `condition`; fail when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s: {what}")
        time.sleep(0.01)
    return value


def at_once(number: int, work: Callable[[int], Any]) -> list[Any]:
    """Do the work in so many threads, each with a connection, at the same moment.

    Each gets its number; returns what they brought.
    """
    barrier = threading.Barrier(number)

    def run(index: int) -> Any:
        try:
            connection.ensure_connection()
            barrier.wait(60)
            return work(index)
        finally:
            connection.close()

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(run, range(number)))
