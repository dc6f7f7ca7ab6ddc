"""The one HTTP client under every vendor's client: `requests`, without its surprises.

It insists on timeouts, bounds each reply in size and in time, never retries (the retry policy
belongs to the row), follows no redirect and keeps no cookie. Every failure leaves as an error of
`glisk.errors` (failures.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
import urllib3

from glisk.clients.http.failures import (
    ACCOUNT_STATUSES,
    UNANSWERED,
    bad_reply,
    error_for_lost,
    error_for_reply,
)
from glisk.clients.http.replies import Fault, Reply, read_plain
from glisk.clients.http.session import BoundedSession, HttpOptions, TooLargeError, tls_context
from glisk.clients.http.times import bounded_seconds, retry_after_seconds, seconds_until
from glisk.clock import boot_seconds
from glisk.errors import ArtefactError, NotSentError, UnknownOutcomeError
from glisk.metrics import timed_vendor_call

__all__ = [
    "ACCOUNT_STATUSES",
    "UNANSWERED",
    "BoundedSession",
    "Fault",
    "HttpClient",
    "HttpOptions",
    "Reply",
    "bad_reply",
    "bounded_seconds",
    "retry_after_seconds",
    "seconds_until",
    "surround_calls",
    "tls_context",
]

# What surrounds each call of this process, by the vendor's name.
_around_call: Callable[[str], AbstractContextManager[object]] = nullcontext


def surround_calls(manager: Callable[[str], AbstractContextManager[object]]) -> None:
    """Have each call of this process made inside `manager(vendor)`, which may refuse it.

    It refuses by a `ProviderError`; the web server bounds its calls so (glisk/web.py).
    """
    global _around_call
    _around_call = manager


class HttpClient:
    """Calls to one vendor under one base URL. Safe to share between threads and over fork."""

    def __init__(
        self,
        *,
        vendor: str,
        base_url: str,
        headers: Mapping[str, str] | None = None,
        options: HttpOptions | None = None,
        read_fault: Callable[[Reply], Fault] = read_plain,
        max_bytes: int | None = None,
    ) -> None:
        """The base URL's query (a key, perhaps), user and password go with every call."""
        parts = urlsplit(base_url)
        self.vendor = vendor
        host = parts.netloc.rpartition("@")[2]
        self.base_url = f"{parts.scheme}://{host}{parts.path.rstrip('/')}"
        self._query = f"?{parts.query}" if parts.query else ""
        self._read_fault = read_fault
        options = options or HttpOptions.from_settings()
        self.session = BoundedSession(self.base_url, options, max_bytes=max_bytes)
        self.session.headers.update(headers or {})
        if parts.username is not None:
            self.session.auth = unquote(parts.username), unquote(parts.password or "")

    def close(self) -> None:
        """Close the pooled connections; the next call opens new ones."""
        self.session.close()

    def url(self, path: str = "") -> str:
        return self.base_url + path + self._query

    def call(
        self,
        method: str,
        path: str,
        *,
        idempotent: bool,
        json_body: Any = None,
        params: Mapping[str, str] | str | None = None,
        data: Mapping[str, str] | bytes | None = None,
        files: Mapping[str, tuple[str, bytes, str]] | None = None,
        headers: Mapping[str, str] | None = None,
        max_bytes: int | None = None,
        send_by: float | None = None,
    ) -> Reply:
        """Make one request and return its 2xx reply with the whole body read.

        `data` are the fields of a form, with `files` (name, bytes, type) of a multipart one; or
        they are the body itself.
        `idempotent` says whether the request may be repeated without harm; with False a reply
        that got lost, and a 5xx that may follow accepted work, raise UnknownOutcomeError. Replies
        over `max_bytes` raise ArtefactError, all other failures TransientError or a kind of
        PermanentError. `send_by`: the body does not leave after this time (`boot_seconds`), but
        raises NotSentError.
        """
        request = requests.Request(
            method,
            self.url(path),
            headers=headers,
            params=params,
            data=data,
            json=json_body,
            files=files,
        )
        with self.failures(f"{method} {path}".rstrip(), idempotent=idempotent):
            prepared = self.session.prepare_request(request)
            if send_by is not None and (body := prepared.body):
                content = body.encode() if isinstance(body, str) else body
                # requests sends a generator piece by piece; its stubs know bytes and text only.
                prepared.body = _until(send_by, content)  # type: ignore[assignment]
            return Reply.of(self.session.send(prepared, max_bytes=max_bytes))

    @contextmanager
    def failures(self, what: str, *, idempotent: bool) -> Iterator[None]:
        """Let what goes wrong with a request of the session leave as an error of our tree.

        The call is counted, with its outcome and how long it took.
        """
        with timed_vendor_call(self.vendor), self._translated(what, idempotent=idempotent):
            yield

    @contextmanager
    def _translated(self, what: str, *, idempotent: bool) -> Iterator[None]:
        where = f"{self.vendor}: {what}"
        try:
            with _around_call(self.vendor):
                yield
        # "from None": the cause's text carries the whole URL.
        except requests.HTTPError as error:
            reply = Reply.of(error.response)
            fault = self._read_fault(reply)
            raise error_for_reply(reply, fault, self.vendor, where, idempotent) from None
        except TooLargeError as error:
            kind = ArtefactError if idempotent else UnknownOutcomeError
            text = f"{where}: the reply is {error}."
            raise kind(text, vendor=self.vendor, code="too_large") from None
        except _LateError:
            text = f"{where} came too late and was not made. It is tried again."
            raise NotSentError(text, vendor=self.vendor) from None
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise error_for_lost(error, self.vendor, where, idempotent) from None


class _LateError(Exception):
    """The time for sending is over."""


def _until(moment: float, body: bytes) -> Iterator[bytes]:
    """Give the body away, if it is asked for in time.

    The connection is made and the headers are sent by then: this is the last look at the clock
    before the vendor has a whole request.
    """
    if boot_seconds() > moment:
        raise _LateError
    yield body
