"""The marketplace: it shall look again at tokens that are revealed; off without OPENSEA_API_KEY.

claims   a token to be refreshed, one at a time: no reveal waits for it
calls    OpenSea
settles  refreshed; or asked again later, and given up in the end
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import structlog
from django.conf import settings
from django.db.models import Min, QuerySet
from django.utils import timezone

from glisk.breaker import Breaker
from glisk.clients.opensea import VENDOR, OpenSeaClient
from glisk.engine.step import Done, Failed, Step
from glisk.errors import AccountError, TransientError, as_provider_error, backoff_seconds
from glisk.rate_limit import RateLimit
from reveals.models import MarketplaceRefresh
from tokens.models import Token

logger = structlog.get_logger(__name__)

# A token that the marketplace does not know is asked for so often: about five hours in all.
MAX_ATTEMPTS = 10
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 30.0, 3600.0


class Refresh(Step[MarketplaceRefresh, None]):
    rare = True
    most = 1

    def __init__(self, owner: str) -> None:
        super().__init__(owner)
        self.client = OpenSeaClient.from_settings()
        self.breaker = Breaker(VENDOR)
        self.rate = RateLimit(VENDOR, per_minute=settings.OPENSEA_REQUESTS_PER_MINUTE)

    def due_in(self) -> float | None:
        first = _wanted().aggregate(first=Min("next_attempt_at"))["first"]
        if first is None:
            return None
        wait: float = (first - timezone.now()).total_seconds()
        return max(0.0, wait, self.breaker.seconds_until_probe or 0.0)

    def claim(self, limit: int) -> Sequence[MarketplaceRefresh]:
        due = _wanted().filter(next_attempt_at__lte=timezone.now())
        wanted = due.order_by("next_attempt_at", "token").first()
        if wanted is None or not self.breaker.places(1):
            return ()
        if not self.rate.take(1):
            self.pause(self.rate.seconds_until_free or 0.0)
            return ()
        return [wanted]

    @property
    def breakers(self) -> Sequence[Breaker]:
        return (self.breaker,)

    def call(self, work: MarketplaceRefresh) -> None:
        self.client.refresh(work.token_id)

    def settle(
        self,
        done: Sequence[Done[MarketplaceRefresh, None]],
        failed: Sequence[Failed[MarketplaceRefresh]],
    ) -> None:
        for each in done:
            self.breaker.succeeded()
            each.work.refreshed_at, each.work.error = timezone.now(), ""
            each.work.save(update_fields=["refreshed_at", "error"])
        for lost in failed:
            self._postpone(lost.work, lost.error)

    def _postpone(self, wanted: MarketplaceRefresh, error: Exception) -> None:
        """Let a token wait; only a refusal of the token itself is counted."""
        fault = as_provider_error(error, vendor=VENDOR)
        asked = getattr(fault, "retry_after_seconds", None)
        self.breaker.refused(fault)
        if not isinstance(fault, AccountError | TransientError):
            wanted.attempts += 1
            wanted.given_up = wanted.attempts >= MAX_ATTEMPTS
        wait = backoff_seconds(
            max(1, wanted.attempts),
            base=_FIRST_WAIT_SECONDS,
            cap=_LONGEST_WAIT_SECONDS,
            at_least=asked,
        )
        wanted.next_attempt_at = timezone.now() + timedelta(seconds=wait)
        wanted.error = str(fault)
        wanted.save(update_fields=["attempts", "next_attempt_at", "error", "given_up"])
        log = logger.error if wanted.given_up else logger.warning
        log(
            "marketplace_refresh_failed",
            token_id=wanted.token_id,
            attempts=wanted.attempts,
            given_up=wanted.given_up,
            error=str(fault),
        )

    def close(self) -> None:
        self.client.close()


def _wanted() -> QuerySet[MarketplaceRefresh]:
    return MarketplaceRefresh.objects.filter(refreshed_at=None, given_up=False)


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
