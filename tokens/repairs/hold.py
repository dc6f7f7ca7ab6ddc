"""Hold tokens back and let them go, or give them up.

Nothing new is begun for a held token, and no reveal; nor for one that was failed by hand, until
somebody retries or regenerates it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import structlog

from tokens.models import Token
from tokens.registry import in_flight
from tokens.repairs.results import RepairResult, in_work, note, service, wake, with_reason
from tokens.states import ACTIVE, TokenStatus
from tokens.transitions.claims import forget_delay, hold, release_hold
from tokens.transitions.status import Move, move_tokens

logger = structlog.get_logger(__name__)

ERROR_CLASS = "operator"
_REVEALING = "Its reveal is under way in a transaction, which cannot be taken back."


@service(needs_reason=True)
def hold_tokens(
    tokens: Sequence[Token], *, actor: str, reason: str, dry_run: bool
) -> Iterator[RepairResult]:
    """Hold tokens until they are released; what a worker has begun may end."""
    # After the locks: a reveal that had them first has committed its batch by now.
    revealing, working = in_flight(token.pk for token in tokens), in_work(tokens)
    for token in tokens:
        refusal = ""
        if token.status not in ACTIVE:
            refusal = f"It is {token.status}: there is nothing to hold back."
        elif token.held_at is not None:
            refusal = f"It is held already: {token.hold_reason}"
        elif token.pk in revealing:
            refusal = _REVEALING
        elif not dry_run:
            hold(token.pk, reason=reason)
            note(token, reason=with_reason("held", reason), actor=actor, kind="hold")
        busy = " What a worker has begun ends first." if token.pk in working else ""
        yield RepairResult(token.pk, not refusal, refusal or f"Held.{busy}")


@service()
def release_tokens(
    tokens: Sequence[Token], *, actor: str, reason: str, dry_run: bool
) -> Iterator[RepairResult]:
    """Let held tokens go on."""
    for token in tokens:
        if token.held_at is None:
            yield RepairResult(token.pk, False, "It is not held.")
            continue
        if not dry_run:
            release_hold(token.pk)
            note(token, reason=with_reason("released", reason), actor=actor, kind="release")
            wake(token.status)
        yield RepairResult(token.pk, True, f"Released: it goes on as {token.status}.")


@service(needs_reason=True)
def fail_by_hand(
    tokens: Sequence[Token], *, actor: str, reason: str, dry_run: bool
) -> Iterator[RepairResult]:
    """Fail tokens for a reason; a worker's claim is taken away, what it paid for stays on record.

    One that has failed is not tried again by itself from now on.
    """
    # After the locks: a reveal that had them first has committed its batch by now.
    revealing = in_flight(token.pk for token in tokens)
    for token in tokens:
        if token.status == TokenStatus.FAILED and token.next_attempt_at is not None:
            if not dry_run:
                forget_delay([token.pk], status=TokenStatus.FAILED)
                note(token, reason=with_reason("given up", reason), actor=actor, kind="fail")
            yield RepairResult(token.pk, True, "It is tried again by a person only.")
        elif token.status not in ACTIVE:
            yield RepairResult(token.pk, False, f"It is {token.status} already.")
        elif token.pk in revealing:
            yield RepairResult(token.pk, False, _REVEALING)
        else:
            if not dry_run:
                text = with_reason("Failed by hand", reason)
                columns = {"generation_error": text, "error_class": ERROR_CLASS}
                move_tokens(
                    [Move(token.pk, reason=text, fields=columns, detail={"repair": "fail"})],
                    source=TokenStatus(token.status),
                    target=TokenStatus.FAILED,
                    actor=actor,
                )
            yield RepairResult(token.pk, True, "Failed. A retry lets it go on.")
