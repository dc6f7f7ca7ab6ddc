"""The controls: pauses, breakers, limits, reveals and recovery by hand (page: control_page).

Everybody who may see the system's state may look; each button needs its permission. Everything
done here leaves an audit row.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.db import transaction
from django.db.models import QuerySet
from django_q.tasks import async_task

from glisk import pauses
from glisk.admin.actions import MOST_AT_ONCE
from glisk.admin.audit import record_action, said
from glisk.breaker import BreakerState, name_of_breaker
from glisk.clients.chain import ChainClient
from glisk.console.overview.causes import Trouble, find_causes
from glisk.management.base import counted
from glisk.models import SystemState
from glisk.permissions import (
    CHECK_DRIFT,
    PAUSE_STAGE,
    RECONCILE,
    RESET_BREAKER,
    REVEAL_NOW,
    RUN_RECOVERY,
)
from glisk.rate_limit import WINDOW_SECONDS, LimitState
from reveals.admin.tokens import reveal_cost
from reveals.by_hand import request_reveal
from reveals.reconcile import compare_transactions, reconcile_reveals
from tokens.models import Token

URL_NAME = "glisk_systemstate_controls"


@dataclass(frozen=True)
class Control:
    """A button of the page; `run(subject, actor, reason)` says what it did.

    One with an `about`, which says what it does and what that costs now, concerns the whole system:
    it is done once, however often it is pressed. `asks_why`: not without a reason.
    """

    name: str
    label: str
    permission: str
    run: Callable[[str, str, str], str]
    about: str | Callable[[], str] = ""
    icon: str = ""
    asks_why: bool = False


# -- what is done to a stage or a vendor ---------------------------------------------------


def reset_breaker(name: str, *, actor: str, reason: str) -> bool:
    """Close a vendor's breaker, as if its next calls were sure to work; they open it otherwise.

    Returns False if it was closed and had counted no failure. Raises ValueError for an unknown
    breaker or without a reason.
    """
    closed = asdict(BreakerState())
    return _reset(f"breaker:{name}", closed, action="reset_breaker", actor=actor, reason=reason)


def reset_rate_limit(name: str, *, actor: str, reason: str) -> bool:
    """Forget what was found and counted, for a limit that was raised; False if there was nothing.

    Raises ValueError for an unknown limit or without a reason.
    """
    return _reset(f"limit:{name}", {}, action="reset_rate_limit", actor=actor, reason=reason)


def _reset(key: str, value: dict[str, Any], *, action: str, actor: str, reason: str) -> bool:
    reason, subject = said(reason), key.partition(":")[2]
    with transaction.atomic():
        row = SystemState.objects.select_for_update().filter(pk=key).first()
        if row is None:
            raise ValueError(f"There is no {key.replace(':', ' ')!r}.")
        if row.state_value == value:
            return False
        detail = {"was": row.state_value}
        record_action(actor=actor, action=action, subject=subject, reason=reason, detail=detail)
        row.state_value = value
        row.save()
    return True


def label_of(subject: str) -> str:
    """Return a stage or a vendor as people read it."""
    return pauses.STAGE_LABELS.get(subject) or name_of_breaker(subject)


def _to_one(
    service: Callable[..., bool], did: str, why: str = ""
) -> Callable[[str, str, str], str]:
    """Return what a button does to one subject; `why` stands where a person gave no reason."""

    def run(subject: str, actor: str, reason: str) -> str:
        if not service(subject, actor=actor, reason=reason.strip() or why):
            raise ValueError(f"{label_of(subject)}: there is nothing to do.")
        return f"{label_of(subject)}: {did}"

    return run


# -- what is done to the system as a whole -------------------------------------------------


def _ready() -> QuerySet[Token]:
    found: QuerySet[Token] = Token.objects.ready().filter(held_at=None)
    return found.exclude(batch_items__is_open=True)[:MOST_AT_ONCE]


def _reveal_all(_: str, actor: str, reason: str) -> str:
    results = request_reveal(token_ids=_ready().values_list("pk", flat=True), actor=actor)
    skipped = [result.message for result in results if not result.done]
    left_out = f" {len(skipped)} skipped: {' '.join(sorted(set(skipped)))}"
    going = counted(len(results) - len(skipped), "reveal")
    return f"{going} requested.{left_out if skipped else ''}"


def _reconcile(_: str, actor: str, reason: str) -> str:
    chain = ChainClient.from_settings()
    compared = compare_transactions(chain, actor=actor)
    found = reconcile_reveals(chain, actor=actor)
    counts = Counter([*compared.values(), *found.values()])
    told = "".join(f", {number} {what}" for what, number in counts.items())
    compared_too = counted(len(compared), "transaction")
    return f"{compared_too}, {counted(len(found), 'ready token')} compared{told}."


def _recover(_: str, actor: str, reason: str) -> str:
    async_task("tokens.tasks.look_at_chain")
    async_task("tokens.tasks.prove_completeness")
    return "A worker reads the chain now; see the log and the comparison below."


def _compare(_: str, actor: str, reason: str) -> str:
    async_task("tokens.tasks.compare_everything")
    return "A worker compares them now; the report below is replaced when it is done."


CONTROLS: Final = (
    Control("pause", "Pause", PAUSE_STAGE, _to_one(pauses.pause_stage, "paused."), asks_why=True),
    Control(
        "resume", "Resume", PAUSE_STAGE, _to_one(pauses.resume_stage, "resumed."), asks_why=True
    ),
    Control(
        "reset_breaker",
        "Try now",
        RESET_BREAKER,
        _to_one(reset_breaker, "the next call is made now.", "Tried again by hand."),
    ),
    Control(
        "reset_rate",
        "Reset counter",
        RESET_BREAKER,
        _to_one(reset_rate_limit, "the counter is reset.", "Reset by hand."),
    ),
    Control(
        "reveal_all",
        "Reveal all ready tokens",
        REVEAL_NOW,
        _reveal_all,
        lambda: reveal_cost(_ready().count()) or "No token is ready.",
        "visibility",
    ),
    Control(
        "reconcile",
        "Reconcile reveals",
        RECONCILE,
        _reconcile,
        "Compares transactions and ready tokens with the chain. The chain is right.",
        "sync_alt",
    ),
    Control(
        "recover",
        "Read missing mints",
        RUN_RECOVERY,
        _recover,
        "Reads new and missing mints from the chain. The worker does so every few seconds.",
        "healing",
    ),
    Control(
        "check_drift",
        "Compare with the chain",
        CHECK_DRIFT,
        _compare,
        "Proves that no mint is missing, and compares tokens with the contract, the newest first, "
        "for four minutes (all of them: manage.py check_drift). Changes no token.",
        "difference",
    ),
)


# -- what a page shows of them -------------------------------------------------------------


def may_see_controls(user: Any) -> bool:
    """Tell whether somebody may look at the controls, or use any of them."""
    return user.has_perm("glisk.view_systemstate") or any(
        user.has_perm(control.permission) for control in CONTROLS
    )


def list_breakers() -> list[tuple[str, str, Trouble | None]]:
    """Return every breaker that has ever counted a failure: name, label, and what is wrong."""
    troubles = {cause.name: cause for cause in find_causes() if cause.kind == "breaker"}
    names = [name for name, _ in _states("breaker:")]
    return [(name, name_of_breaker(name), troubles.get(name)) for name in names]


def list_rate_use() -> list[dict[str, Any]]:
    """Return how many calls each vendor's limit has let through in the last minute.

    `per_minute` is the limit that was found, if one is; nothing starts before `until`.
    """
    now, uses = time.time(), []
    for name, value in _states("limit:"):
        limit = LimitState.parse(value)
        used = sum(n for second, n in limit.calls.items() if int(second) >= now - WINDOW_SECONDS)
        until = datetime.fromtimestamp(limit.until, UTC) if limit.until > now else None
        per_minute = limit.limit_at(now)
        uses.append(
            {
                "name": name,
                "label": label_of(name),
                "used": used,
                "per_minute": per_minute,
                "until": until,
            }
        )
    return uses


def _states(prefix: str) -> list[tuple[str, Any]]:
    """Return the stored states under a prefix, by their bare names."""
    rows = SystemState.objects.filter(pk__startswith=prefix).order_by("pk")
    return [(row.state_key.removeprefix(prefix), row.state_value) for row in rows]
