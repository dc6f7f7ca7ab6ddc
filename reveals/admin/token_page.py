"""What reveals add to the pages of tokens: entries of the timeline, and a question of the list."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Exists, OuterRef, QuerySet
from django.urls import reverse

from glisk.admin.formatting import ether, gwei
from reveals.admin.labels import TRANSACTION_LABELS
from reveals.keeper import BLOCKED, EMPTY, keeper_state
from reveals.models import RevealBatchToken, RevealTransaction, TransactionStatus
from tokens.admin.summary import Happening
from tokens.models import Token
from tokens.states import TokenStatus


def reveals_of(token: Token) -> Iterable[Happening]:
    """Yield the transactions that were signed for a token; one query."""
    rows = RevealTransaction.objects.filter(batch__items__token=token.pk).order_by("id")
    for row in rows.defer("raw_transaction", "metadata_uris"):
        facts = [
            ("hash", row.tx_hash),
            ("nonce", str(row.nonce)),
            ("tokens", str(len(row.token_ids))),
            ("fee cap", gwei(row.max_fee_per_gas_wei)),
        ]
        if row.cost_wei is not None:
            facts.append(("cost", ether(row.cost_wei)))
        yield Happening(
            at=row.signed_at,
            title=f"Transaction {row.status}",
            label=TRANSACTION_LABELS[TransactionStatus(row.status)],
            text=row.error,
            facts=facts,
            url=reverse("admin:reveals_revealtransaction_change", args=[row.pk]),
        )


def waiting_for_gas(tokens: QuerySet[Token]) -> QuerySet[Token]:
    """Return the ready tokens that only wait for the gas price, or for the keeper's money."""
    keeper = keeper_state()
    dear = keeper.status == BLOCKED and keeper.gas_price_high_since is not None
    if not dear and keeper.status != EMPTY:
        return tokens.none()
    in_batch = RevealBatchToken.objects.filter(token=OuterRef("pk"), is_open=True)
    return tokens.filter(~Exists(in_batch), status=TokenStatus.READY, held_at=None)
