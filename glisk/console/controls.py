"""The controls: pauses, breakers, rate limits and recovery by hand, on a page of the admin.

Everything done here leaves an audit row.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from glisk import pauses
from glisk.admin.actions import is_first
from glisk.admin.audit import actor_of, record_action, said
from glisk.breaker import BreakerState, name_of_breaker
from glisk.clock import read_moment
from glisk.console.advice import advice_for_breaker, reason_for_breaker
from glisk.console.system_actions import SYSTEM_ACTIONS, SystemAction, drift_report
from glisk.errors import ProviderError
from glisk.models import OperatorAction, SystemState
from glisk.permissions import CHECK_DRIFT, PAUSE_STAGE, RESET_BREAKER
from glisk.rate_limit import WINDOW_SECONDS, LimitState

URL_NAME = "glisk_systemstate_controls"
_TRAIL_ROWS = 20


@dataclass(frozen=True)
class BreakerInfo:
    """One vendor's breaker: `probe_at` is when one call is tried again while it is open."""

    name: str
    label: str
    is_open: bool
    reason: str
    advice: str
    since: datetime | None
    probe_at: datetime | None


@dataclass(frozen=True)
class RateUse:
    """How many calls one vendor's limit has let through in the last minute.

    `per_minute` is the limit that was found, if one is; nothing starts before `until`.
    """

    name: str
    used: int
    per_minute: float | None = None
    until: datetime | None = None


def reset_breaker(name: str, *, actor: str, reason: str) -> bool:
    """Close a vendor's breaker, as if its next calls were sure to work; they open it otherwise.

    Returns False if it was closed and had counted no failure. Raises ValueError for an unknown
    breaker or without a reason.
    """

    def closed(value: dict[str, Any]) -> dict[str, Any] | None:
        was = BreakerState.parse(value)
        return None if was.state == "closed" and was.failures == 0 else asdict(BreakerState())

    return _reset(f"breaker:{name}", "reset_breaker", closed, actor=actor, reason=reason)


def reset_rate_limit(name: str, *, actor: str, reason: str) -> bool:
    """Forget what was found and counted, for a limit that was raised; False if there was nothing.

    Raises ValueError for an unknown limit or without a reason.
    """

    def forgotten(value: dict[str, Any]) -> dict[str, Any] | None:
        return {} if value else None

    return _reset(f"limit:{name}", "reset_rate_limit", forgotten, actor=actor, reason=reason)


def _reset(
    key: str,
    action: str,
    changed: Callable[[dict[str, Any]], dict[str, Any] | None],
    *,
    actor: str,
    reason: str,
) -> bool:
    reason = said(reason)
    with transaction.atomic():
        row = SystemState.objects.select_for_update().filter(pk=key).first()
        if row is None:
            raise ValueError(f"There is no {key.replace(':', ' ')!r}.")
        if (value := changed(row.state_value)) is None:
            return False
        record_action(
            actor=actor,
            action=action,
            subject=key.partition(":")[2],
            reason=reason,
            detail={"was": row.state_value},
        )
        row.state_value = value
        row.save()
    return True


def list_breakers() -> list[BreakerInfo]:
    """Return every breaker that has ever counted a failure, the closed ones too."""
    found = []
    for name, value in _states("breaker:"):
        state = BreakerState.parse(value)
        is_open = state.state == "open"
        found.append(
            BreakerInfo(
                name=name,
                label=name_of_breaker(name),
                is_open=is_open,
                reason=reason_for_breaker(name, state.reason),
                advice=advice_for_breaker(name, state),
                since=read_moment(state.since),
                probe_at=read_moment(state.retry_at) if is_open else None,
            )
        )
    return found


def list_rate_use() -> list[RateUse]:
    """Return how much of each rate limit was used in the last minute, and what was found."""
    now, uses = time.time(), []
    for name, value in _states("limit:"):
        limit = LimitState.parse(value)
        used = sum(n for second, n in limit.calls.items() if int(second) >= now - WINDOW_SECONDS)
        until = datetime.fromtimestamp(limit.until, UTC) if limit.until > now else None
        uses.append(RateUse(name, used, limit.limit_at(now), until))
    return uses


