"""Who may speak at the webhooks: whoever holds the signing key.

A DRF authentication class of ours reads the raw body, never more of it than is allowed, checks it,
and hands it on as `request.auth`. A view that reads nothing else cannot touch a byte that was not
signed.
"""

import base64
import binascii
import hashlib
import hmac
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import structlog
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest
from django.http.request import HttpHeaders
from django.utils.crypto import constant_time_compare
from rest_framework import status
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import APIException, AuthenticationFailed, ParseError
from rest_framework.request import Request

from glisk.api.exceptions import TryLater
from glisk.clients.http import loads
from glisk.engine.heartbeat import end_alarm, raise_alarm
from glisk.errors import GliskError

logger = structlog.get_logger(__name__)

_ALARM_SECONDS = 900.0
_MEANWHILE = {
    "Alchemy": "Mints are read from the chain meanwhile.",
    "Replicate": "Predictions are asked for meanwhile.",
}


# What the Standard Webhooks libraries allow; covers clock drift and a slow delivery.
TOLERANCE_SECONDS: Final = 300
_MAX_SIGNATURES: Final = 16


class WebhookSignatureError(GliskError):
    """The webhook is not proved to come from its vendor, now; its body must not be stored."""

    error_class = "webhook_signature"


class WebhookSignature(BaseAuthentication, ABC):
    """A signature over the raw body, which is handed on as `request.auth`."""

    vendor: str
    header: str

    @abstractmethod
    def keys(self) -> list[str]:
        """Return the keys that are good at the moment; several while they are rotated."""

    @abstractmethod
    def verify(self, request: Request, body: bytes, keys: list[str]) -> None:
        """Return if one of the keys signed the body; raise `WebhookSignatureError` if none did."""

    def authenticate(self, request: Request) -> tuple[None, bytes]:
        keys = self.keys()
        if not keys:
            raise TryLater("This webhook is not configured.")
        if not request.META.get(HttpHeaders.to_wsgi_name(self.header)):
            raise AuthenticationFailed(f"The {self.header} header is missing.")
        body = read_body(request._request)
        try:
            self.verify(request, body, keys)
        except WebhookSignatureError as error:
            reason = f"The signature is refused: {error}."
            note_refused(self.vendor, reason)
            raise AuthenticationFailed(reason) from error
        note_accepted(self.vendor)
        return None, body

    def authenticate_header(self, request: Request) -> str:
        """Return what makes DRF answer 401 rather than 403."""
        return self.header


class AlchemySignature(WebhookSignature):
    """X-Alchemy-Signature: the hex HMAC-SHA256 of the raw body under the webhook's signing key.

    The key's text is used as it stands, "whsec_" included.
    https://www.alchemy.com/docs/reference/notify-api-quickstart (signature)
    """

    vendor, header = "Alchemy", "X-Alchemy-Signature"

    def keys(self) -> list[str]:
        return [key for key in settings.ALCHEMY_WEBHOOK_SECRETS if key]

    def verify(self, request: Request, body: bytes, keys: list[str]) -> None:
        # A header may hold anything; bytes can be compared in constant time, whatever they are.
        signature = request.META["HTTP_X_ALCHEMY_SIGNATURE"].encode("utf-8", "surrogateescape")
        matches = [
            constant_time_compare(signature, sign_alchemy_body(body, key).encode()) for key in keys
        ]
        if not any(matches):
            raise WebhookSignatureError("the X-Alchemy-Signature does not match the body")


class ReplicateSignature(WebhookSignature):
    """The three headers of Standard Webhooks, at most five minutes old.

    https://replicate.com/docs/topics/webhooks/verify-webhook: base64(HMAC-SHA256(base64-decoded
    key, "{id}.{timestamp}.{body}")), one or several signatures in one header. The SDK's
    `Webhooks.validate` is not used: it checks no timestamp unless told to, so that an old delivery
    can be replayed for ever; it knows one key only, wants the body as text, and raises on a
    malformed signature instead of trying the next.
    """

    vendor, header = "Replicate", "webhook-signature"

    def keys(self) -> list[str]:
        return list(settings.REPLICATE_WEBHOOK_SECRETS)

    def verify(self, request: Request, body: bytes, keys: list[str]) -> None:
        verify_replicate(request.headers, body, keys)


def sign_alchemy_body(body: bytes, key: str) -> str:
    """Return the signature that Alchemy would send with this body."""
    return hmac.new(key.encode(), body, hashlib.sha256).hexdigest()


def verify_replicate(
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


class BodyTooLarge(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The body is larger than we accept."
    default_code = "body_too_large"


def read_body(request: HttpRequest) -> bytes:
    """Return the raw body, of at most WEBHOOK_MAX_BYTES.

    A body that is announced as larger is refused unread; one without a length (chunked) as soon
    as the limit is passed. Raises `BodyTooLarge`, or `ParseError` if the connection broke off.
    """
    limit = settings.WEBHOOK_MAX_BYTES
    try:
        if _is_chunked(request):
            body = _read_stream(request.META["wsgi.input"], limit)
        else:
            if _announced_length(request) > limit:
                raise BodyTooLarge
            body = request.body
    except RequestDataTooBig as error:
        raise BodyTooLarge from error
    except OSError as error:  # Django's UnreadablePostError, gunicorn's broken chunks
        raise ParseError("The body could not be read.") from error
    if len(body) > limit:
        raise BodyTooLarge
    return body


def _is_chunked(request: HttpRequest) -> bool:
    """Tell whether the body has no announced length, yet an end that the server marks.

    Django takes a request without Content-Length for one without a body.
    """
    return bool(
        "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower()
        and request.META.get("wsgi.input_terminated")
    )


def _announced_length(request: HttpRequest) -> int:
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError as error:
        raise ParseError("The Content-Length is not a number.") from error


def _read_stream(stream: Any, limit: int) -> bytes:
    body = bytearray()
    while (room := limit + 1 - len(body)) > 0 and (piece := stream.read(min(65_536, room))):
        body += piece
    return bytes(body)


def read_json_object(body: bytes) -> dict[str, Any]:
    """Return the object that a body consists of; raise `ParseError` (400) if it is none."""
    try:
        payload = loads(body, parse_constant=_refuse_constant)
    except ValueError as error:  # JSON, UTF-8 and integers of thousands of digits
        raise ParseError("The body is not valid JSON.") from error
    if not isinstance(payload, dict):
        raise ParseError("The body is not a JSON object.")
    return payload


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def plain_text(value: object, *, max_length: int) -> str:
    """Return a text if it is short and printable ASCII, else an empty one.

    NUL bytes and lone surrogates, which JSON can carry, have no place in PostgreSQL.
    """
    if isinstance(value, str) and len(value) <= max_length and value.isascii():
        return value if value.isprintable() else ""
    return ""


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
