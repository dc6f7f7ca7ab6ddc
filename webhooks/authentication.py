"""Who may speak at the webhooks: whoever holds the signing key.

A DRF authentication class of ours checks the raw body and hands it on as `request.auth`. A view
that reads nothing else cannot touch a byte that was not signed.
"""

import hashlib
import hmac
import time
from contextlib import suppress

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.utils.crypto import constant_time_compare
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from glisk.api.exceptions import TryLater
from glisk.clients.replicate import WebhookSignatureError, verify_webhook
from glisk.engine.alarms import end_alarm, raise_alarm
from webhooks.bodies import read_body

logger = structlog.get_logger(__name__)

_ALARM_SECONDS = 900.0
_MEANWHILE = {
    "Alchemy": "Mints are read from the chain meanwhile.",
    "Replicate": "Predictions are asked for meanwhile.",
}
_NOT_CONFIGURED = "This webhook is not configured."


class AlchemySignature(BaseAuthentication):
    """X-Alchemy-Signature: the hex HMAC-SHA256 of the raw body under the webhook's signing key.

    The key's text is used as it stands, "whsec_" included. During a rotation several keys are
    valid. https://www.alchemy.com/docs/reference/notify-api-quickstart (signature)
    """

    def authenticate(self, request: Request) -> tuple[None, bytes]:
        keys = [key for key in settings.ALCHEMY_WEBHOOK_SECRETS if key]
        if not keys:
            raise TryLater(_NOT_CONFIGURED)
        offered = request.META.get("HTTP_X_ALCHEMY_SIGNATURE", "")
        if not offered:
            raise AuthenticationFailed("The X-Alchemy-Signature header is missing.")
        body = read_body(request._request)
        # A header may hold anything; bytes can be compared in constant time, whatever they are.
        signature = offered.encode("utf-8", "surrogateescape")
        matches = [
            constant_time_compare(signature, sign_alchemy_body(body, key).encode()) for key in keys
        ]
        if not any(matches):
            note_refused("Alchemy", "X-Alchemy-Signature does not match the body.")
            raise AuthenticationFailed("The X-Alchemy-Signature does not match.")
        note_accepted("Alchemy")
        return None, body

    def authenticate_header(self, request: Request) -> str:
        """Return what makes DRF answer 401 rather than 403."""
        return "X-Alchemy-Signature"


class ReplicateSignature(BaseAuthentication):
    """The three headers of Standard Webhooks, at most five minutes old."""

    def authenticate(self, request: Request) -> tuple[None, bytes]:
        secrets = settings.REPLICATE_WEBHOOK_SECRETS
        if not secrets:
            raise TryLater(_NOT_CONFIGURED)
        body = read_body(request._request)
        try:
            verify_webhook(request.headers, body, secrets)
        except WebhookSignatureError as error:
            if request.headers.get("webhook-signature"):  # else nobody claims to be Replicate
                note_refused("Replicate", f"The signature is refused: {error}.")
            raise AuthenticationFailed(f"The signature is refused: {error}.") from error
        note_accepted("Replicate")
        return None, body

    def authenticate_header(self, request: Request) -> str:
        """Return what makes DRF answer 401 rather than 403."""
        return "webhook-signature"


def sign_alchemy_body(body: bytes, key: str) -> str:
    """Return the signature that Alchemy would send with this body."""
    return hmac.new(key.encode(), body, hashlib.sha256).hexdigest()


class OnceAMinute:
    """Lets each thing through once a minute, per process.

    Whoever finds the address may send nonsense without end: one line and one row are enough.
    """

    def __init__(self) -> None:
        self._opens_at: dict[str, float] = {}

    def __call__(self, what: str) -> bool:
        now = time.monotonic()
        if now < self._opens_at.get(what, now):
            return False
        self._opens_at[what] = now + 60.0
        return True


once_a_minute = OnceAMinute()


def note_refused(vendor: str, reason: str) -> None:
    """Raise an alarm: a refused signature is seen by nobody but the vendor, unless we say so.

    A signing key that was changed there loses nothing, but everything takes longer, and in the end
    the vendor gives the webhook up.
    """
    if not once_a_minute(f"{vendor} refused"):
        return
    logger.warning("webhook_signature_refused", vendor=vendor.lower(), reason=reason)
    try:
        raise_alarm(
            _alarm(vendor),
            headline=f"{vendor}'s webhooks are refused",
            reason=reason,
            advice=f"Has the signing key changed at {vendor}? Put the new one into "
            f"{vendor.upper()}_WEBHOOK_SECRET (both, comma-separated, while it is rotated) and "
            f"restart web. {_MEANWHILE[vendor]}",
            lasts_seconds=_ALARM_SECONDS,
        )
    except (DatabaseError, InterfaceError) as error:
        logger.warning("refusal_not_noted", vendor=vendor.lower(), error=type(error).__name__)


def note_accepted(vendor: str) -> None:
    """End the alarm: the key is the right one, or is again."""
    if once_a_minute(f"{vendor} accepted"):
        with suppress(DatabaseError, InterfaceError):  # it ends by its age, too
            end_alarm(_alarm(vendor))


def _alarm(vendor: str) -> str:
    return f"refused-webhooks-{vendor.lower()}"
