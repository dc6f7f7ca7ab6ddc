"""The admin's page of the controls, and the question that a banner's button leads to."""

from __future__ import annotations

import secrets
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from glisk import pauses
from glisk.admin.actions import is_first
from glisk.admin.audit import actor_of, record_action
from glisk.console.controls import (
    CONTROLS,
    URL_NAME,
    Control,
    label_of,
    list_breakers,
    list_rate_use,
    may_see_controls,
)
from glisk.console.overview.causes import find_causes, one_for_one_cause
from glisk.errors import ProviderError
from glisk.models import SystemState
from tokens.recovery.drift import ADVICE, last_report
from tokens.recovery.drift import KEY as DRIFT_KEY


def control_page(request: HttpRequest) -> HttpResponse:
    """Show the controls, or ask whether to use the one of the address; do what a form asks for."""
    if not may_see_controls(request.user):
        raise PermissionDenied
    if request.method == "POST":
        return _act(request)
    if "action" in request.GET:
        return _ask(request)
    paused = {pause.stage: pause for pause in pauses.list_pauses()}
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Controls",
        "stages": [(stage, label_of(stage), paused.get(stage)) for stage in pauses.STAGES],
        "breakers": list_breakers(),
        "rates": list_rate_use(),
        "actions": [
            control
            for control in CONTROLS
            if control.about and request.user.has_perm(control.permission)
        ],
        "once": secrets.token_urlsafe(16),
        "drift": drift_report(),
    }
    return TemplateResponse(request, "admin/controls.html", context)


def _permitted(request: HttpRequest, name: str | None) -> Control:
    control = next((control for control in CONTROLS if control.name == name), None)
    if control is None or not request.user.has_perm(control.permission):
        raise PermissionDenied
    return control


def _ask(request: HttpRequest) -> HttpResponse:
    """Ask before one control is used on some subjects: where a banner's button leads."""
    control = _permitted(request, request.GET["action"])
    subjects = request.GET.getlist("subject")
    if control.about or not subjects:
        raise PermissionDenied
    labels = ", ".join(label_of(subject) for subject in subjects)
    causes = one_for_one_cause(find_causes())
    troubles = [each for each in causes if set(each.subjects) & set(subjects)]
    given = [("action", control.name), ("next", "dashboard")]
    context = {
        **admin.site.each_context(request),
        "title": f"{control.label}: {labels}",
        "action": control,
        "reason": "required" if control.asks_why else "optional",
        "address": reverse(f"admin:{URL_NAME}"),
        "given": [*given, *(("subject", subject) for subject in subjects)],
        "troubles": troubles,
        "can_be_done": bool(troubles),
        "back": reverse("admin:index"),
    }
    return TemplateResponse(request, "admin/control_question.html", context)


def _act(request: HttpRequest) -> HttpResponse:
    control = _permitted(request, request.POST.get("action"))
    if control.about and not is_first(request, request.POST.get("once", "")):
        messages.warning(request, f"{control.label} was asked for already, and done once.")
    else:
        for subject in request.POST.getlist("subject") or [""]:
            _use(request, control, subject)
    from_banner = request.POST.get("next") == "dashboard"
    return HttpResponseRedirect(reverse("admin:index" if from_banner else f"admin:{URL_NAME}"))


def _use(request: HttpRequest, control: Control, subject: str) -> None:
    actor, reason = actor_of(request.user), request.POST.get("reason", "")[:1000]
    try:
        done = control.run(subject, actor, reason)
    except (ProviderError, ValueError) as error:
        messages.error(request, f"{control.label}: {error}")
        return
    if control.about:
        record_action(
            actor=actor, action=control.name, subject="system", reason=reason, detail={"said": done}
        )
    messages.success(request, f"{control.label}: {done}")


def drift_report() -> dict[str, Any] | None:
    """Return the last comparison with the chain for a page: when, what differs, what to do."""
    stored = SystemState.objects.filter(pk=DRIFT_KEY).values_list("updated_at", flat=True)
    if (at := stored.first()) is None:
        return None
    report = last_report()
    kinds = [
        (kind, number, ADVICE.get(kind), [each for each in report.findings if each.kind == kind])
        for kind, number in sorted(report.counts.items())
    ]
    return {"at": at, "report": report, "kinds": kinds}
