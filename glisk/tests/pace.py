"""Short waits for tests; what a vendor asks for is still honoured.

Only a batch waits as long as it takes for the tokens that are being checked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from glisk.timing import timing

_SHORT = {
    "backoff": 0.02,
    "pause_refresh": 0.02,
    "breaker_refresh": 0.02,
    "breaker_recheck": 0.2,
    "clock_note": 0.2,
    "account_wait": 0.3,
    "vendor_wait": 0.02,
    "poll": 0.05,
    "cancel_again": 0.2,
    "lookup_after": 0.2,
    "lookup_again": 0.1,
    "filling": 3600.0,
    "gas_price_wait": 0.2,
    "no_funds_wait": 0.1,
    "unclear_wait": 0.1,
    "rebroadcast": 0.15,
    "review_again": 0.1,
    "believed_after": 0.6,
    "receipt_poll": 0.03,
    "superseded_after": 0.3,
    "watch_poll": 0.1,
    "longest_watch_poll": 0.1,
    "recall_after": 0.2,
    "gap_after": 0.3,
}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every wait short."""
    hurry(monkeypatch.setattr)


def hurry(change: Callable[[Any, str, float], None]) -> None:
    """Shorten the waits by `change(timing, name, seconds)`, a monkeypatch's setattr for example."""
    for name, seconds in _SHORT.items():
        change(timing, name, seconds)
