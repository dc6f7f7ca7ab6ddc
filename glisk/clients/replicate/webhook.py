"""Check the signature of a Replicate webhook.

Scheme (Standard Webhooks, https://replicate.com/docs/topics/webhooks/verify-webhook):
base64(HMAC-SHA256(base64-decoded key, "{id}.{timestamp}.{body}")), one or several signatures in
one header. `replicate.webhook.Webhooks.validate` is not used: it checks no timestamp unless told
to, so that an old delivery can be replayed for ever; it knows one key only, wants the body as
text, and raises on a malformed signature instead of trying the next.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from typing import Final

from glisk.errors import GliskError

# What the Standard Webhooks libraries allow; covers clock drift and a slow delivery.
TOLERANCE_SECONDS: Final = 300
_MAX_SIGNATURES: Final = 16


class WebhookSignatureError(GliskError):
    """The webhook is not proved to come from Replicate, now; its body must not be stored."""

    error_class = "webhook_signature"


def verify_webhook(
    headers: Mapping[str, str],
    body: bytes,
    secrets: Sequence[str],
    *,
    now: float | None = None,
) -> str:
    """Return the webhook's id (the same on its retries) if a key of the list signed it.

    `body` is the raw request body, `headers` know no case, `now` is unix seconds. Raises
    WebhookSignatureError otherwise, also if there is no usable key.
    """
    identifier = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    offered = _signatures(headers.get("webhook-signature", ""))
    if not identifier or not timestamp or not offered:
        raise WebhookSignatureError("a webhook-id, -timestamp or -signature header is missing")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise WebhookSignatureError("the webhook-timestamp is not a number of seconds")
    clock = time.time() if now is None else now
    if abs(clock - int(timestamp)) > TOLERANCE_SECONDS:
        raise WebhookSignatureError("the webhook-timestamp is too far from our clock")
    keys = [key for key in map(_key, secrets) if key]
    if not keys:
        raise WebhookSignatureError("no usable signing key: set REPLICATE_WEBHOOK_SECRET")
    # Headers reach us as latin-1; encoded back, they are the bytes that were signed.
    signed = b"%b.%b.%b" % (
        identifier.encode("utf-8", "surrogateescape"),
        timestamp.encode("ascii"),
        body,
    )
    expected = [hmac.digest(key, signed, hashlib.sha256) for key in keys]
    # No early exit: every key is compared with every signature.
    matches = [hmac.compare_digest(mine, theirs) for mine in expected for theirs in offered]
    if not any(matches):
        raise WebhookSignatureError("the webhook-signature does not match")
    return identifier


def _key(secret: str) -> bytes:
    """Return the key's bytes, or none if it cannot be one; an empty key would accept forgeries."""
    text = secret.strip().removeprefix("whsec_")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _signatures(header: str) -> list[bytes]:
    """Return the decoded version 1 signatures of a header; others are for other schemes."""
    found = []
    for part in header.split()[:_MAX_SIGNATURES]:
        version, _, encoded = part.partition(",")
        if version != "v1":
            continue
        try:
            found.append(base64.b64decode(encoded, validate=True))
        except (binascii.Error, ValueError):
            continue
    return found
