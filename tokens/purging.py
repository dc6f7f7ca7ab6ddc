"""Let go of image bytes that IPFS keeps: some days after the reveal, in small batches.

What the bytes were (sha256, size, type, dimensions) stays for ever. Bytes go only when nothing can
want them any more: the token is revealed, and no reorg can take that back.
"""

from __future__ import annotations

import time

import structlog
from django.conf import settings
from django.db import connection

logger = structlog.get_logger(__name__)

_AT_ONCE = 100
_BUDGET_SECONDS = 120.0  # what is left waits for tomorrow

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
    began, purged, found = time.monotonic(), 0, _AT_ONCE
    while found == _AT_ONCE and time.monotonic() - began < _BUDGET_SECONDS:
        with connection.cursor() as cursor:
            cursor.execute(_PURGE, {"age": age, "limit": _AT_ONCE})
            found = int(cursor.rowcount)
        purged += found
    if purged:
        logger.info("images_purged", images=purged)
    return purged
