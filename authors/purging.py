"""Let go of what no signature can use any more."""

from datetime import timedelta
from typing import Final

from django.utils import timezone

from authors.models import SignInNonce, SpentMessage, XLinkRequest
from glisk.engine.schedules import delete_in_portions

# Kept for a while after they expired, so that a late client reads why it is refused.
_KEEP_EXPIRED_NONCES: Final = timedelta(hours=1)


def purge_expired() -> int:
    """Delete offered messages, requests to link and spent sign-ins that are over."""
    now = timezone.now()
    return sum(
        delete_in_portions(
            model._default_manager.filter(expires_at__lte=now - kept).order_by("expires_at")
        )
        for model, kept in (
            (SignInNonce, _KEEP_EXPIRED_NONCES),
            (XLinkRequest, timedelta(0)),
            (SpentMessage, timedelta(0)),
        )
    )
