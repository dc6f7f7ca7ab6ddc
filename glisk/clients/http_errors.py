"""What went wrong with an HTTP call, and which error of the tree that is.

HTTP semantics: RFC 9110 (status codes, Retry-After in section 10.2.3); 52x are Cloudflare's.
"""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final, Self

import requests
import urllib3

from glisk.clients.foreign_json import loads
from glisk.errors import (
    AccountError,
    InvalidRequestError,
    PermanentError,
    ProviderError,
    TransientError,
    UnknownOutcomeError,
)

MAX_RETRY_AFTER_SECONDS: Final = 86_400.0
_EXCERPT_LENGTH: Final = 300

ACCOUNT_STATUSES: Final = frozenset({401, 402, 403})
_TRANSIENT_STATUSES: Final = frozenset({408, 425})

# Cloudflare had no connection to the server behind it (refused, no route). Every other 5xx, the
# server's own 500 and 503 too, may follow work that was accepted.
_NEVER_REACHED: Final = frozenset({521, 523})


# The codes of errors for requests that brought no reply.
UNANSWERED: Final = frozenset({"timeout", "connection"})


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply with its whole (bounded) body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def of(cls, response: requests.Response) -> Self:
        return cls(response.status_code, response.headers, response.content)

    def json_object(self) -> dict[str, Any] | None:
        """Return the body as a JSON object, or None if it is anything else."""
        try:
            value = loads(self.body)
        except ValueError:
            return None
        return value if isinstance(value, dict) else None

    def excerpt(self) -> str:
        """Return the beginning of the body on one line, for a message."""
        text = self.body[: 4 * _EXCERPT_LENGTH].decode("utf-8", "replace")
        return " ".join(text.split())[:_EXCERPT_LENGTH]


@dataclass(frozen=True, slots=True)
class Fault:
    """What a vendor's error body says.

    `kind` overrides the class that the status alone would give; `retry_after_seconds` is used
    when the header is missing; `rate_limited` says of a transient fault what the status 429 does.
    """

    detail: str
    code: str | None = None
    kind: type[TransientError | PermanentError] | None = None
    retry_after_seconds: float | None = None
    rate_limited: bool = False


def read_plain(reply: Reply) -> Fault:
    """Read an error body of which nothing is known."""
    return Fault(detail=reply.excerpt())


def retry_after_seconds(headers: Mapping[str, str], *, now: float | None = None) -> float | None:
    """Return the seconds that a Retry-After header asks for, or None.

    Takes seconds or an HTTP date; a date is compared with the reply's own Date header where
    there is one, so that a wrong clock on either side does no harm. Never negative, at most a
    day.
    """
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        due = timestamp(value)
        if due is None:
            return None
        sent = timestamp(headers.get("Date", ""))
        seconds = due - (sent if sent is not None else now if now is not None else time.time())
    return bounded_seconds(seconds)


def bounded_seconds(seconds: float) -> float | None:
    """Return a vendor's wait as a usable number of seconds, or None if it is not one."""
    if not math.isfinite(seconds):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def timestamp(value: str) -> float | None:
    """Return an HTTP date in seconds since 1970, or None if it is none."""
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def error_for_reply(
    reply: Reply, fault: Fault, vendor: str, what: str, *, idempotent: bool
) -> ProviderError:
    """Return the error that a reply outside 2xx means."""
    status = reply.status
    text = f"{vendor}: {what} answered HTTP {status}"
    if fault.detail:
        text = f"{text}: {fault.detail}"
    kind = fault.kind or _kind_for_status(status, idempotent=idempotent)
    facts: dict[str, Any] = {"vendor": vendor, "status": status, "code": fault.code or str(status)}
    wait = None
    if issubclass(kind, TransientError):
        wait = retry_after_seconds(reply.headers)
        wait = fault.retry_after_seconds if wait is None else wait
        facts["retry_after_seconds"] = wait
        facts["rate_limited"] = status == 429 or fault.rate_limited
    elif status == 404 and kind is InvalidRequestError:
        facts["reason"] = "not_found"
    elif 300 <= status < 400:
        facts["reason"] = "redirect"
    return kind(f"{text} | {_advice(kind, status, wait)}", **facts).quoting(fault.detail)


