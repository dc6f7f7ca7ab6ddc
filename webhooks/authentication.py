"""Who may speak at the webhooks: whoever holds the signing key.

A DRF authentication class of ours reads the raw body, never more of it than is allowed, checks it,
and hands it on as `request.auth`. A view that reads nothing else cannot touch a byte that was not
signed.
"""

import base64
import hashlib
import hmac
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any, Final

import structlog
from django.conf import settings
from django.core.cache import cache
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
from glisk.api.json import read_json
from glisk.engine.heartbeat import end_alarm, raise_alarm

logger = structlog.get_logger(__name__)

_ALARM_SECONDS: Final = 900.0
# What the Standard Webhooks libraries allow; covers clock drift and a slow delivery.
TOLERANCE_SECONDS: Final = 300
_MAX_SIGNATURES: Final = 16


class WebhookSignature(BaseAuthentication, ABC):
    """A signature over the raw body, which is handed on as `request.auth`."""

    vendor: str
    header: str
    setting: str  # of the keys; several are good while they are rotated
    meanwhile: str  # how the same news comes while its webhooks are refused

    @abstractmethod
    def problem(self, request: Request, body: bytes, keys: list[str]) -> str:
        """Return why the body is not proved to come from the vendor, now; nothing if it is."""

    def authenticate(self, request: Request) -> tuple[None, bytes]:
        keys = [key for key in getattr(settings, self.setting) if key]
        if not keys:  # by an empty one anybody could sign
            raise TryLater("This webhook is not configured.")
        if not request.META.get(HttpHeaders.to_wsgi_name(self.header)):
            raise AuthenticationFailed(f"The {self.header} header is missing.")
        body = read_body(request._request)
        if problem := self.problem(request, body, keys):
            reason = f"The signature is refused: {problem}."
            self._note_refused(reason)
            raise AuthenticationFailed(reason)
        if once_a_minute(f"{self.vendor}-accepted"):
            with suppress(DatabaseError, InterfaceError):  # the alarm ends by its age, too
                end_alarm(self._alarm)
        return None, body

    def authenticate_header(self, request: Request) -> str:
        """Return what makes DRF answer 401 rather than 403."""
        return self.header

    @property
    def _alarm(self) -> str:
        return alarm_of(self.vendor)

    def _note_refused(self, reason: str) -> None:
        """Raise an alarm: a refusal is seen by nobody but the vendor, unless we say so.

        A key that was changed there loses nothing, but everything takes longer, and in the end the
        vendor gives the webhook up.
        """
        vendor = self.vendor
        if not once_a_minute(f"{vendor}-refused"):
            return
        logger.warning("webhook_signature_refused", vendor=vendor.lower(), reason=reason)
        try:
            raise_alarm(
                self._alarm,
                headline=f"{vendor}'s webhooks are refused",
                reason=reason,
                advice=f"Has the signing key changed at {vendor}? Put the new one into "
                f"{vendor.upper()}_WEBHOOK_SECRET (both, comma-separated, while it is rotated) and "
                f"restart web. {self.meanwhile}",
                lasts_seconds=_ALARM_SECONDS,
            )
        except (DatabaseError, InterfaceError) as error:
            logger.warning("refusal_not_noted", vendor=vendor.lower(), error=type(error).__name__)


def alarm_of(vendor: str) -> str:
    """Return the name of the alarm that a vendor's webhooks are refused."""
    return f"refused-webhooks-{vendor.lower()}"


def once_a_minute(what: str) -> bool:
    """Let each thing through once a minute, per process: anybody may send nonsense without end."""
    return cache.add(f"once-a-minute-{what}", True, timeout=60)


class AlchemySignature(WebhookSignature):
    """X-Alchemy-Signature: the hex HMAC-SHA256 of the raw body under the webhook's signing key.

    The key's text is used as it stands, "whsec_" included.
    https://www.alchemy.com/docs/reference/notify-api-quickstart (signature)
    """

    vendor, header = "Alchemy", "X-Alchemy-Signature"
    setting = "ALCHEMY_WEBHOOK_SECRETS"
    meanwhile = "Mints are read from the chain meanwhile."

    def problem(self, request: Request, body: bytes, keys: list[str]) -> str:
        signature = request.META["HTTP_X_ALCHEMY_SIGNATURE"]
        matches = (constant_time_compare(signature, sign_alchemy_body(body, key)) for key in keys)
        return "" if any(matches) else "the X-Alchemy-Signature does not match the body"


