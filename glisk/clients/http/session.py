"""A session of `requests` that bounds every reply in size and in time."""

from __future__ import annotations

import io
import os
import ssl
import time
from dataclasses import dataclass
from functools import cache
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final, Self

import requests
import urllib3
from django.conf import settings
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies

from glisk.clients.http.times import timestamp
from glisk.clock import ClockReading, boot_seconds

MAX_JSON_BYTES: Final = 4 * 1024 * 1024
_MAX_ERROR_BYTES: Final = 64 * 1024
_PIECE: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """Timeouts in seconds and the number of connections kept open per vendor."""

    connect_timeout_seconds: float = 5.0
    read_timeout_seconds: float = 30.0
    pool_size: int = 10

    @classmethod
    def from_settings(cls, *, longest: float | None = None) -> Self:
        """Read the HTTP_* settings; `longest`: another bound of the read, in seconds."""
        read = settings.HTTP_READ_TIMEOUT_SECONDS if longest is None else longest
        connect = min(settings.HTTP_CONNECT_TIMEOUT_SECONDS, read)
        return cls(connect, read, settings.HTTP_POOL_SIZE)


class TooLargeError(requests.RequestException):
    """The reply is larger than it may be."""


class BoundedSession(requests.Session):
    """A session whose replies come whole and bounded, or as an exception.

    Libraries that are given it (web3.py) get the limits with it: they cannot set `stream`,
    `timeout`, `verify` or redirects. A reply outside 2xx raises `requests.HTTPError`.
    """

    def __init__(self, url: str, options: HttpOptions, *, max_bytes: int | None = None) -> None:
        """`url`: the only scheme and host that it speaks to, by which proxies are chosen."""
        super().__init__()
        self._max_bytes = max_bytes or MAX_JSON_BYTES
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
        # What the vendor's clock showed with its last reply that told, to the second.
        self.clock: ClockReading | None = None

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
        shown = timestamp(response.headers.get("Date", ""))
        if shown is not None and "Age" not in response.headers:  # a cache tells an old date
            self.clock = ClockReading(shown, boot_seconds())
        if response.status_code // 100 == 2:
            limit = max_bytes or self._max_bytes
            response.raw = self._read(response, limit)
            if len(response.content) > limit:
                raise TooLargeError(f"larger than the limit of {limit} bytes")
            return response
        try:
            response.raw = self._read(response, _MAX_ERROR_BYTES)
        except (urllib3.exceptions.HTTPError, OSError):
            response.raw = io.BytesIO()  # the status says enough
        raise requests.HTTPError(response=response)

    def _read(self, response: requests.Response, limit: int) -> io.BytesIO:
        """Read the body up to a time, and no further than a size."""
        deadline = time.monotonic() + self._timeout[1]
        body = bytearray()
        try:
            # read1 returns what has arrived, so that a vendor who sends a byte now and then runs
            # into the deadline instead of holding the thread; iter_content waits for more.
            while piece := response.raw.read1(_PIECE, decode_content=True):
                body += piece
                if len(body) > limit:
                    break
                if time.monotonic() > deadline:
                    raise TimeoutError("the body took too long")
        finally:
            # Ends the connection unless the body was read to its end: then it has gone back to
            # the pool by itself.
            response.raw.close()
        return io.BytesIO(body)


class _Adapter(HTTPAdapter):
    """Connections of this very process, whose certificates are loaded once."""

    def __init__(self, *, pool_size: int, tls: bool) -> None:
        self._context = tls_context() if tls else None
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


@cache
def tls_context() -> ssl.SSLContext:
    """Return what verifies servers; loading it takes tens of milliseconds: once per process."""
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH
    return ssl.create_default_context(cafile=bundle)
