"""Sign and deliver webhooks, by Standard Webhooks (https://www.standardwebhooks.com)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sandbox.http.poster import Poster

PREFIX = "whsec_"
SENDERS = 8


def sign(secret: str, webhook_id: str, timestamp: str, body: bytes) -> str:
    """Compute the `webhook-signature` header; raises ValueError for a malformed secret."""
    if not secret.startswith(PREFIX):
        raise ValueError("a webhook secret starts with whsec_")
    key = base64.b64decode(secret.removeprefix(PREFIX))
    content = f"{webhook_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()


@dataclass(frozen=True)
class Delivery:
    """Describe one attempt to deliver a webhook; `status` is 0 when no reply came.

    `fault` is "", "lost" or "forged"; times are Unix seconds.
    """

    webhook_id: str
    prediction_id: str
    event: str
    attempt: int
    sent_at: float
    answered_at: float
    status: int
    fault: str


class WebhookSender:
    """Deliver webhooks from a few threads; a delivery without a 2xx is tried again."""

    def __init__(
        self,
        secret: str,
        later: Callable[[float, Callable[[], None]], None],
        *,
        attempts: int,
        retry_seconds: float,
        timeout_seconds: float,
    ) -> None:
        """Prepare; `later(seconds, call)` runs a call after a delay, from any thread."""
        self.secret = secret
        self._later = later
        self._attempts = attempts
        self._retry_seconds = retry_seconds
        self._poster = Poster(timeout_seconds)
        self._pool = ThreadPoolExecutor(SENDERS, "replicate-webhook")
        self.deliveries: list[Delivery] = []

    def send(
        self,
        url: str,
        body: bytes,
        *,
        prediction_id: str,
        event: str,
        delay_seconds: float = 0.0,
        fault: str = "",
        copies: int = 1,
    ) -> None:
        """Deliver soon; every attempt and every copy carries the same `webhook-id`."""
        message = _Message(url, body, f"msg_{secrets.token_hex(12)}", prediction_id, event, fault)
        for _ in range(copies):
            self._schedule(message, 1, delay_seconds)

    def _schedule(self, message: _Message, attempt: int, delay_seconds: float) -> None:
        if delay_seconds > 0:
            self._later(delay_seconds, lambda: self._schedule(message, attempt, 0))
            return
        try:
            self._pool.submit(self._deliver, message, attempt)
        except RuntimeError:
            return  # the emulator is being stopped

    def _deliver(self, message: _Message, attempt: int) -> None:
        sent_at = time.time()
        status = 0 if message.fault == "lost" else self._post(message)
        self.deliveries.append(
            Delivery(
                message.webhook_id,
                message.prediction_id,
                message.event,
                attempt,
                sent_at,
                time.time(),
                status,
                message.fault,
            )
        )
        if not 200 <= status < 300 and message.fault != "lost" and attempt < self._attempts:
            self._schedule(message, attempt + 1, self._retry_seconds * 2 ** (attempt - 1))

    def _post(self, message: _Message) -> int:
        timestamp = str(int(time.time()))
        secret = self.secret
        if message.fault == "forged":
            secret = PREFIX + base64.b64encode(b"somebody else's key").decode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Replicate-Webhooks/1.0",
            "webhook-id": message.webhook_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": sign(secret, message.webhook_id, timestamp, message.body),
        }
        return self._poster.post(message.url, message.body, headers)

    def close(self) -> None:
        """Give up what is queued."""
        self._pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class _Message:
    url: str
    body: bytes
    webhook_id: str
    prediction_id: str
    event: str
    fault: str
