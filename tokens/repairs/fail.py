"""Give tokens up by hand: nothing more is tried until somebody retries or regenerates them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import structlog

from glisk.admin.audit import said
from tokens.models import Token
from tokens.registry import in_flight
from tokens.repairs.results import RepairResult, note, repair_each, with_reason
from tokens.states import ACTIVE, TokenStatus
from tokens.transitions.delays import forget_delay
from tokens.transitions.status import Move, move_tokens

logger = structlog.get_logger(__name__)

ERROR_CLASS = "operator"


def fail_by_hand(
    *, token_ids: Iterable[int], actor: str, reason: str, dry_run: bool = False
) -> list[RepairResult]:
    """Fail tokens for a reason; a worker's claim is taken away, what it paid for stays on record.

    Raises ValueError without a reason. `dry_run`: only say what would happen.
    """
    step = partial(_fail, actor=actor, reason=said(reason), dry_run=dry_run)
    return repair_each(token_ids, step, lock=not dry_run)


def _fail(tokens: Sequence[Token], *, actor: str, reason: str, dry_run: bool) -> list[RepairResult]:
    # After the locks: a reveal that had them first has committed its batch by now.
    revealing = in_flight(token.pk for token in tokens)
    results = []
    for token in tokens:
        if token.status == TokenStatus.FAILED and token.next_attempt_at is not None:
            if not dry_run:
                forget_delay([token.pk], status=TokenStatus.FAILED)
                note(token, reason=with_reason("given up", reason), actor=actor, kind="fail")
            results.append(RepairResult(token.pk, True, "It is not tried again by itself."))
        elif token.status not in ACTIVE:
            results.append(RepairResult(token.pk, False, f"It is {token.status} already."))
        elif token.pk in revealing:
            refusal = "Its reveal is under way in a transaction, which cannot be taken back."
            results.append(RepairResult(token.pk, False, refusal))
        else:
            if not dry_run:
                _give_up(token, actor=actor, reason=reason)
            results.append(RepairResult(token.pk, True, "Failed. A retry lets it go on."))
    return results


def _give_up(token: Token, *, actor: str, reason: str) -> None:
    text = with_reason("Failed by hand", reason)
    move_tokens(
        [
            Move(
                token_id=token.pk,
                reason=text,
                fields={"generation_error": text, "error_class": ERROR_CLASS},
                detail={"repair": "fail"},
            )
        ],
        source=TokenStatus(token.status),
        target=TokenStatus.FAILED,
        actor=actor,
    )
    logger.warning("token_failed_by_hand", token_id=token.pk, actor=actor, reason=reason)
