"""Reveals that an operator asks for: by command, from the admin, by the API.

Nobody but the drain sends anything, since one keeper has one sequence of nonces: a request marks
ready tokens as wanted now and wakes it. It takes them through the same gate, only without waiting
for company.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from django.utils import timezone

from reveals.models import RevealRequest
from tokens.models import Token
from tokens.recovery.work import in_flight
from tokens.repairs.results import RepairResult, note, repair_each, wake
from tokens.states import TokenStatus

REQUESTED = "Its reveal is requested: it goes with the next batch."


def request_reveal(
    *,
    token_ids: Iterable[int] = (),
    all_ready: bool = False,
    actor: str,
    dry_run: bool = False,
) -> list[RepairResult]:
    """Have these tokens (or all that are ready) revealed now; return what came of each.

    A token that is unknown, held, not ready, in a transaction already, revealed or failed is
    answered by that name, and the rest goes on. `dry_run` only answers.
    """
    wanted = set(token_ids)
    if all_ready:
        ready = Token.objects.filter(status=TokenStatus.READY, held_at=None)
        wanted.update(ready.values_list("token_id", flat=True))
    if not dry_run:
        RevealRequest.objects.exclude(token__status=TokenStatus.READY).delete()
    request = partial(_request, actor=actor, dry_run=dry_run)
    return repair_each(wanted, request, lock=not dry_run)


def _request(tokens: Sequence[Token], *, actor: str, dry_run: bool) -> list[RepairResult]:
    # After the locks: a reveal that had them first has committed its batch by now.
    revealing = in_flight(token.pk for token in tokens)
    results = []
    for token in tokens:
        refusal = _refusal(token, is_in_flight=token.pk in revealing)
        if not refusal and not dry_run:
            _want(token, actor)
        results.append(RepairResult(token.pk, not refusal, refusal or REQUESTED))
    return results


def _refusal(token: Token, *, is_in_flight: bool) -> str:
    if token.status == TokenStatus.REVEALED:
        by = f" by {token.reveal_tx_hash}" if token.reveal_tx_hash else ", by somebody else"
        return f"It is revealed already{by}."
    if token.status == TokenStatus.FAILED:
        return f"It failed: {token.generation_error or 'see its timeline'} Retry it first."
    if token.status != TokenStatus.READY:
        return f"It is not ready: it is {token.status}."
    if token.held_at is not None:
        return f"It is held: {token.hold_reason}. Release it first."
    if is_in_flight:
        return "Its reveal is under way in a transaction."
    return ""


def _want(token: Token, actor: str) -> None:
    """Mark a locked token, let it be tried at once, and wake the drain with the commit."""
    _, is_new = RevealRequest.objects.get_or_create(token=token, defaults={"actor": actor})
    Token.objects.filter(pk=token.pk).update(next_attempt_at=None, updated_at=timezone.now())
    if is_new:
        note(token, reason="reveal requested", actor=actor, kind="reveal")
    wake(TokenStatus.READY)
