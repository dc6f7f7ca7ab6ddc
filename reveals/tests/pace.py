"""A quick reveal for tests: every wait is short; what a vendor asks for is still honoured.

Only a batch waits as long as it takes for the tokens that are being checked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from glisk import breaker
from reveals import depth, flight, nonce_gaps, preparing, reconcile, sending, settlement, verifying
from reveals import drain as drain_module


def soon(attempt: int, *, at_least: float | None = None, **limits: Any) -> float:
    return max(0.02 * attempt, at_least or 0.0)


def hurry(change: Callable[[Any, str, Any], None]) -> None:
    """Shorten the waits by `change(module, name, value)`, a monkeypatch's setattr for example."""
    for module in (verifying, flight, preparing, sending, settlement, breaker):
        change(module, "backoff_seconds", soon)
    change(verifying, "FILLING_SECONDS", 3600.0)
    change(breaker, "ACCOUNT_WAIT_SECONDS", 0.2)
    change(breaker, "_REFRESH_SECONDS", 0.02)
    change(drain_module, "GAS_PRICE_WAIT_SECONDS", 0.2)
    change(drain_module, "FUNDS_WAIT_SECONDS", 0.1)
    change(reconcile, "UNCLEAR_WAIT_SECONDS", 0.1)
    change(flight, "RECEIPT_POLL_SECONDS", 0.03)
    change(flight, "SUPERSEDED_AFTER_SECONDS", 0.3)
    change(flight, "ABANDONED_AFTER_SECONDS", 0.3)
    change(nonce_gaps, "GAP_AFTER_SECONDS", 0.3)
    change(sending, "REBROADCAST_SECONDS", 0.15)
    change(sending, "NO_FUNDS_WAIT_SECONDS", 0.1)
    change(sending, "REVIEW_AGAIN_SECONDS", 0.1)
    change(sending, "BELIEVED_AFTER_SECONDS", 0.6)
    change(depth, "POLL_SECONDS", 0.1)
    change(depth, "RECALL_AFTER_SECONDS", 0.2)
