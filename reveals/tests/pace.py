"""A quick reveal for tests: every wait is short; what a vendor asks for is still honoured.

Only a batch waits as long as it takes for the tokens that are being checked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from glisk import breaker
from reveals import reconcile
from reveals.pipeline import after, compose, receipts, send, sign, verify, watch


def soon(attempt: int, *, at_least: float | None = None, **limits: Any) -> float:
    return max(0.02 * attempt, at_least or 0.0)


def hurry(change: Callable[[Any, str, Any], None]) -> None:
    """Shorten the waits by `change(module, name, value)`, a monkeypatch's setattr for example."""
    for module in (after, breaker, compose, receipts, send, sign, verify):
        change(module, "backoff_seconds", soon)
    change(breaker, "ACCOUNT_WAIT_SECONDS", 0.2)
    change(breaker, "_REFRESH_SECONDS", 0.02)
    change(compose, "FILLING_SECONDS", 3600.0)
    change(compose, "GAS_PRICE_WAIT_SECONDS", 0.2)
    change(compose, "FUNDS_WAIT_SECONDS", 0.1)
    change(reconcile, "UNCLEAR_WAIT_SECONDS", 0.1)
    change(send, "REBROADCAST_SECONDS", 0.15)
    change(send, "NO_FUNDS_WAIT_SECONDS", 0.1)
    change(send, "REVIEW_AGAIN_SECONDS", 0.1)
    change(send, "BELIEVED_AFTER_SECONDS", 0.6)
    change(receipts, "RECEIPT_POLL_SECONDS", 0.03)
    change(receipts, "SUPERSEDED_AFTER_SECONDS", 0.3)
    change(receipts, "ABANDONED_AFTER_SECONDS", 0.3)
    change(watch, "POLL_SECONDS", 0.1)
    change(watch, "LONGEST_POLL_SECONDS", 0.1)
    change(watch, "RECALL_AFTER_SECONDS", 0.2)
    change(watch, "GAP_AFTER_SECONDS", 0.3)
