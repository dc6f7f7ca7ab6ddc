"""What happens to a token without a change of its state stands in its timeline, too."""

from collections.abc import Iterable
from typing import Any

from tokens.models import Token, TokenTransition


def note(
    tokens: Iterable[Token],
    *,
    reason: str,
    actor: str,
    detail: dict[str, Any] | None = None,
    to_status: str | None = None,
) -> None:
    """Write into the timeline what happened to tokens without a move.

    `to_status` is what they become by it, if not what they are: nothing, when they are deleted.
    """
    TokenTransition.objects.bulk_create(
        TokenTransition(
            token_id=token.pk,
            from_status=token.status,
            to_status=token.status if to_status is None else to_status,
            reason=reason,
            attempt=token.attempts,
            actor=actor,
            detail=detail or {},
        )
        for token in tokens
    )
