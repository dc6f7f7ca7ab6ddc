"""The audit page: who did what to tokens, stages, vendors, authors and logins, when and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from glisk.admin.audit import actor_of, said_by
from glisk.admin.tables import as_id
from glisk.breaker import name_of_breaker
from glisk.clock import read_moment
from glisk.models import OperatorAction
from glisk.pauses import STAGE_LABELS
from tokens.models import TokenTransition
from tokens.models.token import BY_PEOPLE

URL_NAME: Final = "admin-audit"
PERMISSION: Final = "glisk.view_operatoraction"
PAGE_SIZE: Final = 50
# By what stands in the table, what people read.
_DEEDS: Final = {
    "pause_stage": "Paused",
    "resume_stage": "Resumed",
    "reset_breaker": "Tried again",
    "reset_rate_limit": "Reset the counter of",
    "reveal_all": "Had all ready tokens revealed",
    "reconcile": "Reconciled reveals",
    "recover": "Read missing mints",
    "check_drift": "Compared with the chain",
    "unlock_login": "Unlocked the login",
    "set_up_second_factor": "Set up a second factor",
    "renew_recovery_codes": "Made new recovery codes",
    "remove_second_factor": "Removed the second factor",
}


@dataclass(frozen=True)
class Entry:
    """What one person did once; `url` leads to the page of what it concerns."""

    at: datetime
    actor: str
    what: str
    about: str = ""
    url: str = ""
    why: str = ""


@dataclass(frozen=True)
class Subject:
    """The one object whose history is asked for: model (`tokens.token`) and key."""

    model: str
    key: str

    @property
    def title(self) -> str:
        return f"{apps.get_model(self.model)._meta.verbose_name} {self.key}"


def may_see_audit(user: Any) -> bool:
    return bool(user.has_perm(PERMISSION))


@admin.site.admin_view
def audit_page(request: HttpRequest) -> HttpResponse:
    """Show a page of the audit, newest first, older than `before`, of all or of one object."""
    if not may_see_audit(request.user):
        raise PermissionDenied
    subject = _subject(request.GET.get("about", ""))
    found = entries(request.user, before=read_moment(request.GET.get("before")), subject=subject)
    older = ""
    if len(found) > PAGE_SIZE:
        given = {"about": f"{subject.model}:{subject.key}"} if subject else {}
        older = urlencode({**given, "before": found[PAGE_SIZE - 1].at.isoformat()})
    context = {
        **admin.site.each_context(request),
        "title": f"Audit: {subject.title}" if subject else "Audit",
        "entries": found[:PAGE_SIZE],
        "subject": subject,
        "older": older,
    }
    return TemplateResponse(request, "admin/audit.html", context)


def entries(
    user: Any, *, before: datetime | None = None, subject: Subject | None = None
) -> list[Entry]:
    """Return one entry more than a page holds, newest first; three queries at most.

    Of objects that this user may not see, nothing is told.
    """
    found = [*_logged(user, before, subject), *_on_the_whole(before, subject)]
    if user.has_perm("tokens.view_token"):
        found += _on_tokens(before, subject)
    return sorted(found, key=lambda entry: entry.at, reverse=True)[: PAGE_SIZE + 1]


def _subject(text: str) -> Subject | None:
    """Read `tokens.token:7`; None for anything else."""
    model, _, key = text.partition(":")
    try:
        apps.get_model(model)
    except (LookupError, ValueError):
        return None
    return Subject(model.lower(), key[:200])


def _page(rows: QuerySet, moment: str, before: datetime | None) -> QuerySet:
    if before is not None:
        rows = rows.filter(**{f"{moment}__lt": before})
    return rows.order_by(f"-{moment}")[: PAGE_SIZE + 1]


def _on_the_whole(before: datetime | None, subject: Subject | None) -> Iterator[Entry]:
    rows = OperatorAction.objects.all()
    if subject is not None:
        if subject.model != "glisk.systemstate":
            return
        rows = rows.filter(subject=subject.key.partition(":")[2] or subject.key)
    for row in _page(rows, "at", before):
        about = ""
        if row.subject != "system":
            is_vendor = row.action.startswith("reset_")
            about = name_of_breaker(row.subject) if is_vendor else row.subject
            about = STAGE_LABELS.get(row.subject, about)
        why = " ".join(filter(None, (row.reason, row.detail.get("said", ""))))
        yield Entry(row.at, said_by(row.actor), _DEEDS.get(row.action, str(row)), about, why=why)


def _on_tokens(before: datetime | None, subject: Subject | None) -> Iterator[Entry]:
    rows = TokenTransition.objects.filter(BY_PEOPLE)
    if subject is not None:
        if subject.model != "tokens.token" or (token_id := as_id(subject.key)) is None:
            return
        rows = rows.filter(token=token_id)
    for row in _page(rows, "created_at", before):
        what, _, why = row.reason.partition(": ")
        if row.from_status != row.to_status:
            move = f"{row.get_from_status_display() or 'New'} → {row.get_to_status_display()}"
            what = f"{what} ({move})" if what else move
        yield Entry(
            row.created_at,
            said_by(row.actor),
            what[:1].upper() + what[1:],
            f"Token #{row.token_id}",
            reverse("admin:tokens_token_change", args=[row.token_id]),
            why,
        )


def _logged(user: Any, before: datetime | None, subject: Subject | None) -> Iterator[Entry]:
    """Yield the admin's own log: actions, and what was added, changed or deleted."""
    models = [model for model, page in admin.site._registry.items() if _may_see(user, page.opts)]
    rows = LogEntry.objects.select_related("user", "content_type")
    kinds = ContentType.objects.get_for_models(*models)
    if subject is not None:
        kind = kinds.get(apps.get_model(subject.model))
        rows = rows.filter(content_type=kind, object_id=subject.key)
    else:
        rows = rows.filter(content_type__in=kinds.values())
    for row in _page(rows, "action_time", before):
        what, _, why = row.get_change_message().partition(" Reason: ")
        url = "" if row.is_deletion() else row.get_admin_url() or ""
        about = f"{row.object_repr[:1].upper()}{row.object_repr[1:]}"
        verb = "" if row.is_change() else f"{row.get_action_flag_display()}. "
        yield Entry(row.action_time, said_by(actor_of(row.user)), verb + what, about, url, why)


def _may_see(user: Any, opts: Any) -> bool:
    return bool(user.has_perm(f"{opts.app_label}.view_{opts.model_name}"))