def _states(prefix: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the stored states under a prefix, by their bare names."""
    return [
        (row.state_key.removeprefix(prefix), row.state_value)
        for row in SystemState.objects.filter(pk__startswith=prefix).order_by("pk")
        if isinstance(row.state_value, dict)
    ]


# -- the page ----------------------------------------------------------------------------

# Action: its permission, its service, what is said when it did something, and when it did not.
_ACTIONS: dict[str, tuple[str, Callable[..., bool], str, str]] = {
    "pause": (PAUSE_STAGE, pauses.pause_stage, "is paused now.", "was paused already."),
    "resume": (PAUSE_STAGE, pauses.resume_stage, "goes on.", "was not paused."),
    "reset_breaker": (RESET_BREAKER, reset_breaker, "is called again.", "was called already."),
    "reset_rate": (RESET_BREAKER, reset_rate_limit, "counts from zero.", "had counted nothing."),
}


def may_control(user: Any) -> bool:
    """Tell whether somebody may use any of the controls."""
    permissions = {PAUSE_STAGE, RESET_BREAKER, *(action.permission for action in SYSTEM_ACTIONS)}
    return any(user.has_perm(permission) for permission in sorted(permissions))


def control_page(request: HttpRequest) -> HttpResponse:
    """Show the controls to whoever may use one of them; do what a form asks for."""
    if not may_control(request.user):
        raise PermissionDenied
    if request.method == "POST":
        _act(request)
        return HttpResponseRedirect(reverse(f"admin:{URL_NAME}"))
    paused = {pause.stage: pause for pause in pauses.list_pauses()}
    may_check = request.user.has_perm(CHECK_DRIFT)
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Controls",
        "stages": [(stage, paused.get(stage)) for stage in pauses.STAGES],
        "breakers": list_breakers(),
        "rates": list_rate_use(),
        "actions": [
            {"action": action, "about": action.about(), "once": secrets.token_urlsafe(16)}
            for action in SYSTEM_ACTIONS
            if request.user.has_perm(action.permission)
        ],
        "drift": drift_report() if may_check else None,
        "trail": _trail(),
        "may_pause": request.user.has_perm(PAUSE_STAGE),
        "may_reset": request.user.has_perm(RESET_BREAKER),
        "may_check": may_check,
    }
    return TemplateResponse(request, "admin/controls.html", context)


def _trail() -> list[dict[str, Any]]:
    """Return what operators did lately, in words."""
    return [
        {
            "at": action.at,
            "who": action.actor.removeprefix("admin:"),
            "what": f"{action.action.replace('_', ' ').capitalize()}"
            + ("" if action.subject == "system" else f": {action.subject}"),
            "reason": action.reason,
            "detail": action.detail,
        }
        for action in OperatorAction.objects.order_by("-at")[:_TRAIL_ROWS]
    ]


def _act(request: HttpRequest) -> None:
    name, actor = request.POST.get("action", ""), actor_of(request.user)
    reason = request.POST.get("reason", "")[:1000]
    action = next((action for action in SYSTEM_ACTIONS if action.name == name), None)
    if action is None and name not in _ACTIONS:
        raise PermissionDenied
    if not request.user.has_perm(action.permission if action else _ACTIONS[name][0]):
        raise PermissionDenied
    if action:
        _do_once(request, action, actor, reason)
        return
    _, act, did, did_not = _ACTIONS[name]
    subject = request.POST.get("subject", "")
    try:
        done = act(subject, actor=actor, reason=reason)
    except ValueError as error:
        messages.error(request, str(error))
        return
    say = messages.success if done else messages.warning
    say(request, f"{subject.capitalize()} {did if done else did_not}")


def _do_once(request: HttpRequest, action: SystemAction, actor: str, reason: str) -> None:
    """Do what concerns no single object, once, and write it down."""
    if not is_first(request, request.POST.get("once", "")):
        messages.warning(request, f"{action.label} was asked for already, and done once.")
        return
    try:
        done = action.run(actor)
    except ProviderError as error:
        messages.error(request, f"{action.label}: {error}")
        return
    record_action(
        actor=actor, action=action.name, subject="system", reason=reason, detail={"said": done}
    )
    messages.success(request, f"{action.label}: {done}")
