"""What reveals add to the pages of tokens: an action, the timeline's entries, a list's question."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.urls import reverse

from glisk.admin.actions import AdminAction, Forecast, Outcome
from glisk.admin.formatting import ether, gwei, short
from glisk.management.base import counted
from glisk.permissions import REVEAL_NOW
from reveals.admin.transactions import TRANSACTION_LABELS
from reveals.by_hand import request_reveal
from reveals.keeper import BLOCKED, EMPTY, keeper_state
from reveals.models import RevealTransaction, TransactionStatus
from reveals.outbox import in_flight
from tokens.admin.actions import outcomes_of
from tokens.admin.timeline import Happening
from tokens.models import Token
from tokens.models.token import TokenQuerySet
from tokens.states import TokenStatus


def reveal_cost(tokens: int) -> str:
    """Return what revealing so many tokens costs by what reveals cost lately; asks no node."""
    keeper = keeper_state()
    if not tokens:
        return ""
    what = counted(tokens, "token")
    if not keeper.cost_per_token_wei:
        return f"This spends gas on the reveal of {what}, which can never be undone."
    return (
        f"The reveal of {what} costs about {ether(keeper.cost_per_token_wei * tokens)}; the keeper "
        f"has {ether(keeper.balance_wei)}. A reveal can never be undone."
    )


def _reveal(keys: Sequence[Any], actor: str, reason: str) -> Sequence[Outcome]:
    return outcomes_of(request_reveal(token_ids=keys, actor=actor))


def _forecast_reveal(keys: Sequence[Any]) -> Forecast:
    outcomes = outcomes_of(request_reveal(token_ids=keys, actor="", dry_run=True))
    return Forecast(outcomes, reveal_cost(sum(outcome.done for outcome in outcomes)))


REVEAL_TOKENS = AdminAction(
    name="reveal",
    label="Reveal now",
    permission=REVEAL_NOW,
    explanation="Has ready tokens revealed with the next batch, without waiting for company. "
    "They pass the same gate as always.",
    run=_reveal,
    forecast=_forecast_reveal,
    reason="none",
    icon="visibility",
    logged=False,
    fits=lambda token: token.status == TokenStatus.READY and token.held_at is None,
)


def reveals_of(token: Token) -> Iterable[Happening]:
    """Yield the transactions that were signed for a token; one query."""
    rows = RevealTransaction.objects.filter(batch__items__token=token.pk).order_by("id")
    for row in rows.defer("raw_transaction", "metadata_uris"):
        facts = [
            ("hash", short(row.tx_hash)),
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


def waiting_for_gas(tokens: TokenQuerySet) -> TokenQuerySet:
    """Return the ready tokens that only wait for the gas price, or for the keeper's money."""
    keeper = keeper_state()
    dear = keeper.status == BLOCKED and keeper.gas_price_high_since is not None
    if not dear and keeper.status != EMPTY:
        return tokens.none()
    return tokens.filter(~in_flight("pk"), status=TokenStatus.READY, held_at=None)
