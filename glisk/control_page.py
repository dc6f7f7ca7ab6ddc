"""The admin's page of pauses, breakers and rate limits: what stands, and one form for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from glisk import controls
from glisk.models import OperatorAction
from glisk.permissions import PAUSE_STAGE, RESET_BREAKER

URL_NAME = "glisk_systemstate_controls"
_TRAIL_ROWS = 20

# Action: its permission, its service, what is said when it did something, and when it did not.
_ACTIONS: dict[str, tuple[str, Callable[..., bool], str, str]] = {
    "pause": (PAUSE_STAGE, controls.pause_stage, "is paused now.", "was paused already."),
    "resume": (PAUSE_STAGE, controls.resume_stage, "goes on.", "was not paused."),
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


def control_page(request: HttpRequest) -> HttpResponse:
    """Show the controls to whoever may use one of them; do what a form asks for."""
    if not any(request.user.has_perm(permission) for permission in (PAUSE_STAGE, RESET_BREAKER)):
        raise PermissionDenied
    if request.method == "POST":
        _act(request)
        return HttpResponseRedirect(reverse(f"admin:{URL_NAME}"))
    paused = {pause.stage: pause for pause in controls.list_pauses()}
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Controls",
        "stages": [(stage, paused.get(stage)) for stage in controls.STAGES],
        "breakers": controls.list_breakers(),
        "rates": controls.list_rate_use(),
        "trail": OperatorAction.objects.order_by("-at")[:_TRAIL_ROWS],
        "may_pause": request.user.has_perm(PAUSE_STAGE),
        "may_reset": request.user.has_perm(RESET_BREAKER),
    }
    return TemplateResponse(request, "admin/controls.html", context)


def _act(request: HttpRequest) -> None:
    try:
        permission, act, did, did_not = _ACTIONS[request.POST.get("action", "")]
    except KeyError:
        raise PermissionDenied from None
    if not request.user.has_perm(permission):
        raise PermissionDenied
    subject = request.POST.get("subject", "")
    try:
        done = act(
            subject,
            actor=f"admin:{request.user.get_username()}",
            reason=request.POST.get("reason", "")[:1000],
        )
    except ValueError as error:
        messages.error(request, str(error))
        return
    say = messages.success if done else messages.warning
    say(request, f"{subject.capitalize()} {did if done else did_not}")