def sign_alchemy_body(body: bytes, key: str) -> str:
    """Return the signature that Alchemy would send with this body."""
    return hmac.new(key.encode(), body, hashlib.sha256).hexdigest()


class ReplicateSignature(WebhookSignature):
    """The three headers of Standard Webhooks, at most five minutes old.

    https://replicate.com/docs/topics/webhooks/verify-webhook: base64(HMAC-SHA256(base64-decoded
    key, "{id}.{timestamp}.{body}")), one or several signatures in one header. The SDK's
    `Webhooks.validate` is not used: it checks no timestamp unless told to, so that an old delivery
    can be replayed for ever; it knows one key only, wants the body as text, and raises on a
    malformed signature instead of trying the next.
    """

    vendor, header = "Replicate", "webhook-signature"
    setting = "REPLICATE_WEBHOOK_SECRETS"
    meanwhile = "Predictions are asked for meanwhile."

    def problem(self, request: Request, body: bytes, keys: list[str]) -> str:
        timestamp = request.headers.get("webhook-timestamp", "")
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
            return "the webhook-timestamp is not a number of seconds"
        if abs(time.time() - int(timestamp)) > TOLERANCE_SECONDS:
            return "the webhook-timestamp is too far from our clock"
        signed = f"{request.headers.get('webhook-id', '')}.{timestamp}.".encode() + body
        offered = request.headers[self.header].split()[:_MAX_SIGNATURES]
        secrets = [base64.b64decode(key.removeprefix("whsec_")) for key in keys]
        digests = [hmac.digest(secret, signed, hashlib.sha256) for secret in secrets]
        wanted = [f"v1,{base64.b64encode(digest).decode()}" for digest in digests]
        matches = (constant_time_compare(mine, given) for mine in wanted for given in offered)
        return "" if any(matches) else "the webhook-signature does not match"


class BodyTooLarge(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The body is larger than we accept."
    default_code = "body_too_large"


def read_body(request: HttpRequest) -> bytes:
    """Return the raw body, of at most WEBHOOK_MAX_BYTES.

    A body that is announced as larger is refused unread; one without a length (chunked) as soon
    as the limit is passed. Raises `BodyTooLarge`, or `ParseError` if the connection broke off.
    """
    limit, meta = settings.WEBHOOK_MAX_BYTES, request.META
    # Django takes a request without Content-Length for one without a body.
    chunked = "chunked" in meta.get("HTTP_TRANSFER_ENCODING", "").lower()
    try:
        if chunked and meta.get("wsgi.input_terminated"):
            body: bytes = meta["wsgi.input"].read(limit + 1)
        elif int(meta.get("CONTENT_LENGTH") or 0) > limit:
            raise BodyTooLarge
        else:
            body = request.body
    except RequestDataTooBig as error:
        raise BodyTooLarge from error
    except (OSError, ValueError) as error:  # Django's and gunicorn's for broken bodies and lengths
        raise ParseError("The body could not be read.") from error
    if len(body) > limit:
        raise BodyTooLarge
    return body


def read_json_object(body: bytes) -> dict[str, Any]:
    """Return the object that a body consists of; raise `ParseError` (400) if it is none."""
    payload = read_json(body)
    if not isinstance(payload, dict):
        raise ParseError("The body is not a JSON object.")
    return payload


def plain_text(value: object, *, max_length: int) -> str:
    """Return a text if it is short and printable ASCII, else an empty one.

    NUL bytes and lone surrogates, which JSON can carry, have no place in PostgreSQL.
    """
    if isinstance(value, str) and len(value) <= max_length and value.isascii():
        return value if value.isprintable() else ""
    return ""
