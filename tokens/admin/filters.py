"""The questions that an operator asks of the token list."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from tokens.models import Token
from tokens.querysets import TokenQuerySet
from tokens.states import ACTIVE, TokenStatus


class AttentionFilter(admin.SimpleListFilter):
    """Tokens that may need a hand."""

    title = "attention"
    parameter_name = "attention"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("stalled", "Stalled: the worker is gone"),
            ("held", "Held"),
            ("retrying", "Waiting for a retry"),
            ("failed_today", "Failed today"),
            ("unpinned", "Image without metadata CID"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Token]) -> QuerySet[Token]:
        assert isinstance(queryset, TokenQuerySet)
        if self.value() == "stalled":
            return queryset.stalled()
        if self.value() == "held":
            return queryset.active().filter(held_at__isnull=False)
        conditions = {
            "retrying": Q(status__in=ACTIVE, next_attempt_at__isnull=False),
            "failed_today": Q(
                status=TokenStatus.FAILED,
                status_changed_at__gte=timezone.now().replace(hour=0, minute=0, second=0),
            ),
            "unpinned": Q(
                status__in=(TokenStatus.GENERATING, TokenStatus.UPLOADING, TokenStatus.FAILED),
                image_cid__isnull=False,
                metadata_cid__isnull=True,
            ),
        }
        wanted = conditions.get(self.value() or "")
        return queryset if wanted is None else queryset.filter(wanted)
