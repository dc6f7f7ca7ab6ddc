"""Sign webhooks, by Standard Webhooks (https://www.standardwebhooks.com)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from dataclasses import dataclass

PREFIX = "whsec_"
FOREIGN_SECRET = PREFIX + base64.b64encode(b"somebody else's key").decode()


def sign(secret: str, webhook_id: str, timestamp: str, body: bytes) -> str:
    """Compute the `webhook-signature` header."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    content = f"{webhook_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()


def signed_headers(secret: str, webhook_id: str, body: bytes) -> dict[str, str]:
    """Return the headers of one attempt to deliver a webhook."""
    timestamp = str(int(time.time()))
    return {
        "Content-Type": "application/json",
        "User-Agent": "Replicate-Webhooks/1.0",
        "webhook-id": webhook_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": sign(secret, webhook_id, timestamp, body),
    }


@dataclass(frozen=True)
class Delivery:
    """Describe one attempt to deliver a webhook; `status` is 0 when no reply came.

    `fault` is "", "lost" or "forged".
    """

    webhook_id: str
    prediction_id: str
    attempt: int
    status: int
    fault: str
