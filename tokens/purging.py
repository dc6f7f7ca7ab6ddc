"""Let go of image bytes: of tokens some days after the reveal, and of samples; in small batches.

What the bytes were (sha256, size, type, dimensions) stays for ever, and IPFS keeps those of tokens.
They go only when nothing can want them any more: the token is revealed, and no reorg can take that
back. A sample's cost stays.
"""

from __future__ import annotations

from datetime import timedelta

import structlog
from django.conf import settings
from django.db import connection
from django.utils import timezone

from glisk.engine.purging import BUDGET_SECONDS, in_portions
from tokens.models import PromptSample

logger = structlog.get_logger(__name__)

_AT_ONCE = 100

# reveals' tables by their names: tokens may not import reveals.
_PURGE = """
    WITH old AS MATERIALIZED (
        SELECT i.token_id FROM token_images i JOIN tokens_s0 t USING (token_id)
        WHERE i.data IS NOT NULL AND t.status = 'revealed'
          AND i.created_at < clock_timestamp() - make_interval(secs => %(age)s)
          AND t.status_changed_at < clock_timestamp() - make_interval(secs => %(age)s)
          AND COALESCE(t.revealed_at, t.status_changed_at)
              < clock_timestamp() - make_interval(secs => %(age)s)
          AND NOT EXISTS (SELECT FROM reveal_batch_tokens p
                          JOIN reveal_batches b ON b.id = p.batch_id
                          WHERE p.token_id = t.token_id
                            AND (p.is_open OR b.settled_at IS NULL))
        ORDER BY i.created_at LIMIT %(limit)s
        FOR UPDATE OF i SKIP LOCKED
    )
    UPDATE token_images i SET data = NULL FROM old WHERE i.token_id = old.token_id
"""


def purge_images() -> int:
    """Delete the bytes of images that were revealed IMAGE_RETENTION_DAYS ago; return how many."""
    age = settings.IMAGE_RETENTION_DAYS * 86_400

    def purge(limit: int) -> int:
        with connection.cursor() as cursor:
            cursor.execute(_PURGE, {"age": age, "limit": limit})
            return int(cursor.rowcount)

    purged = in_portions(purge, at_once=_AT_ONCE, budget_seconds=BUDGET_SECONDS)
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

    return in_portions(purge, at_once=_AT_ONCE)
