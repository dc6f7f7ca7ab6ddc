"""Let go of what no signature can use any more."""

from datetime import timedelta
from typing import Final

from django.utils import timezone

from authors.models import SignInNonce, SpentMessage, XLinkRequest
from glisk.engine.housekeeping import delete_in_portions

# Kept for a while after they expired, so that a late client reads why it is refused.
_KEEP_EXPIRED_NONCES: Final = timedelta(hours=1)


def purge_nonces() -> int:
    """Delete the messages that nobody can sign any more, used or not; return how many."""
    old = SignInNonce.objects.filter(expires_at__lt=timezone.now() - _KEEP_EXPIRED_NONCES)
    return delete_in_portions(old.order_by("expires_at"))


def purge_link_requests() -> int:
    """Delete the requests to link an X account that nobody can finish; return how many."""
    over = XLinkRequest.objects.filter(expires_at__lte=timezone.now())
    return delete_in_portions(over.order_by("expires_at"))


def purge_spent_messages() -> int:
    """Delete the sign-ins by Farcaster that are too old to be used again; return how many."""
    old = SpentMessage.objects.filter(expires_at__lte=timezone.now())
    return delete_in_portions(old.order_by("expires_at"))
