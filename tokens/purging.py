"""Let go of image bytes: of tokens some days after the reveal, and of samples; in small batches.

What the bytes were (sha256, size, type, dimensions) stays for ever, and IPFS keeps those of tokens.
They go only when nothing can want them any more: the token is revealed, and no reorg can take that
back. A sample's cost stays.
"""

from __future__ import annotations

from datetime import timedelta

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from glisk.engine.schedules import BUDGET_SECONDS, in_portions
from tokens.models import PromptSample, TokenImage
from tokens.registry import is_perhaps_revealed
from tokens.states import TokenStatus

logger = structlog.get_logger(__name__)

ROWS_AT_ONCE = 100


def purge_images() -> int:
    """Delete the bytes of images that were revealed IMAGE_RETENTION_DAYS ago; return how many."""
    before = timezone.now() - timedelta(days=settings.IMAGE_RETENTION_DAYS)
    old = TokenImage.objects.filter(
        ~is_perhaps_revealed("token_id"),
        Q(token__revealed_at=None) | Q(token__revealed_at__lt=before),
        data__isnull=False,
        created_at__lt=before,
        token__status=TokenStatus.REVEALED,
        token__status_changed_at__lt=before,
    ).order_by("created_at")

    def purge(limit: int) -> int:
        with transaction.atomic():
            mine = old.select_for_update(of=("self",), skip_locked=True)
            ids = list(mine.values_list("pk", flat=True)[:limit])
            return TokenImage.objects.filter(pk__in=ids).update(data=None)

    purged = in_portions(purge, at_once=ROWS_AT_ONCE, budget_seconds=BUDGET_SECONDS)
    if purged:
        logger.info("images_purged", images=purged)
    return purged


def purge_samples() -> int:
    """Delete the bytes of samples that ended SAMPLE_RETENTION_DAYS ago; return how many."""
    age = timedelta(days=settings.SAMPLE_RETENTION_DAYS)
    old = PromptSample.objects.filter(
        data__isnull=False, completed_at__lt=timezone.now() - age
    ).order_by("completed_at")

    def purge(limit: int) -> int:
        return PromptSample.objects.filter(pk__in=old.values("pk")[:limit]).update(data=None)

    return in_portions(purge, at_once=ROWS_AT_ONCE)
