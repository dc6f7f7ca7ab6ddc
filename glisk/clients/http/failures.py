"""What became of a request that brought no good reply, as an error of `glisk.errors`.

For one that is not safe to repeat this tells "surely not accepted" from "perhaps accepted",
because a paid call must not be made twice. Status codes: RFC 9110; 52x are Cloudflare's.
"""

from __future__ import annotations

import ssl
from typing import Final

import requests
import urllib3

from glisk.clients.http.replies import Fault, Reply
from glisk.clients.http.times import retry_after_seconds
from glisk.errors import (
    AccountError,
    InvalidRequestError,
    PermanentError,
    ProviderError,
    TransientError,
    UnknownOutcomeError,
)

ACCOUNT_STATUSES: Final = frozenset({401, 402, 403})
_TRANSIENT_STATUSES: Final = frozenset({408, 425, 429})
# Cloudflare had no connection to the server behind it (refused, no route). Every other 5xx, the
# server's own 500 and 503 too, may follow work that was accepted.
_NEVER_REACHED: Final = frozenset({521, 523})
# The codes of errors for requests that brought no reply.
UNANSWERED: Final = frozenset({"timeout", "connection"})


def error_for_reply(
    reply: Reply, fault: Fault, vendor: str, where: str, idempotent: bool
) -> ProviderError:
    kind = fault.kind or _kind_for_status(reply.status, idempotent=idempotent)
    text = f"{where} answered HTTP {reply.status}"
    text = f"{text}: {fault.detail}" if fault.detail else text
    wait = None
    if issubclass(kind, TransientError):
        wait = retry_after_seconds(reply.headers)
        wait = fault.retry_after_seconds if wait is None else wait
    return kind(
        text,
        vendor=vendor,
        status=reply.status,
        code=fault.code or str(reply.status),
        said=fault.detail,
        retry_after_seconds=wait,
        rate_limited=issubclass(kind, TransientError)
        and (reply.status == 429 or fault.rate_limited),
    )


def _kind_for_status(status: int, *, idempotent: bool) -> type[TransientError | PermanentError]:
    if status in ACCOUNT_STATUSES:
        return AccountError
    if status in _TRANSIENT_STATUSES:
        return TransientError
    if status >= 500:
        is_lost = not idempotent and status not in _NEVER_REACHED
        return UnknownOutcomeError if is_lost else TransientError
    return InvalidRequestError if status >= 400 else PermanentError


def error_for_lost(error: Exception, vendor: str, where: str, idempotent: bool) -> ProviderError:
    cause = _innermost(error)
    if isinstance(error, ValueError) and not isinstance(cause, urllib3.exceptions.InvalidHeader):
        # A header or URL that cannot be written: its text holds the value, a key perhaps.
        return AccountError(
            f"{where} cannot be sent ({type(error).__name__}). "
            "Check the vendor's URL and key settings.",
            vendor=vendor,
            code="unusable_setting",
        )
    timeouts = requests.Timeout | urllib3.exceptions.TimeoutError | TimeoutError
    code = "timeout" if isinstance(error, timeouts) else "connection"
    why = f"{type(cause).__name__}: {cause}"
    if _was_surely_not_sent(error):
        return TransientError(
            f"{where} did not reach the vendor ({why}).", vendor=vendor, code=code
        )
    kind = TransientError if idempotent else UnknownOutcomeError
    return kind(f"{where}: the reply was lost ({why}).", vendor=vendor, code=code)


def _was_surely_not_sent(error: Exception) -> bool:
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


def _innermost(error: BaseException) -> BaseException:
    """Return the exception at the bottom: the others only repeat it, with the URL."""
    inner = error.__cause__ or error.__context__
    if inner is None:
        inner = next((arg for arg in error.args if isinstance(arg, BaseException)), None)
    return error if inner is None else _innermost(inner)


def bad_reply(
    vendor: str, what: str, reply: Reply, *, idempotent: bool, why: str
) -> TransientError:
    """Return the error for a 2xx reply that cannot be understood: the call was accepted."""
    kind = TransientError if idempotent else UnknownOutcomeError
    text = f"{vendor}: {what} answered HTTP {reply.status} with {why}: {reply.excerpt()}"
    return kind(text, vendor=vendor, status=reply.status, code="bad_reply")
