"""The one HTTP client under every vendor's client.

It keeps one pooled `requests` session per process, insists on timeouts, never retries (the retry
policy belongs to the row) and never follows a redirect. Every failure leaves as an error of
`glisk.errors`; for a request that is not safe to repeat it tells "surely not accepted" from
"perhaps accepted", because a paid call must not be made twice. A small call costs about half a
millisecond of CPU.
"""

from __future__ import annotations

import json
import os
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final, Self
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from glisk.clients.http_faults import Fault, Reply, error_for_lost, error_for_reply, read_plain
from glisk.errors import ArtefactError, ProviderError, TransientError, UnknownOutcomeError

MAX_JSON_BYTES: Final = 4 * 1024 * 1024
MAX_ERROR_BYTES: Final = 64 * 1024
_PIECE: Final = 64 * 1024


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
            connect_timeout_seconds=getattr(settings, "HTTP_CONNECT_TIMEOUT_SECONDS", 5.0),
            read_timeout_seconds=getattr(settings, "HTTP_READ_TIMEOUT_SECONDS", 30.0),
            pool_size=getattr(settings, "HTTP_POOL_SIZE", 10),
        )


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
        """Raise ValueError if the base URL is not http(s) with a host."""
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"the base URL of {vendor} must be http:// or https:// with a host")
        self.vendor = vendor
        self.base_url = base_url.rstrip("/")
        self._headers = {
            "User-Agent": "glisk-backend",
            # Replies are small and bytes are hashed: compression would only cost CPU.
            "Accept-Encoding": "identity",
            **(headers or {}),
        }
        self._options = options or HttpOptions()
        self._read_fault = read_fault
        # Looked up once: per call it is a third of the whole cost.
        self._proxies = dict(requests.utils.get_environ_proxies(self.base_url))
        self._held: tuple[requests.Session, int] | None = None
        self._session()  # now, so that the first calls of many threads share one session

    def __repr__(self) -> str:
        return f"<HttpClient for {self.vendor}>"

    def close(self) -> None:
        """Close the pooled connections; the next call opens new ones."""
        if self._held is not None:
            self._held[0].close()
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
    ) -> Reply:
        """Make one request and return its 2xx reply with the whole body read.

        `idempotent` says whether the request may be repeated without harm; with False a reply
        that got lost raises UnknownOutcomeError. Replies over `max_bytes` raise ArtefactError.
        Everything else that goes wrong raises TransientError or a kind of PermanentError.
        """
        what = f"{method} {path}"
        send_headers = dict(headers or {})
        body: bytes | Mapping[str, str] | None = data
        if json_body is not None:
            body = json.dumps(json_body, separators=(",", ":"), allow_nan=False).encode("ascii")
            send_headers["Content-Type"] = "application/json"
        try:
            response = self._session().request(
                method,
                self.base_url + path,
                params=params,
                data=body,
                files=files,
                headers=send_headers,
                timeout=(
                    self._options.connect_timeout_seconds,
                    self._options.read_timeout_seconds,
                ),
                allow_redirects=False,
                stream=True,
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            # "from None": the cause's text carries the whole URL.
            raise error_for_lost(error, self.vendor, what, idempotent=idempotent) from None
        return self._finish(response, what, idempotent=idempotent, max_bytes=max_bytes)

    def _session(self) -> requests.Session:
        held = self._held
        if held is not None and held[1] == os.getpid():
            return held[0]
        if held is not None:
            # A forked child must not talk on its parent's sockets; closing its copies of them
            # does not end the parent's connections.
            held[0].close()
        session = requests.Session()
        weakref.finalize(self, session.close).atexit = False
        session.trust_env = False  # ~/.netrc would replace our Authorization header
        session.proxies.update(self._proxies)
        session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
        session.headers.update(self._headers)
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=self._options.pool_size)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        self._held = (session, os.getpid())
        return session

    def _finish(
        self, response: requests.Response, what: str, *, idempotent: bool, max_bytes: int
    ) -> Reply:
        status = response.status_code
        accepted = 200 <= status < 300
        try:
            body, whole = self._read(response, max_bytes if accepted else MAX_ERROR_BYTES)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
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

    def _read(self, response: requests.Response, max_bytes: int) -> tuple[bytes, bool]:
        """Read the body up to a size and a time; tell whether that was all of it."""
        deadline = time.monotonic() + self._options.read_timeout_seconds
        body = bytearray()
        try:
            # read1 returns what has arrived, so that a vendor who sends a byte now and then
            # runs into the deadline instead of holding the thread.
            while piece := response.raw.read1(_PIECE, decode_content=True):
                body += piece
                if len(body) > max_bytes:
                    return bytes(body[:max_bytes]), False
                if time.monotonic() > deadline:
                    raise TimeoutError("the body took too long")
        finally:
            # Ends the connection unless the body was read to its end: then it has gone back to
            # the pool by itself.
            response.raw.close()
        return bytes(body), True

    def _too_large(
        self, what: str, status: int, max_bytes: int, *, idempotent: bool
    ) -> ProviderError:
        text = f"{self.vendor}: {what}: the reply is larger than the limit of {max_bytes} bytes."
        if idempotent:
            return ArtefactError(text, vendor=self.vendor, status=status, code="too_large")
        return UnknownOutcomeError(text, vendor=self.vendor, status=status, code="too_large")


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
