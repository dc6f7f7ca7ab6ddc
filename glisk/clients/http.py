"""The one HTTP client under every vendor's client: `requests`, without its surprises.

It insists on timeouts, bounds each reply in size and in time, never retries (the retry policy
belongs to the row), follows no redirect and keeps no cookie. Every failure leaves as an error of
`glisk.errors`; for a request that is not safe to repeat it tells "surely not accepted" from
"perhaps accepted", because a paid call must not be made twice.
"""

from __future__ import annotations

import io
import json
import os
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies

from glisk.clients.http_errors import (
    Fault,
    Reply,
    error_for_lost,
    error_for_reply,
    read_plain,
    timestamp,
)
from glisk.clock import ClockReading, boot_seconds
from glisk.errors import ArtefactError, NotSentError, UnknownOutcomeError

MAX_JSON_BYTES: Final = 4 * 1024 * 1024
MAX_ERROR_BYTES: Final = 64 * 1024
_PIECE: Final = 64 * 1024


# What surrounds each call of this process, by the vendor's name.
_around_call: Callable[[str], AbstractContextManager[object]] = nullcontext


def surround_calls(manager: Callable[[str], AbstractContextManager[object]]) -> None:
    """Have each call of this process made inside `manager(vendor)`, which may refuse it.

    It refuses by a `ProviderError`; the web server bounds its calls so (glisk/web/capacity.py).
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


class _Adapter(HTTPAdapter):
    """Connections of this very process, whose certificates are loaded once."""

    def __init__(self, *, pool_size: int, tls: bool) -> None:
        self._context = tls_context(os.environ.get("REQUESTS_CA_BUNDLE")) if tls else None
        self._process, self._pool_size = os.getpid(), pool_size
        super().__init__(pool_connections=1, pool_maxsize=pool_size)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, ssl_context=self._context)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        return super().proxy_manager_for(proxy, **options, ssl_context=self._context)

    def cert_verify(self, *_args: Any) -> None:
        """Do nothing: the context verifies. requests would load the certificates per connection."""

    def send(self, *args: Any, **options: Any) -> requests.Response:
        if self._process != os.getpid():
            # A forked child must not talk on its parent's sockets.
            self.proxy_manager = {}
            self.init_poolmanager(1, self._pool_size)
            self._process = os.getpid()
        return super().send(*args, **options)


class BoundedSession(requests.Session):
    """A session whose replies come whole and bounded, or as an exception.

    Libraries that are given it (web3.py) get the limits with it: they cannot set `stream`,
    `timeout`, `verify` or redirects. A reply outside 2xx raises `requests.HTTPError`.
    """

    def __init__(self, url: str, options: HttpOptions, *, max_bytes: int = MAX_JSON_BYTES) -> None:
        """`url`: the only scheme and host that it speaks to, by which proxies are chosen."""
        super().__init__()
        self._max_bytes = max_bytes
        self._timeout = options.connect_timeout_seconds, options.read_timeout_seconds
        # The environment is read once: it costs as much as a call. Nor may netrc replace our
        # Authorization.
        self.proxies = dict(get_environ_proxies(url))
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # Replies are small and bytes are hashed: compression would only cost CPU.
        self.headers = CaseInsensitiveDict(
            {"User-Agent": "glisk-backend", "Accept-Encoding": "identity"}
        )
        scheme = url.partition("://")[0]
        self.adapters.clear()
        self.mount(f"{scheme}://", _Adapter(pool_size=options.pool_size, tls=scheme == "https"))
        self._dated: tuple[str, float] | None = None  # the last reply's Date, and when it came

    @property
    def clock(self) -> ClockReading | None:
        """What the vendor's clock showed with its last reply, to the second; None: not told."""
        date, came_at = self._dated or ("", 0.0)
        shown = timestamp(date)
        return None if shown is None else ClockReading(shown, came_at)

    def get_redirect_target(self, _response: requests.Response) -> None:
        """Know no redirect: requests reads the whole body of one even if it may not follow."""

    def send(
        self, request: requests.PreparedRequest, *, max_bytes: int | None = None, **_ignored: Any
    ) -> requests.Response:
        """Send a request and return its 2xx reply with a body of at most `max_bytes`.

        Raises requests' and urllib3's exceptions, a TimeoutError for a body that drips, and
        `requests.HTTPError` with as much of the body as an error may have.
        """
        response = super().send(
            request, stream=True, verify=True, timeout=self._timeout, proxies=self.proxies
        )
        date = response.headers.get("Date")
        if date and "Age" not in response.headers:  # a cache tells an old date
            self._dated = date, boot_seconds()
        if response.status_code // 100 == 2:
            limit = self._max_bytes if max_bytes is None else max_bytes
            body, whole = self._read(response, limit)
            if not whole:
                raise _TooLargeError(f"larger than the limit of {limit} bytes", response=response)
            response.raw = io.BytesIO(body)
            return response
        try:
            body, _ = self._read(response, MAX_ERROR_BYTES)
        except (urllib3.exceptions.HTTPError, OSError):
            body = b""  # the status says enough
        response.raw = io.BytesIO(body)
        raise requests.HTTPError(response=response)

    def _read(self, response: requests.Response, limit: int) -> tuple[bytes, bool]:
        """Read the body up to a size and a time; tell whether that was all of it."""
        deadline = time.monotonic() + self._timeout[1]
        body = bytearray()
        try:
            # read1 returns what has arrived, so that a vendor who sends a byte now and then runs
            # into the deadline instead of holding the thread; iter_content waits for more.
            while piece := response.raw.read1(_PIECE, decode_content=True):
                body += piece
                if len(body) > limit:
                    return bytes(body[:limit]), False
                if time.monotonic() > deadline:
                    raise TimeoutError("the body took too long")
        finally:
            # Ends the connection unless the body was read to its end: then it has gone back to
            # the pool by itself.
            response.raw.close()
        return bytes(body), True


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
        max_bytes: int = MAX_JSON_BYTES,
    ) -> None:
        """Raise ValueError if the base URL is not http(s) with a host.

        A query of the base URL (some nodes want their key there) goes with every call, and so do
        its user and password, as basic authentication.
        """
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"the base URL of {vendor} must be http:// or https:// with a host")
        self.vendor = vendor
        host = parts.netloc.rpartition("@")[2]
        self.base_url = f"{parts.scheme}://{host}{parts.path.rstrip('/')}"
        self._query = f"?{parts.query}" if parts.query else ""
        self._read_fault = read_fault
        self.session = BoundedSession(self.base_url, options or HttpOptions(), max_bytes=max_bytes)
        self.session.headers.update(headers or {})
        if parts.username is not None:
            self.session.auth = unquote(parts.username), unquote(parts.password or "")

    def __repr__(self) -> str:
        return f"<HttpClient for {self.vendor}>"

    @property
    def clock(self) -> ClockReading | None:
        """What the vendor's clock showed with its last reply, to the second; None: not told."""
        return self.session.clock

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
        over `max_bytes` raise ArtefactError. Everything else that goes wrong raises
        TransientError or a kind of PermanentError.
        `send_by`: the body does not leave after this time (`boot_seconds`), but raises
        NotSentError.
        """
        sent_headers = dict(headers or {})
        if json_body is not None:
            data = json.dumps(json_body, separators=(",", ":"), allow_nan=False).encode("ascii")
            sent_headers["Content-Type"] = "application/json"
        with self.failures(f"{method} {path}".rstrip(), idempotent=idempotent):
            request = self.session.prepare_request(
                requests.Request(
                    method,
                    self.url(path),
                    headers=sent_headers,
                    params=params,
                    data=data,
                    files=files,
                )
            )
            if send_by is not None and request.body:
                body = request.body
                request.body = _until(  # type: ignore[assignment]  # one that requests may send
                    send_by, body.encode() if isinstance(body, str) else body
                )
            return Reply.of(self.session.send(request, max_bytes=max_bytes))

    @contextmanager
    def failures(self, what: str, *, idempotent: bool) -> Iterator[None]:
        """Let what goes wrong with a request of the session leave as an error of our tree."""
        try:
            with _around_call(self.vendor):
                yield
        # "from None": the cause's text carries the whole URL.
        except requests.HTTPError as error:
            reply = Reply.of(error.response)
            raise error_for_reply(
                reply, self._read_fault(reply), self.vendor, what, idempotent=idempotent
            ) from None
        except _TooLargeError as error:
            kind = ArtefactError if idempotent else UnknownOutcomeError
            raise kind(
                f"{self.vendor}: {what}: the reply is {error}.",
                vendor=self.vendor,
                status=error.response.status_code if error.response is not None else None,
                code="too_large",
            ) from None
        except _LateError:
            text = f"{self.vendor}: {what} came too late and was not made. It is tried again."
            raise NotSentError(text, vendor=self.vendor) from None
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise error_for_lost(error, self.vendor, what, idempotent=idempotent) from None


class _TooLargeError(requests.RequestException):
    """The reply is larger than it may be."""


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


@lru_cache(maxsize=2)
def tls_context(bundle: str | None = None) -> ssl.SSLContext:
    """Return what verifies servers; loading it takes tens of milliseconds: once per process."""
    path = Path(bundle or DEFAULT_CA_BUNDLE_PATH)
    if path.is_dir():
        return ssl.create_default_context(capath=path)
    return ssl.create_default_context(cafile=path)
