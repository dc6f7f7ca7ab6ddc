"""Take back tokens whose mint the chain no longer knows; what happened to them stays on record."""

from __future__ import annotations

import structlog
from django.db import connection, transaction

from glisk.engine.notify import notify
from tokens.channels import PIPELINE_CHANNEL
from tokens.models import ImageGenerationJob, MintEvent, Token, TokenTransition
from tokens.models.job import OPEN_JOB_STATUSES, JobStatus
from tokens.states import TokenStatus

logger = structlog.get_logger(__name__)

ACTOR = "reorg"


def withdraw_mint(event: MintEvent, *, reason: str) -> bool:
    """Delete a mint and its tokens; return False if one of them cannot be taken back.

    A token that is revealed, or in a transaction that is under way, stays, and so does its mint:
    that is an operator's case. Jobs, upload records and the timeline stay under the token's id.
    """
    with transaction.atomic():
        tokens = list(
            Token.objects.select_for_update().filter(mint_event=event).order_by("token_id")
        )
        ids = [token.token_id for token in tokens]
        bound = _bound(tokens)
        if bound:
            logger.critical(
                "mint_gone_but_revealing",
                tx_hash=event.tx_hash,
                token_ids=bound,
                advice="The reveal is on chain or under way: compare with the chain by hand.",
            )
            return False
        TokenTransition.objects.bulk_create(
            TokenTransition(
                token_id=token.token_id,
                from_status=token.status,
                to_status="",
                reason=f"withdrawn: {reason}",
                actor=ACTOR,
                detail={"tx_hash": event.tx_hash, "block_hash": event.block_hash},
            )
            for token in tokens
        )
        ImageGenerationJob.objects.filter(token_id__in=ids, status__in=OPEN_JOB_STATUSES).update(
            status=JobStatus.FAILED, error_class="withdrawn", error=f"withdrawn: {reason}"
        )
        Token.objects.filter(token_id__in=ids).delete()
        event.delete()
        notify(PIPELINE_CHANNEL)
    logger.warning("mint_withdrawn", tx_hash=event.tx_hash, token_ids=ids, reason=reason)
    return True


def _bound(tokens: list[Token]) -> list[int]:
    """Return the tokens that are revealed, or that an open transaction reveals."""
    ids = [token.token_id for token in tokens]
    with connection.cursor() as cursor:
        # reveals' table by its name: tokens may not import reveals.
        cursor.execute(
            "SELECT token_id FROM reveal_batch_tokens WHERE is_open AND token_id = ANY(%s)", [ids]
        )
        in_flight = {row[0] for row in cursor.fetchall()}
    revealed = {t.token_id for t in tokens if t.status == TokenStatus.REVEALED}
    return sorted(in_flight | revealed)
