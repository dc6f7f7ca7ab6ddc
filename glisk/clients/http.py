"""The one HTTP client under every vendor's client.

It keeps one pool of connections per process, insists on timeouts, never retries (the retry policy
belongs to the row) and never follows a redirect. Every failure leaves as an error of
`glisk.errors`; for a request that is not safe to repeat it tells "surely not accepted" from
"perhaps accepted", because a paid call must not be made twice.

It stands on urllib3 itself: `requests` on top of it prepares cookies, hooks, redirects and
encodings that are all switched off here, and cost as much CPU again as the call.
"""

from __future__ import annotations

import json
import os
import ssl
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import SplitResult, unquote, urlencode, urlsplit

import urllib3
from requests.utils import (
    DEFAULT_CA_BUNDLE_PATH,
    get_auth_from_url,
    get_environ_proxies,
    select_proxy,
)
from urllib3.util import Retry

from glisk.clients.http_faults import (
    Fault,
    Reply,
    error_for_lost,
    error_for_reply,
    read_plain,
    timestamp,
)
from glisk.clients.http_response import PlainResponse
from glisk.clock import ClockReading, boot_seconds
from glisk.errors import ArtefactError, NotSentError, ProviderError, UnknownOutcomeError

MAX_JSON_BYTES: Final = 4 * 1024 * 1024
MAX_ERROR_BYTES: Final = 64 * 1024
_PIECE: Final = 64 * 1024
_NEVER: Final = Retry.from_int(False)  # every failure leaves as it is

Sender = urllib3.HTTPConnectionPool | urllib3.ProxyManager


# What surrounds each call of this process, by the vendor's name.
_around_call: Callable[[str], AbstractContextManager[object]] = nullcontext


def surround_calls(manager: Callable[[str], AbstractContextManager[object]]) -> None:
    """Have each call of this process made inside `manager(vendor)`, which may refuse it.

    It refuses by a `ProviderError`; the web server bounds its calls so (glisk/web/web_calls.py).
    """
    global _around_call
    _around_call = manager


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """Timeouts in seconds and the number of connections kept open per vendor."""

    connect_timeout_seconds: float = 5.0
    read_timeout_seconds: float = 30.0
    pool_size: int = 10

    @classmethod
    def from_settings(cls) -> Self:
        """Read HTTP_CONNECT_TIMEOUT_SECONDS, HTTP_READ_TIMEOUT_SECONDS and HTTP_POOL_SIZE."""
        from django.conf import settings

        return cls(
            connect_timeout_seconds=settings.HTTP_CONNECT_TIMEOUT_SECONDS,
            read_timeout_seconds=settings.HTTP_READ_TIMEOUT_SECONDS,
            pool_size=settings.HTTP_POOL_SIZE,
        )

    @classmethod
    def for_linking(cls) -> Self:
        """Read LINK_TIMEOUT_SECONDS, the bound of both timeouts: an author waits for the answer."""
        from django.conf import settings

        longest = settings.LINK_TIMEOUT_SECONDS
        return cls(
            connect_timeout_seconds=min(settings.HTTP_CONNECT_TIMEOUT_SECONDS, longest),
            read_timeout_seconds=longest,
            pool_size=1,
        )


class _Connection(urllib3.connection.HTTPConnection):
    response_class = PlainResponse