def _kind_for_status(status: int, *, idempotent: bool) -> type[TransientError | PermanentError]:
    if status in ACCOUNT_STATUSES:
        return AccountError
    if status == 429 or status in _TRANSIENT_STATUSES:
        return TransientError
    if status >= 500:
        lost = not idempotent and status not in _NEVER_REACHED
        return UnknownOutcomeError if lost else TransientError
    if status >= 400:
        return InvalidRequestError
    return PermanentError


def _advice(kind: type[ProviderError], status: int, wait: float | None) -> str:
    if status == 429:
        asked = f"in {wait:g} s" if wait is not None else "later"
        return f"Rate limit: the call is made again {asked}; lower the concurrency if it stays."
    if issubclass(kind, UnknownOutcomeError):
        return "It may have been accepted: look it up before it is sent again."
    if issubclass(kind, TransientError):
        return "Passing fault of the vendor: the call is made again later."
    if issubclass(kind, AccountError):
        return "Check the key, its scopes, the credit and the model; the work waits for it."
    if 300 <= status < 400:
        return "Redirects are not followed: check the vendor's URL setting."
    return "Repeating it unchanged cannot help."


def error_for_lost(error: Exception, vendor: str, what: str, *, idempotent: bool) -> ProviderError:
    """Return the error for a request that brought no whole reply."""
    cannot_be_read = isinstance(_innermost(error), urllib3.exceptions.InvalidHeader)
    if isinstance(error, ValueError) and not cannot_be_read:
        # A header or URL that cannot be written: its text holds the value, a key perhaps.
        return AccountError(
            f"{vendor}: {what} cannot be sent ({type(error).__name__}). "
            "Check the vendor's URL and key settings.",
            vendor=vendor,
            code="unusable_setting",
        )
    cause = f"{type(_innermost(error)).__name__}: {_innermost(error)}"
    code = "timeout" if _is_timeout(error) else "connection"
    if was_surely_not_sent(error):
        text = f"{vendor}: {what} did not reach the vendor ({cause}). It is tried again later."
        return TransientError(text, vendor=vendor, code=code)
    text = f"{vendor}: the reply to {what} was lost ({cause})."
    if idempotent:
        return TransientError(f"{text} It is tried again later.", vendor=vendor, code=code)
    return UnknownOutcomeError(
        f"{text} It may have been accepted: look it up before it is sent again.",
        vendor=vendor,
        code=code,
    )


def was_surely_not_sent(error: Exception) -> bool:
    """Tell whether the vendor cannot have seen the request. In doubt: False.

    `requests.ConnectionError` alone says nothing: a refused connection, an unknown name and a
    reply that broke off are one to it. The reason within is urllib3's word.
    """
    reason = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(reason, urllib3.exceptions.ProxyError):
        # It stands also for a proxy that broke off when it had the request.
        reason = reason.original_error
        if str(reason).startswith("Tunnel connection failed"):  # http.client's words
            return True
    return isinstance(
        reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError
    ) or isinstance(_innermost(error), ssl.SSLCertVerificationError)


def _is_timeout(error: Exception) -> bool:
    return isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError | TimeoutError)


def _innermost(error: BaseException) -> BaseException:
    """Return the exception at the bottom: the others only repeat it, with the URL."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = error.__cause__ or error.__context__
        if inner is None:
            inner = next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        if inner is None:
            break
        error = inner
    return error


def bad_reply(
    vendor: str, what: str, reply: Reply, *, idempotent: bool, why: str
) -> TransientError:
    """Return the error for a 2xx reply that cannot be understood.

    For a request that is not safe to repeat this means that it was accepted and that its answer
    is lost.
    """
    kind = TransientError if idempotent else UnknownOutcomeError
    text = f"{vendor}: {what} answered HTTP {reply.status} with {why}: {reply.excerpt()}"
    return kind(text, vendor=vendor, status=reply.status, code="bad_reply")
