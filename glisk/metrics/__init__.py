"""What no row holds, counted in each process: requests, calls of vendors and steps, webhooks.

What rows hold (depths, money, durations of states) is read from them at the scrape, exactly and for
all machines at once: glisk/console/metrics. Here a count costs microseconds and never an error:
whoever is counted must not suffer by it. The library is loaded at the first count.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import structlog

logger = structlog.get_logger(__name__)

_is_off = False
# What counts, by metric and labels: to find it so costs a tenth of asking the library for it.
_series: dict[tuple[str, tuple[str, ...]], Callable[[float], None]] = {}


def count_request(*, route: str, method: str, status: int, seconds: float) -> None:
    """Count an answered request; `route` is a pattern of the URLs, not a path."""
    _count("observe", "http_request_seconds", seconds, route, method, str(status))


def count_webhook(vendor: str, verdict: str) -> None:
    """Count a delivery: processed, duplicate, ignored; refused, malformed, failed."""
    _count("inc", "webhooks", 1, vendor, verdict)


def count_retry(error_class: str) -> None:
    """Count a token that waits for another attempt, by the class of the error that stopped it."""
    _count("inc", "retries", 1, error_class)


def timed_vendor_call(vendor: str) -> AbstractContextManager[None]:
    """Count a call to a vendor, with its outcome and how long it took."""
    return _Timed("vendor_call_seconds", vendor)


def timed_step_call(step: str) -> AbstractContextManager[None]:
    """Count a call of a step, with its outcome and how long it took."""
    return _Timed("step_call_seconds", step)


class _Timed:
    def __init__(self, metric: str, name: str) -> None:
        self._metric, self._name = metric, name

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        seconds = time.perf_counter() - self._began
        # The class of an error is its stable word (glisk.errors); of any other there is none.
        outcome = "ok" if error is None else str(getattr(error, "error_class", "internal"))
        _count("observe", self._metric, seconds, self._name, outcome)


def _count(how: str, metric: str, amount: float, *labels: str) -> None:
    global _is_off
    if _is_off:
        return
    try:
        series = _series.get((metric, labels))
        if series is None:
            from glisk.metrics import counters

            series = getattr(getattr(counters, metric).labels(*labels), how)
            _series[metric, labels] = series
        series(amount)
    except Exception as error:  # noqa: BLE001 - whatever it is, the work goes on
        _is_off = True
        logger.warning("metrics_off", error=f"{type(error).__name__}: {error}")
