"""The admin's page of what concerns the whole system: pauses, breakers, recovery, drift."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from glisk import pauses
from glisk.admin.actions import is_first
from glisk.admin.audit import actor_of, record_action
from glisk.breaker import name_of_breaker
from glisk.console import controls
from glisk.console.advice import advice_for_breaker, reason_for_breaker
from glisk.console.system_actions import SYSTEM_ACTIONS, SystemAction, drift_report
from glisk.errors import ProviderError
from glisk.models import OperatorAction
from glisk.permissions import CHECK_DRIFT, PAUSE_STAGE, RESET_BREAKER

URL_NAME = "glisk_systemstate_controls"
_TRAIL_ROWS = 20

# Action: its permission, its service, what is said when it did something, and when it did not.
_ACTIONS: dict[str, tuple[str, Callable[..., bool], str, str]] = {
    "pause": (PAUSE_STAGE, pauses.pause_stage, "is paused now.", "was paused already."),
    "resume": (PAUSE_STAGE, pauses.resume_stage, "goes on.", "was not paused."),
    "reset_breaker": (
        RESET_BREAKER,
        controls.reset_breaker,
        "is called again.",
        "was called already.",
    ),
    "reset_rate": (
        RESET_BREAKER,
        controls.reset_rate_limit,
        "counts from zero.",
        "had counted nothing.",
    ),
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
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Controls",
        "stages": [(stage, paused.get(stage)) for stage in pauses.STAGES],
        "breakers": [
            {
                "breaker": breaker,
                "name": name_of_breaker(breaker.name),
                "reason": reason_for_breaker(breaker.name, breaker.reason),
                "advice": advice_for_breaker(breaker.name, breaker.refusal),
            }
            for breaker in controls.list_breakers()
        ],
        "rates": controls.list_rate_use(),
        "actions": [
            {"action": action, "about": action.about(), "once": secrets.token_urlsafe(16)}
            for action in SYSTEM_ACTIONS
            if request.user.has_perm(action.permission)
        ],
        "drift": drift_report() if request.user.has_perm(CHECK_DRIFT) else None,
        "trail": _trail(),
        "may_pause": request.user.has_perm(PAUSE_STAGE),
        "may_reset": request.user.has_perm(RESET_BREAKER),
        "may_check": request.user.has_perm(CHECK_DRIFT),
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
    name = request.POST.get("action", "")
    action = next((action for action in SYSTEM_ACTIONS if action.name == name), None)
    if action is not None:
        _give(request, action)
        return
    try:
        permission, act, did, did_not = _ACTIONS[name]
    except KeyError:
        raise PermissionDenied from None
    if not request.user.has_perm(permission):
        raise PermissionDenied
    subject = request.POST.get("subject", "")
    try:
        done = act(subject, actor=actor_of(request.user), reason=_reason(request))
    except ValueError as error:
        messages.error(request, str(error))
        return
    say = messages.success if done else messages.warning
    say(request, f"{subject.capitalize()} {did if done else did_not}")


def _give(request: HttpRequest, action: SystemAction) -> None:
    """Do what concerns no single object, once, and write it down."""
    if not request.user.has_perm(action.permission):
        raise PermissionDenied
    if not is_first(request, request.POST.get("once", "")):
        messages.warning(request, f"{action.label} was asked for already, and done once.")
        return
    try:
        said = action.run(actor_of(request.user))
    except ProviderError as error:
        messages.error(request, f"{action.label}: {error}")
        return
    record_action(
        actor=actor_of(request.user),
        action=action.name,
        subject="system",
        reason=_reason(request),
        detail={"said": said},
    )
    messages.success(request, f"{action.label}: {said}")


def _reason(request: HttpRequest) -> str:
    return request.POST.get("reason", "")[:1000]
