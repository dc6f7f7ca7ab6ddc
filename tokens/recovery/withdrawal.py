"""Take tokens from a mint that the chain no longer knows; what happened to them stays on record.

What becomes of a token depends on who owns its number now:

| the number belongs to     | token revealed on chain               | token not revealed       |
|---------------------------|---------------------------------------|--------------------------|
| a mint of the same author | waits for that mint, as it is         | the same: not paid twice |
| a mint of another author  | is handed to that author, as it is    | withdrawn: made anew     |
| nobody                    | stays, without a mint: needs a person | withdrawn                |

What others revealed for nobody is withdrawn too: nothing of ours is in it, and whoever mints the
id is told of the reveal then.

The new mint's registration then completes the tokens that wait, and creates those that are gone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import structlog
from django.db import connection
from django.db.models import Case, Value, When
from django.db.models.functions import Now

from glisk.engine.broker import notify
from tokens.minting.mint_log import MintLog
from tokens.models import ImageGenerationJob, MintEvent, Token
from tokens.models.job import OPEN_JOB_STATUSES, JobStatus
from tokens.recovery.progress import forget_from
from tokens.registry import in_flight
from tokens.states import TokenStatus
from tokens.transitions import PIPELINE_CHANNEL
from tokens.transitions.chain import attribute_token, delete_tokens, detach_from_mint

logger = structlog.get_logger(__name__)

ACTOR = "reorg"


def lock_mints() -> None:
    """Let no mint be registered until this transaction ends; those under way end first."""
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE mint_events IN SHARE ROW EXCLUSIVE MODE")


def retire_mint(event: MintEvent, owners: Mapping[int, MintLog], revealed: Collection[int]) -> bool:
    """Delete a mint and give up its tokens; return False if one is being revealed right now.

    `owners` names the mint that the chain has for a token id, if there is one; `revealed` are
    the tokens that it calls revealed. To be called under `lock_mints`.
    """
    tokens = list(Token.objects.select_for_update().filter(mint_event=event).order_by("token_id"))
    ours = [t for t in tokens if t.status == TokenStatus.REVEALED and t.adopted_uri is None]
    if in_flight(token.pk for token in tokens) or any(t.pk not in revealed for t in ours):
        return False  # our transaction may come back: the reveal's own watch decides
    reason = f"its mint {event.tx_hash} is not part of the chain any more"
    give_up(tokens, owners, revealed, reason=reason)
    event.delete()
    forget_from(event.start_token_id)
    logger.warning("mint_retired", tx_hash=event.tx_hash, first=event.start_token_id)
    return True


def give_up(
    tokens: Sequence[Token],
    owners: Mapping[int, MintLog],
    revealed: Collection[int],
    *,
    reason: str,
) -> None:
    """Withdraw, detach or hand over locked tokens, none of which is being revealed."""
    gone: list[Token] = []
    kept: list[Token] = []
    for token in tokens:
        owner = owners.get(token.pk)
        stays = token.status == TokenStatus.REVEALED and token.pk in revealed
        if owner is not None and owner.prompt_author == token.prompt_author_wallet:
            kept.append(token)
        elif owner is not None and stays:
            kept.append(token)
            wallet = owner.prompt_author
            attribute_token(token.pk, wallet=wallet)
            logger.critical("revealed_for_another_author", token_id=token.pk, author=wallet)
        elif stays and token.adopted_uri is None:
            kept.append(token)
            logger.critical(
                "revealed_without_a_mint",
                token_id=token.pk,
                reason=reason,
                advice="A reveal cannot be taken back: whoever mints this id gets this art.",
            )
        else:
            gone.append(token)
    detach_from_mint(kept, reason=reason, actor=ACTOR)
    withdraw(gone, reason)


def withdraw(tokens: Sequence[Token], reason: str) -> None:
    """Delete locked tokens; their jobs, uploads and timeline stay under their ids."""
    if not tokens:
        return
    ids = [token.token_id for token in tokens]
    close_jobs_of(ids, why=f"withdrawn: {reason}")
    delete_tokens(tokens, reason=f"withdrawn: {reason}", actor=ACTOR)
    forget_from(min(ids))
    notify(PIPELINE_CHANNEL)
    logger.warning("tokens_withdrawn", token_ids=ids, reason=reason)


def close_jobs_of(token_ids: Sequence[int], *, why: str) -> None:
    """End the open generation jobs of tokens; ids and costs stay in the books.

    A call without a reply is closed as rejected: should the vendor have accepted it, its id and
    cost are entered all the same (tokens.pipeline.jobs), and nothing else follows.
    """
    is_unanswered = When(status=JobStatus.CREATED, then=Value(JobStatus.REJECTED))
    ImageGenerationJob.objects.filter(token_id__in=token_ids, status__in=OPEN_JOB_STATUSES).update(
        status=Case(is_unanswered, default=Value(JobStatus.FAILED)),
        error_class="withdrawn",
        error=why,
        completed_at=Now(),
    )
