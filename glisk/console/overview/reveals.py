"""Reveals under way."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Prefetch

from reveals.models import BatchStatus, RevealBatch, RevealTransaction

_MOST_BATCHES = 16


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


def refusal_of(token_id: int) -> str:
    """Return why no node takes a token's open transaction; empty if one has."""
    rows = RevealTransaction.objects.filter(
        batch__items__token=token_id, batch__items__is_open=True
    ).order_by("-id")
    return rows.values_list("error", flat=True).first() or ""


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
