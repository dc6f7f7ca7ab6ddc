"""Bring tokens and settled mints together: a token without a mint whose id a mint covers.

Tokens are without a mint when they were taken from the contract, or when they were revealed for a
mint that a reorg took. The settled mint is what the chain says: the token takes it, or gives way.
"""

from __future__ import annotations

from django.db import transaction

from tokens.mint_log import MintLog
from tokens.models import MintEvent, Token
from tokens.models.mint import MintSource
from tokens.recovery.withdrawal import ACTOR, give_up, lock_mints
from tokens.recovery.work import in_flight
from tokens.registration import register_mints
from tokens.states import TokenStatus

_AT_ONCE = 200


def settle_orphans() -> int:
    """Give tokens the settled mints that cover their ids; return how many tokens it was."""
    found = MintEvent.objects.raw(
        "SELECT DISTINCT m.* FROM tokens_s0 t JOIN mint_events m "
        "ON m.start_token_id BETWEEN t.token_id - 50 AND t.token_id "
        "AND m.start_token_id + m.quantity > t.token_id "
        "WHERE t.mint_event_id IS NULL AND m.settled_at IS NOT NULL LIMIT %s",
        [_AT_ONCE],
    )
    logs = [_as_log(event) for event in found]
    if not logs:
        return 0
    owners = {token_id: log for log in logs for token_id in log.token_ids}
    with transaction.atomic():
        lock_mints()
        orphans = list(
            Token.objects.select_for_update()
            .filter(mint_event=None, token_id__in=list(owners))
            .order_by("token_id")
        )
        busy = in_flight(token.token_id for token in orphans)
        free = [token for token in orphans if token.token_id not in busy]
        # What is revealed here stays so: if the chain says otherwise, the drift check finds it.
        revealed = {t.token_id for t in free if t.status == TokenStatus.REVEALED}
        give_up(free, owners, revealed, reason="its mint is another than was thought")
        register_mints(logs, source=MintSource.BACKFILL, actor=ACTOR)
    return len(free)


def _as_log(event: MintEvent) -> MintLog:
    return MintLog(
        tx_hash=event.tx_hash,
        log_index=event.log_index,
        block_number=event.block_number,
        block_hash=event.block_hash,
        block_timestamp=event.block_timestamp,
        minter=event.minter,
        prompt_author=event.prompt_author,
        start_token_id=event.start_token_id,
        quantity=event.quantity,
        total_paid_wei=int(event.total_paid_wei),
    )
