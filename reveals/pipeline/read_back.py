"""Read back: what is on chain after a reveal, compared with what was meant to be there.

    claims   confirmed transactions that were not read back
    calls    the chain
    settles  proven, or reported

A transaction that succeeded is believed only for as long as it takes to look: its receipt must
carry TokensRevealed for just these tokens, and the contract must answer with their URIs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
from django.db import transaction

from glisk.clients.chain import OnChainToken, Receipt, revealed_ids
from glisk.clock import database_now
from glisk.engine.step import Done, Failed
from glisk.errors import as_provider_error, backoff_seconds
from reveals.models import RevealTransaction, TransactionStatus
from reveals.pipeline.marketplace import want_refresh
from reveals.pipeline.step import RevealStep
from tokens.recovery.drift import Finding, report_finding

logger = structlog.get_logger(__name__)

_AT_ONCE = 20  # transactions
# Until then a node that shows nothing may only lag; a reorg is the business of `finality`.
_PATIENCE = timedelta(minutes=2)
_LONGEST_READ_WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Shown:
    """What the chain shows: the receipts of transactions, and the contract's word on tokens."""

    receipts: Mapping[str, Receipt | None]
    tokens: Mapping[int, OnChainToken]


class ReadBack(RevealStep[list[RevealTransaction], Shown]):
    rare = True

    failures = 0  # in a row

    def claim(self, limit: int) -> Sequence[list[RevealTransaction]]:
        confirmed = RevealTransaction.objects.filter(
            status=TransactionStatus.CONFIRMED, read_back_at=None
        )
        rows = list(confirmed.defer("raw_transaction").order_by("pk")[:_AT_ONCE])
        return [rows] if rows else ()

    def call(self, work: list[RevealTransaction]) -> Shown:
        """Two round trips for some hundred tokens."""
        receipts = self.chain.receipts(row.tx_hash for row in work)
        return Shown(receipts, self.chain.tokens(sorted({i for r in work for i in r.token_ids})))

    def settle(
        self,
        done: Sequence[Done[list[RevealTransaction], Shown]],
        failed: Sequence[Failed[list[RevealTransaction]]],
    ) -> None:
        for lost in failed:
            fault = as_provider_error(lost.error, vendor="chain")
            logger.warning("reveals_not_read_back", error=str(fault))
        settled = [self._settle(row, each.value) for each in done for row in each.work]
        self.failures = 0 if any(settled) else self.failures + 1
        if self.failures:
            self.pause(backoff_seconds(self.failures, cap=_LONGEST_READ_WAIT_SECONDS))

    def _settle(self, row: RevealTransaction, shown: Shown) -> bool:
        """Note that a transaction was read back, unless the node does not show it (yet)."""
        receipt = shown.receipts[row.tx_hash]
        hidden = [i for i in row.token_ids if not shown.tokens[i].revealed]
        if receipt is None or hidden:
            if row.confirmed_at and database_now() - row.confirmed_at > _PATIENCE:
                logger.error("reveal_not_shown", tx_hash=row.tx_hash, tokens=hidden)
            return False
        logs = [log for log in receipt.logs if self.chain.is_reveal(log)]
        named = [token_id for log in logs for token_id in revealed_ids(log)]
        findings = _differences(row, named, shown.tokens)
        for finding in findings:
            report_finding(finding)
        wrong = {finding.token_id for finding in findings}
        with transaction.atomic():
            noted = RevealTransaction.objects.filter(
                pk=row.pk, status=TransactionStatus.CONFIRMED, read_back_at=None
            ).update(read_back_at=database_now())
            if noted:
                want_refresh([i for i in row.token_ids if i not in wrong])
        return bool(noted)


def _differences(
    row: RevealTransaction, named: Sequence[int], facts: Mapping[int, OnChainToken]
) -> list[Finding]:
    found = []
    for token_id, uri in zip(row.token_ids, row.metadata_uris, strict=True):
        on_chain = facts[token_id].uri
        if on_chain != uri:
            detail = f"on chain {on_chain[:200]!r}, {row.tx_hash} was to write {uri[:200]!r}"
            found.append(Finding("uri_differs", token_id, detail))
        elif token_id not in named:
            detail = f"TokensRevealed of {row.tx_hash} does not name it"
            found.append(Finding("uri_differs", token_id, detail))
    return found
