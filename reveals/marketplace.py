"""Have the marketplace look at revealed tokens again; off without OPENSEA_API_KEY.

What is wanted stands in the database from the moment a reveal was read back, so that no crash loses
it. It is asked for by a task of its own, slowly, and whatever comes of it, no reveal waits.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta

import structlog
from django.conf import settings
from django.utils import timezone

from glisk.backoff import backoff_seconds
from glisk.breaker import Breaker
from glisk.clients.opensea import VENDOR, OpenSeaClient
from glisk.errors import AccountError, ProviderError, TransientError
from glisk.rate_limit import RateLimit
from reveals.models import MarketplaceRefresh
from tokens.models import Token

logger = structlog.get_logger(__name__)

# A token that the marketplace does not know is asked for so often: about five hours in all.
MAX_ATTEMPTS = 10
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 30.0, 3600.0
# The queue's workers have other work: a run ends soon, and the next one goes on.
RUN_SECONDS = 5.0


def want_refresh(token_ids: Sequence[int]) -> None:
    """Note that tokens show their new metadata; for the caller's transaction."""
    if not settings.OPENSEA_API_KEY:
        return
    now = timezone.now()
    known = Token.objects.filter(pk__in=token_ids).order_by("token_id")
    MarketplaceRefresh.objects.bulk_create(
        [MarketplaceRefresh(token=token, next_attempt_at=now) for token in known],
        update_conflicts=True,
        unique_fields=["token"],
        update_fields=["attempts", "next_attempt_at", "refreshed_at", "given_up", "error"],
    )


def refresh_due(client: OpenSeaClient, *, run_seconds: float = RUN_SECONDS) -> int:
    """Ask for refreshes that are due until the time is over; return how many were accepted."""
    breaker = Breaker(VENDOR)
    rate = RateLimit(VENDOR, per_minute=settings.OPENSEA_REQUESTS_PER_MINUTE)
    ends = time.monotonic() + run_seconds
    accepted = 0
    while time.monotonic() < ends:
        due = (
            MarketplaceRefresh.objects.filter(
                refreshed_at=None, given_up=False, next_attempt_at__lte=timezone.now()
            )
            .order_by("next_attempt_at", "token")
            .first()
        )
        if due is None or not breaker.places(1):
            break
        if not rate.take(1):
            breaker.give_probe_back()
            break
        accepted += _refresh(client, due, breaker)
    return accepted


def _refresh(client: OpenSeaClient, wanted: MarketplaceRefresh, breaker: Breaker) -> bool:
    try:
        client.refresh(wanted.token_id)
    except ProviderError as error:
        _postpone(wanted, error, breaker)
        return False
    breaker.succeeded()
    wanted.refreshed_at, wanted.error = timezone.now(), ""
    wanted.save(update_fields=["refreshed_at", "error"])
    return True


def _postpone(wanted: MarketplaceRefresh, error: ProviderError, breaker: Breaker) -> None:
    """Let a token wait; only a refusal of the token itself is counted."""
    if isinstance(error, AccountError | TransientError):
        breaker.failed(error)
        asked = getattr(error, "retry_after_seconds", None)
    else:
        breaker.succeeded()
        asked = None
        wanted.attempts += 1
        wanted.given_up = wanted.attempts >= MAX_ATTEMPTS
    wait = backoff_seconds(
        max(1, wanted.attempts),
        base=_FIRST_WAIT_SECONDS,
        cap=_LONGEST_WAIT_SECONDS,
        at_least=asked,
    )
    wanted.next_attempt_at = timezone.now() + timedelta(seconds=wait)
    wanted.error = str(error)
    wanted.save(update_fields=["attempts", "next_attempt_at", "error", "given_up"])
    log = logger.error if wanted.given_up else logger.warning
    log(
        "marketplace_refresh_failed",
        token_id=wanted.token_id,
        attempts=wanted.attempts,
        given_up=wanted.given_up,
        error=str(error),
    )