class _TlsConnection(urllib3.connection.HTTPSConnection):
    response_class = PlainResponse


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
    ) -> None:
        """Raise ValueError if the base URL is not http(s) with a host.

        A query of the base URL (some nodes want their key there) goes with every call, and so do
        its user and password, as basic authentication.
        """
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"the base URL of {vendor} must be http:// or https:// with a host")
        self.vendor = vendor
        self._base_path = parts.path.rstrip("/")
        self._query = parts.query
        host = parts.netloc.rpartition("@")[2]
        self.base_url = f"{parts.scheme}://{host}{self._base_path}"
        self._headers = {
            "User-Agent": "glisk-backend",
            # Replies are small and bytes are hashed: compression would only cost CPU.
            "Accept-Encoding": "identity",
            **_basic_auth(parts),
            **(headers or {}),
        }
        self._options = options or HttpOptions()
        self._read_fault = read_fault
        self._dated: tuple[str, float] | None = None  # the last reply's Date, and when it came
        self._timeout = urllib3.Timeout(
            connect=self._options.connect_timeout_seconds, read=self._options.read_timeout_seconds
        )
        # Looked up once: it costs as much as a whole call.
        self._proxy = select_proxy(self.base_url, get_environ_proxies(self.base_url))
        self._held: tuple[Sender, int] | None = None
        self._sender()  # now, so that the first calls of many threads share one pool

    def __repr__(self) -> str:
        return f"<HttpClient for {self.vendor}>"

    @property
    def clock(self) -> ClockReading | None:
        """What the vendor's clock showed with its last reply, to the second; None: not told."""
        date, came_at = self._dated or ("", 0.0)
        shown = timestamp(date)
        return None if shown is None else ClockReading(shown, came_at)

    def close(self) -> None:
        """Close the pooled connections; the next call opens new ones."""
        if self._held is not None:
            _close(self._held[0])
            self._held = None

    def call(
        self,
        method: str,
        path: str,
        *,
        idempotent: bool,
        json_body: Any = None,
        params: Mapping[str, str] | None = None,
        data: Mapping[str, str] | None = None,
        files: Mapping[str, tuple[str, bytes, str]] | None = None,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = MAX_JSON_BYTES,
        send_by: float | None = None,
    ) -> Reply:
        """Make one request and return its 2xx reply with the whole body read.

        `data` are the fields of a form, with `files` (name, bytes, type) of a multipart one.
        `idempotent` says whether the request may be repeated without harm; with False a reply
        that got lost, and a 5xx that may follow accepted work, raise UnknownOutcomeError. Replies
        over `max_bytes` raise ArtefactError. Everything else that goes wrong raises
        TransientError or a kind of PermanentError.
        `send_by`: the body does not leave after this time (`boot_seconds`), but raises
        NotSentError.
        """
        what = f"{method} {path}".rstrip()
        sent_headers = {**self._headers, **(headers or {})}
        body: bytes | None = None
        if json_body is not None:
            body = json.dumps(json_body, separators=(",", ":"), allow_nan=False).encode("ascii")
            sent_headers["Content-Type"] = "application/json"
            sent_headers["Content-Length"] = str(len(body))
        elif files:
            fields: dict[str, str | tuple[str, bytes, str]] = {**(data or {}), **files}
            body, sent_headers["Content-Type"] = urllib3.encode_multipart_formdata(fields)
        elif data:
            body = urlencode(data).encode("ascii")
            sent_headers["Content-Type"] = "application/x-www-form-urlencoded"
        with _around_call(self.vendor):
            try:
                response = self._sender().urlopen(
                    method,
                    self._target(path, params),
                    body=body if body is None or send_by is None else _until(send_by, body),
                    headers=sent_headers,
                    timeout=self._timeout,
                    retries=_NEVER,
                    redirect=False,
                    preload_content=False,
                )
            except _LateError:
                text = f"{self.vendor}: {what} came too late and was not made. It is tried again."
                raise NotSentError(text, vendor=self.vendor) from None
            except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                # "from None": the cause's text carries the whole URL.
                raise error_for_lost(error, self.vendor, what, idempotent=idempotent) from None
            return self._finish(response, what, idempotent=idempotent, max_bytes=max_bytes)

    def _target(self, path: str, params: Mapping[str, str] | None) -> str:
        """Return what stands in the request line: a proxy wants the whole URL."""
        base = self.base_url if self._proxy else self._base_path
        query = "&".join(filter(None, (self._query, urlencode(params or {}))))
        return (base + path or "/") + (f"?{query}" if query else "")

    def _sender(self) -> Sender:
        held = self._held
        if held is not None and held[1] == os.getpid():
            return held[0]
        if held is not None:
            # A forked child must not talk on its parent's sockets; closing its copies of them
            # does not end the parent's connections.
            _close(held[0])
        sender = self._new_sender()
        weakref.finalize(self, _close, sender).atexit = False
        self._held = (sender, os.getpid())
        return sender

    def _new_sender(self) -> Sender:
        options: dict[str, Any] = {"maxsize": self._options.pool_size}
        if self.base_url.startswith("https:"):
            options["ssl_context"] = _tls(os.environ.get("REQUESTS_CA_BUNDLE"))
        if self._proxy is None:
            pool = urllib3.connection_from_url(self.base_url, **options)
            tls = isinstance(pool, urllib3.HTTPSConnectionPool)
            pool.ConnectionCls = _TlsConnection if tls else _Connection
            return pool
        user, password = get_auth_from_url(self._proxy)
        headers = urllib3.make_headers(proxy_basic_auth=f"{user}:{password}") if user else None
        return urllib3.ProxyManager(self._proxy, proxy_headers=headers, **options)

    def _finish(
        self, response: urllib3.BaseHTTPResponse, what: str, *, idempotent: bool, max_bytes: int
    ) -> Reply:
        status = response.status
        accepted = 200 <= status < 300
        date = response.headers.get("Date")
        if date and "Age" not in response.headers:  # a cache tells an old date
            self._dated = date, boot_seconds()
        try:
            body, whole = self._read(response, max_bytes if accepted else MAX_ERROR_BYTES)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            if accepted:
                raise error_for_lost(error, self.vendor, what, idempotent=idempotent) from None
            body, whole = b"", True
        reply = Reply(status=status, headers=response.headers, body=body)
        if not accepted:
            raise error_for_reply(
                reply, self._read_fault(reply), self.vendor, what, idempotent=idempotent
            )
        if not whole:
            raise self._too_large(what, status, max_bytes, idempotent=idempotent)
        return reply

    def _read(self, response: urllib3.BaseHTTPResponse, max_bytes: int) -> tuple[bytes, bool]:
        """Read the body up to a size and a time; tell whether that was all of it."""
        deadline = time.monotonic() + self._options.read_timeout_seconds
        body = bytearray()
        try:
            # read1 returns what has arrived, so that a vendor who sends a byte now and then
            # runs into the deadline instead of holding the thread.
            while piece := response.read1(_PIECE, decode_content=True):
                body += piece
                if len(body) > max_bytes:
                    return bytes(body[:max_bytes]), False
                if time.monotonic() > deadline:
                    raise TimeoutError("the body took too long")
        finally:
            # Ends the connection unless the body was read to its end: then it has gone back to
            # the pool by itself.
            response.close()
        return bytes(body), True

    def _too_large(
        self, what: str, status: int, max_bytes: int, *, idempotent: bool
    ) -> ProviderError:
        text = f"{self.vendor}: {what}: the reply is larger than the limit of {max_bytes} bytes."
        if idempotent:
            return ArtefactError(text, vendor=self.vendor, status=status, code="too_large")
        return UnknownOutcomeError(text, vendor=self.vendor, status=status, code="too_large")


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


def _close(sender: Sender) -> None:
    if isinstance(sender, urllib3.ProxyManager):
        sender.clear()
    else:
        sender.close()


@lru_cache(maxsize=2)
def _tls(bundle: str | None) -> ssl.SSLContext:
    # Loading the certificates takes tens of milliseconds of CPU: once per process.
    path = Path(bundle or DEFAULT_CA_BUNDLE_PATH)
    if path.is_dir():
        return ssl.create_default_context(capath=path)
    return ssl.create_default_context(cafile=path)


def _basic_auth(parts: SplitResult) -> dict[str, str]:
    if parts.username is None:
        return {}
    user, password = unquote(parts.username), unquote(parts.password or "")
    return urllib3.make_headers(basic_auth=f"{user}:{password}")
