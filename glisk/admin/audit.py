"""What operators did: who they are in the books, and to the system as a whole, what and why."""

from __future__ import annotations

from typing import Any

import structlog

from glisk.models import OperatorAction

logger = structlog.get_logger(__name__)


def actor_of(user: Any) -> str:
    """Return the name under which what somebody of the staff does stands in timelines and audit."""
    return f"operator {user.get_username()}"


def said_by(actor: str) -> str:
    """Return an actor as people read it: the name of a login or of a command."""
    return actor.removeprefix("operator ")


def record_action(
    *, actor: str, action: str, subject: str, reason: str, detail: dict[str, Any] | None = None
) -> OperatorAction:
    """Write an audit row, in the transaction of what it tells of."""
    logger.warning("operator_action", actor=actor, action=action, subject=subject, reason=reason)
    return OperatorAction.objects.create(
        actor=actor, action=action, subject=subject, reason=reason, detail=detail or {}
    )


def said(text: str) -> str:
    """Return an operator's reason on one line; raise ValueError if there is none."""
    text = " ".join(text.split())
    if not text:
        raise ValueError("Say why: the reason is kept.")
    return text
