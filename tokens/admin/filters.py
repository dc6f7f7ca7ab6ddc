"""The questions that an operator asks of the token list."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from tokens.models import Token
from tokens.models.token import TokenQuerySet
from tokens.states import TokenStatus

_NO_CLASS = "none"
_MOST_FAILED = 100_000


def _failed_lately() -> QuerySet[Token]:
    """Return what failed in the last 24 hours, as the dashboard counts it."""
    since = timezone.now() - timedelta(hours=24)
    return Token.objects.filter(status=TokenStatus.FAILED, status_changed_at__gte=since)


def _among(found: QuerySet[Token]) -> Q:
    """Return a condition on tokens that are found by their own index, before they are sorted.

    Without the limit the planner reads all that ever failed, newest first, hoping for fifty.
    """
    return Q(pk__in=found.order_by("-status_changed_at").values("pk")[:_MOST_FAILED])


def _stuck(tokens: TokenQuerySet) -> TokenQuerySet:
    since = timezone.now() - timedelta(seconds=settings.STUCK_AFTER_SECONDS)
    return tokens.active().filter(held_at=None, status_changed_at__lte=since)


def _unpinned(tokens: TokenQuerySet) -> TokenQuerySet:
    stages = (TokenStatus.GENERATING, TokenStatus.UPLOADING, TokenStatus.FAILED)
    return tokens.filter(status__in=stages, image_cid__isnull=False, metadata_cid__isnull=True)


# By its name what is asked, and what answers; other apps add theirs while their admin loads.
QUESTIONS: dict[str, tuple[str, Callable[[TokenQuerySet], TokenQuerySet]]] = {
    "stalled": ("Stalled: the worker is gone", lambda tokens: tokens.stalled()),
    "stuck": ("Without progress", _stuck),
    "held": ("Held", lambda tokens: tokens.active().filter(held_at__isnull=False)),
    "retrying": (
        "Waiting for a retry",
        lambda tokens: tokens.active().filter(next_attempt_at__isnull=False),
    ),
    "failed_today": ("Failed in 24 hours", lambda tokens: tokens.filter(_among(_failed_lately()))),
    "unpinned": ("Image without metadata CID", _unpinned),
}


class AttentionFilter(admin.SimpleListFilter):
    """Tokens that may need a hand."""

    title = "attention"
    parameter_name = "attention"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, title) for name, (title, _) in QUESTIONS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Token]) -> QuerySet[Token]:
        assert isinstance(queryset, TokenQuerySet)
        asked = QUESTIONS.get(self.value() or "")
        return asked[1](queryset) if asked else queryset


class FailedTodayFilter(admin.SimpleListFilter):
    """What failed in the last 24 hours, by class; only the classes that there are."""

    title = "failed in 24 hours"
    parameter_name = "failed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        counted = _failed_lately().values_list("error_class").annotate(number=Count("pk"))
        return [
            (name or _NO_CLASS, f"{name or 'no class'} ({number})")
            for name, number in counted.order_by("-number", "error_class")
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Token]) -> QuerySet[Token]:
        if self.value() is None:
            return queryset
        error_class = "" if self.value() == _NO_CLASS else self.value()
        return queryset.filter(_among(_failed_lately().filter(error_class=error_class)))


def failed_url(error_class: str) -> str:
    """Return the list of the tokens that failed in 24 hours by this class."""
    chosen = urlencode({FailedTodayFilter.parameter_name: error_class or _NO_CLASS})
    return f"{reverse('admin:tokens_token_changelist')}?{chosen}"
