"""Who may speak at the webhooks: whoever holds the signing key.

A DRF authentication class of ours checks the raw body and hands it on as `request.auth`. A view
that reads nothing else cannot touch a byte that was not signed.
"""

import hashlib
import hmac

from django.conf import settings
from django.utils.crypto import constant_time_compare
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from glisk.api.exceptions import TryLater
from glisk.clients.replicate import WebhookSignatureError, verify_webhook
from webhooks.bodies import read_body
from webhooks.refused_webhooks import note_accepted_webhook, note_refused_webhook

_STANDARD_WEBHOOKS = {
    "webhook-id": "HTTP_WEBHOOK_ID",
    "webhook-timestamp": "HTTP_WEBHOOK_TIMESTAMP",
    "webhook-signature": "HTTP_WEBHOOK_SIGNATURE",
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
            note_refused_webhook("alchemy", "X-Alchemy-Signature does not match the body.")
            raise AuthenticationFailed("The X-Alchemy-Signature does not match.")
        note_accepted_webhook("alchemy")
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
            verify_webhook(_headers_of(request), body, secrets)
        except WebhookSignatureError as error:
            if request.headers.get("webhook-signature"):  # else nobody claims to be Replicate
                note_refused_webhook("replicate", f"The signature is refused: {error}.")
            raise AuthenticationFailed(f"The signature is refused: {error}.") from error
        note_accepted_webhook("replicate")
        return None, body

    def authenticate_header(self, request: Request) -> str:
        """Return what makes DRF answer 401 rather than 403."""
        return "webhook-signature"


def _headers_of(request: Request) -> dict[str, str]:
    """Return the headers that were signed; to collect all of a request's takes 0.1 ms."""
    meta = request._request.META
    return {name: meta[key] for name, key in _STANDARD_WEBHOOKS.items() if key in meta}


def sign_alchemy_body(body: bytes, key: str) -> str:
    """Return the signature that Alchemy would send with this body."""
    return hmac.new(key.encode(), body, hashlib.sha256).hexdigest()
