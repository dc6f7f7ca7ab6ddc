"""Reveals under way."""

from dataclasses import dataclass
from datetime import datetime

from django.db import connection
from django.db.models import Count, Prefetch

from reveals.models import BatchStatus, RevealBatch, RevealTransaction

_MOST_BATCHES = 16
_MEASURED_OVER = 20  # transactions


@dataclass(frozen=True)
class OpenBatch:
    """A batch whose nonce is reserved, with the newest transaction that was signed for it."""

    id: int
    nonce: int
    tokens: int
    created_at: datetime
    transactions: int
    tx_hash: str | None
    tx_status: str | None


def open_batches() -> list[OpenBatch]:
    """Return the open batches in nonce order; two queries."""
    newest = RevealTransaction.objects.order_by("-id").only("batch_id", "tx_hash", "status")
    found = (
        RevealBatch.objects.filter(status=BatchStatus.OPEN)
        .annotate(size=Count("items"))
        .order_by("nonce")
        .prefetch_related(Prefetch("transactions", queryset=newest, to_attr="newest_first"))
    )
    batches = []
    for batch in found[:_MOST_BATCHES]:
        signed: list[RevealTransaction] = getattr(batch, "newest_first", [])
        last = signed[0] if signed else None
        batches.append(
            OpenBatch(
                id=batch.pk,
                nonce=batch.nonce,
                tokens=getattr(batch, "size", 0),
                created_at=batch.created_at,
                transactions=len(signed),
                tx_hash=last.tx_hash if last else None,
                tx_status=last.status if last else None,
            )
        )
    return batches


@dataclass(frozen=True)
class RevealCosts:
    """What the last reveals took per token; None before the first one."""

    transactions: int
    tokens: int
    gas_per_token: int | None
    wei_per_token: int | None


def reveal_costs() -> RevealCosts:
    """Return the costs of the newest confirmed reveals, L1 data fee included; one query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*), COALESCE(sum(tokens), 0), sum(gas_used) / NULLIF(sum(tokens), 0),
                   sum(gas_used * effective_gas_price_wei + COALESCE(l1_fee_wei, 0))
                   / NULLIF(sum(tokens), 0)
            FROM (
                SELECT gas_used, effective_gas_price_wei, l1_fee_wei,
                       cardinality(token_ids) AS tokens
                FROM reveal_transactions
                WHERE status = 'confirmed' AND gas_used IS NOT NULL
                ORDER BY signed_at DESC LIMIT %s
            ) AS newest
            """,
            [_MEASURED_OVER],
        )
        number, tokens, gas, wei = cursor.fetchone()
    return RevealCosts(
        transactions=number,
        tokens=int(tokens),
        gas_per_token=None if gas is None else int(gas),
        wei_per_token=None if wei is None else int(wei),
    )
