"""After a reveal: what is on chain now, compared with what was meant to be there.

A transaction that succeeded is believed only for as long as it takes to look: its receipt must
carry TokensRevealed for just these tokens, and the contract must answer with their URIs.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import structlog
from django.db import transaction

from glisk.clients.chain import ChainClient, OnChainToken, Receipt, revealed_ids
from glisk.clock import database_now
from reveals import marketplace
from reveals.models import RevealTransaction, TransactionStatus
from tokens.recovery.drift import Finding, report_finding

logger = structlog.get_logger(__name__)

_AT_ONCE = 20  # transactions
# Until then a node that shows nothing may only lag; a reorg is the depth watch's business.
_PATIENCE = timedelta(minutes=2)


def read_back(chain: ChainClient) -> int:
    """Compare confirmed reveals with the chain; return how many transactions were settled.

    Two round trips for some hundred tokens. Raises the errors of the chain's client.
    """
    rows = list(
        RevealTransaction.objects.filter(status=TransactionStatus.CONFIRMED, read_back_at=None)
        .defer("raw_transaction")
        .order_by("pk")[:_AT_ONCE]
    )
    if not rows:
        return 0
    receipts = chain.receipts(row.tx_hash for row in rows)
    facts = chain.tokens(sorted({token_id for row in rows for token_id in row.token_ids}))
    return sum(_settle(row, _named(chain, receipts[row.tx_hash]), facts) for row in rows)


def _named(chain: ChainClient, receipt: Receipt | None) -> list[int] | None:
    """Return the tokens that the contract's TokensRevealed names; None without a receipt."""
    if receipt is None:
        return None
    logs = [log for log in receipt.logs if chain.is_reveal(log)]
    return [token_id for log in logs for token_id in revealed_ids(log)]


def _settle(
    row: RevealTransaction, named: list[int] | None, facts: dict[int, OnChainToken]
) -> bool:
    """Note that a transaction was read back, unless the node does not show it (yet)."""
    hidden = [i for i in row.token_ids if not facts[i].revealed]
    if named is None or hidden:
        if row.confirmed_at and database_now() - row.confirmed_at > _PATIENCE:
            logger.error("reveal_not_shown", tx_hash=row.tx_hash, tokens=hidden)
        return False
    findings = _differences(row, named, facts)
    for finding in findings:
        report_finding(finding)
    wrong = {finding.token_id for finding in findings}
    with transaction.atomic():
        noted = RevealTransaction.objects.filter(
            pk=row.pk, status=TransactionStatus.CONFIRMED, read_back_at=None
        ).update(read_back_at=database_now())
        if noted:
            marketplace.want_refresh([i for i in row.token_ids if i not in wrong])
    return bool(noted)


def _differences(
    row: RevealTransaction, named: Sequence[int], facts: dict[int, OnChainToken]
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
