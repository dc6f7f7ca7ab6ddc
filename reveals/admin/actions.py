"""What an operator may have done with reveals: now instead of later, and with higher fees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from glisk.admin.actions import AdminAction, Forecast, Outcome
from glisk.admin.formatting import ether
from glisk.permissions import REVEAL_NOW, SPEED_UP
from reveals.by_hand import request_reveal
from reveals.keeper import keeper_state
from reveals.models import BatchStatus
from reveals.outbox import request_replacement
from tokens.admin.actions import outcomes_of
from tokens.models import Token
from tokens.states import TokenStatus


def reveal_cost(tokens: int) -> str:
    """Return what revealing so many tokens costs by what reveals cost lately; asks no node."""
    keeper = keeper_state()
    if not tokens:
        return ""
    what = "1 token" if tokens == 1 else f"{tokens} tokens"
    if not keeper.cost_per_token_wei:
        return f"This spends gas on the reveal of {what}, which can never be undone."
    about = ether(keeper.cost_per_token_wei * tokens)
    how = "by the last reveals" if keeper.cost_is_measured else "by the price of gas now"
    return (
        f"The reveal of {what} costs about {about}, {how}; the keeper has "
        f"{ether(keeper.balance_wei)}. A reveal can never be undone."
    )


def _is_ready(token: Token) -> bool:
    return token.status == TokenStatus.READY and token.held_at is None


def _reveal(keys: Sequence[Any], actor: str, reason: str) -> Sequence[Outcome]:
    return outcomes_of(request_reveal(token_ids=keys, actor=actor))


def _forecast_reveal(keys: Sequence[Any]) -> Forecast:
    outcomes = outcomes_of(request_reveal(token_ids=keys, actor="", dry_run=True))
    return Forecast(outcomes, reveal_cost(sum(outcome.done for outcome in outcomes)))


def _replace(keys: Sequence[Any], actor: str, reason: str) -> Sequence[Outcome]:
    return [
        Outcome(result.batch_id, result.done, result.message)
        for result in request_replacement(batch_ids=keys, actor=actor)
    ]


def _forecast_replacement(keys: Sequence[Any]) -> Forecast:
    results = request_replacement(batch_ids=keys, actor="", dry_run=True)
    going = [result for result in results if result.done]
    most = sum(result.most_wei for result in going)
    return Forecast(
        [Outcome(result.batch_id, result.done, result.message) for result in results],
        f"At the very most {ether(most)} instead of what was offered; one of the transactions of "
        "a nonce is mined, never two."
        if going
        else "",
    )


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
    fits=_is_ready,
)
REPLACE_BATCH = AdminAction(
    name="speed_up",
    label="Speed up",
    permission=SPEED_UP,
    explanation="Has a transaction that waits in the node's pool replaced now: the same nonce, "
    "the same tokens, higher fees, never above REVEAL_MAX_GAS_PRICE_GWEI. The worker does so by "
    "itself after TRANSACTION_TIMEOUT_SECONDS.",
    run=_replace,
    forecast=_forecast_replacement,
    reason="none",
    icon="fast_forward",
    fits=lambda batch: batch.status == BatchStatus.OPEN,
)
