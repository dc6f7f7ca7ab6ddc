"""After: what is on chain after a reveal is compared, and the marketplace asked to look again.

    claims   confirmed transactions that were not read back; tokens to be refreshed, one at a time
    calls    the chain; OpenSea, if OPENSEA_API_KEY is set
    settles  proven, or reported; refreshed, or asked again later and given up in the end

A transaction that succeeded is believed only for as long as it takes to look: its receipt must
carry TokensRevealed for just these tokens, and the contract must answer with their URIs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Min, QuerySet
from django.utils import timezone

from glisk.breaker import Breaker
from glisk.clients.chain import OnChainToken, Receipt, revealed_ids
from glisk.clients.opensea import VENDOR, OpenSeaClient
from glisk.clock import database_now
from glisk.errors import AccountError, TransientError, as_provider_error, backoff_seconds
from glisk.rate_limit import RateLimit
from reveals.models import MarketplaceRefresh, RevealTransaction, TransactionStatus
from reveals.outbox import RevealStep, Shared
from tokens.models import Token
from tokens.recovery.drift import Finding, report_finding

logger = structlog.get_logger(__name__)

_AT_ONCE = 20  # transactions
# Until then a node that shows nothing may only lag; a reorg is the business of `watch`.
_PATIENCE = timedelta(minutes=2)

# The receipts of transactions, and the contract's word on their tokens.
Shown = tuple[Mapping[str, Receipt | None], Mapping[int, OnChainToken]]


class ReadBack(RevealStep[list[RevealTransaction], Shown]):
    rare = True

    _misses = 0  # looks in a row at which the node showed nothing new

    def claim(self, limit: int) -> Sequence[list[RevealTransaction]]:
        rows = list(_unread().defer("raw_transaction").order_by("pk")[:_AT_ONCE])
        return [rows] if rows else ()

    def call(self, work: list[RevealTransaction]) -> Shown:
        """Two round trips for some hundred tokens."""
        receipts = self.chain.receipts(row.tx_hash for row in work)
        return receipts, self.chain.tokens(sorted({i for r in work for i in r.token_ids}))

    def done(self, work: list[RevealTransaction], value: Shown) -> None:
        settled = [self._settle(row, *value) for row in work]
        self._misses = 0 if any(settled) else self._misses + 1
        if self._misses:
            self.pause(backoff_seconds(self._misses, cap=60.0))

    def _settle(
        self,
        row: RevealTransaction,
        receipts: Mapping[str, Receipt | None],
        tokens: Mapping[int, OnChainToken],
    ) -> bool:
        """Note that a transaction was read back, unless the node does not show it (yet)."""
        receipt = receipts[row.tx_hash]
        hidden = [i for i in row.token_ids if not tokens[i].revealed]
        if receipt is None or hidden:
            if row.confirmed_at and database_now() - row.confirmed_at > _PATIENCE:
                logger.error("reveal_not_shown", tx_hash=row.tx_hash, tokens=hidden)
            return False
        logs = [log for log in receipt.logs if self.chain.is_reveal(log)]
        named = {token_id for log in logs for token_id in revealed_ids(log)}
        findings = _differences(row, named, tokens)
        for finding in findings:
            report_finding(finding)
        wrong = {finding.token_id for finding in findings}
        with transaction.atomic():
            noted = _unread().filter(pk=row.pk).update(read_back_at=database_now())
            if noted:
                want_refresh([i for i in row.token_ids if i not in wrong])
        return bool(noted)


def _unread() -> QuerySet[RevealTransaction]:
    return RevealTransaction.objects.filter(status=TransactionStatus.CONFIRMED, read_back_at=None)


def _differences(
    row: RevealTransaction, named: Collection[int], facts: Mapping[int, OnChainToken]
) -> list[Finding]:
    found = []
    for token_id, uri in zip(row.token_ids, row.metadata_uris, strict=True):
        on_chain = facts[token_id].uri
        if on_chain != uri:
            detail = f"on chain {on_chain[:200]!r}, {row.tx_hash} was to write {uri[:200]!r}"
        elif token_id not in named:
            detail = f"TokensRevealed of {row.tx_hash} does not name it"
        else:
            continue
        found.append(Finding("uri_differs", token_id, detail))
    return found


# -- the marketplace ------------------------------------------------------------------------

# A token that the marketplace does not know is asked for so often: about five hours in all.
MAX_ATTEMPTS = 10


class Refresh(RevealStep[MarketplaceRefresh, None]):
    rare = True

    def __init__(self, owner: str, shared: Shared) -> None:
        super().__init__(owner, shared)
        self.client = OpenSeaClient()
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

    def done(self, work: MarketplaceRefresh, value: None) -> None:
        self.breaker.succeeded()
        work.refreshed_at, work.error = timezone.now(), ""
        work.save()

    def failed(self, work: MarketplaceRefresh, error: Exception) -> None:
        """Let a token wait; only a refusal of the token itself is counted."""
        fault = as_provider_error(error, vendor=VENDOR)
        self.breaker.refused(fault)
        if not isinstance(fault, AccountError | TransientError):
            work.attempts += 1
            work.given_up = work.attempts >= MAX_ATTEMPTS
        wait = backoff_seconds(
            max(1, work.attempts),
            base=30.0,
            cap=3600.0,
            at_least=getattr(fault, "retry_after_seconds", None),
        )
        work.next_attempt_at = timezone.now() + timedelta(seconds=wait)
        work.error = str(fault)
        work.save()
        log = logger.error if work.given_up else logger.warning
        log(
            "marketplace_refresh_failed",
            token_id=work.token_id,
            attempts=work.attempts,
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
