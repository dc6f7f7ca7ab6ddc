"""Calls to nodes and vendors that a web request waits for: a few at once, and no database held.

A node that hangs, and whoever makes many requests wait for it, must take neither the database's
connections nor the web server's threads from webhooks and pages.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.conf import settings
from django.db import connection

from glisk.errors import TransientError

RETRY_AFTER_SECONDS: Final = 5
_places = threading.BoundedSemaphore(max(1, settings.WEB_THREADS // 2))


@contextmanager
def bounded_call(vendor: str) -> Iterator[None]:
    """Give the database's connection back and take a place for one call.

    Raises:
        TransientError: all places are taken; nothing was sent.
    """
    if not _places.acquire(blocking=False):
        raise TransientError(
            f"{vendor}: too many requests of this web process wait for answers already.",
            vendor=vendor,
            code="busy",
            retry_after_seconds=RETRY_AFTER_SECONDS,
        )
    try:
        if not connection.in_atomic_block:
            connection.close()  # into the pool; the next statement takes one again
        yield
    finally:
        _places.release()
