"""Tokens without a mint: they take the one that covers their id, give way to it, or are withdrawn.

They were taken from the contract without a log, or revealed for a mint that a reorg took.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import Q, QuerySet

from glisk.clients.mint_reader import Survey
from tokens.minting.mint_log import MintLog
from tokens.minting.registration import register_mints
from tokens.models import MintEvent, Token
from tokens.models.mint import MintSource
from tokens.recovery.progress import Memory
from tokens.recovery.reorgs import PATIENCE_BLOCKS
from tokens.recovery.withdrawal import ACTOR, give_up, lock_mints, withdraw
from tokens.recovery.work import in_flight
from tokens.states import TokenStatus

_AT_ONCE = 200


def settle_orphans() -> int:
    """Give tokens the settled mints that cover their ids; return how many tokens it was.

    A settled mint is what the chain says: a token of another author gives way to a new one.
    """
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


def withdraw_unknown(survey: Survey, memory: Memory) -> int:
    """Withdraw tokens without a mint that the contract does not know any more; return how many.

    As with mints, one answer is not enough: it must still say so some blocks later.
    """
    found = _may_go().filter(token_id__gte=survey.next_token_id)
    unknown = set(found.values_list("token_id", flat=True))
    head = survey.head.number
    first_missed = {str(i): memory.unknown.get(str(i), head) for i in unknown}
    due = [int(i) for i, since in first_missed.items() if head - since >= PATIENCE_BLOCKS]
    memory.unknown = {i: since for i, since in first_missed.items() if int(i) not in due}
    if not due:
        return 0
    with transaction.atomic():
        tokens = list(_may_go().select_for_update().filter(token_id__in=due))
        busy = in_flight(token.token_id for token in tokens)
        gone = [token for token in tokens if token.token_id not in busy]
        withdraw(gone, "the contract does not know it any more")
    memory.known_below = min([memory.known_below, *(token.token_id for token in gone)])
    return len(gone)


def _may_go() -> QuerySet[Token]:
    """Return the tokens without a mint, but those that we revealed: they are for a person."""
    ours = Q(status=TokenStatus.REVEALED, adopted_uri=None)
    return Token.objects.filter(mint_event=None).exclude(ours)


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
