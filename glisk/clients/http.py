"""The one HTTP client under every vendor's client: `requests`, without its surprises.

It insists on timeouts, bounds each reply in size and in time, never retries (the retry policy
belongs to the row), follows no redirect and keeps no cookie. Every failure leaves as an error of
`glisk.errors`; for a request that is not safe to repeat it tells "surely not accepted" from
"perhaps accepted", because a paid call must not be made twice.

HTTP semantics: RFC 9110 (status codes, Retry-After in section 10.2.3); 52x are Cloudflare's.
"""

from __future__ import annotations

import io
import json
import math
import os
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from http.cookiejar import DefaultCookiePolicy
from itertools import accumulate
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

import requests
import urllib3
from django.conf import settings
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies

from glisk.clock import ClockReading, boot_seconds
from glisk.errors import (
    AccountError,
    ArtefactError,
    InvalidRequestError,
    NotSentError,
    PermanentError,
    ProviderError,
    TransientError,
    UnknownOutcomeError,
)
from glisk.metrics import timed_vendor_call

MAX_JSON_BYTES: Final = 4 * 1024 * 1024
MAX_ERROR_BYTES: Final = 64 * 1024
_PIECE: Final = 64 * 1024
# Of JSON: far more than any vendor sends, far less than a thread's stack holds.
MAX_DEPTH: Final = 5_000
_NOT_BRACKETS: Final = bytes(code for code in range(256) if code not in b"[]{}")
_LONGEST_RETRY_AFTER_SECONDS: Final = 86_400.0
_EXCERPT_LENGTH: Final = 300
ACCOUNT_STATUSES: Final = frozenset({401, 402, 403})
_TRANSIENT_STATUSES: Final = frozenset({408, 425, 429})
# Cloudflare had no connection to the server behind it (refused, no route). Every other 5xx, the
# server's own 500 and 503 too, may follow work that was accepted.
_NEVER_REACHED: Final = frozenset({521, 523})
# The codes of errors for requests that brought no reply.
UNANSWERED: Final = frozenset({"timeout", "connection"})

# What surrounds each call of this process, by the vendor's name.
_around_call: Callable[[str], AbstractContextManager[object]] = nullcontext


def surround_calls(manager: Callable[[str], AbstractContextManager[object]]) -> None:
    """Have each call of this process made inside `manager(vendor)`, which may refuse it.

    It refuses by a `ProviderError`; the web server bounds its calls so (glisk/web.py).
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
    def from_settings(cls, *, longest: float | None = None) -> Self:
        """Read the HTTP_* settings; `longest`: another bound of the read, in seconds."""
        read = settings.HTTP_READ_TIMEOUT_SECONDS if longest is None else longest
        connect = min(settings.HTTP_CONNECT_TIMEOUT_SECONDS, read)
        return cls(connect, read, settings.HTTP_POOL_SIZE)


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply with its whole (bounded) body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def of(cls, response: requests.Response) -> Self:
        return cls(response.status_code, response.headers, response.content)

    def json_object(self) -> dict[str, Any]:
        """Return the body as a JSON object; an empty one if it is anything else."""
        try:
            value = loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    def excerpt(self) -> str:
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
    return Fault(reply.excerpt())


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
                raise _TooLargeError(f"larger than the limit of {limit} bytes")
            return response
        try:
            response.raw = self._read(response, MAX_ERROR_BYTES)
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
            raise _error_for_reply(reply, fault, self.vendor, where, idempotent) from None
        except _TooLargeError as error:
            kind = ArtefactError if idempotent else UnknownOutcomeError
            text = f"{where}: the reply is {error}."
            raise kind(text, vendor=self.vendor, code="too_large") from None
        except _LateError:
            text = f"{where} came too late and was not made. It is tried again."
            raise NotSentError(text, vendor=self.vendor) from None
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise _error_for_lost(error, self.vendor, where, idempotent) from None


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


@cache
def tls_context() -> ssl.SSLContext:
    """Return what verifies servers; loading it takes tens of milliseconds: once per process."""
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH
    return ssl.create_default_context(cafile=bundle)


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a Retry-After header asks for, or None.

    Takes seconds or an HTTP date, which is compared with the reply's own Date header where there
    is one: a wrong clock on either side does no harm. Never negative, at most a day.
    """
    value = headers.get("Retry-After", "").strip()
    try:
        return bounded_seconds(float(value))
    except ValueError:
        due = timestamp(value)
        return None if due is None else seconds_until(due, headers)


def seconds_until(due: float, headers: Mapping[str, str]) -> float | None:
    """Return the seconds until a time (since 1970) by the clock of the reply with these headers."""
    sent = timestamp(headers.get("Date", ""))
    return bounded_seconds(due - (time.time() if sent is None else sent))


def bounded_seconds(seconds: float) -> float | None:
    """Return a vendor's wait as a usable number of seconds, or None if it is not one."""
    if not math.isfinite(seconds):
        return None
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER_SECONDS)


def timestamp(value: str) -> float | None:
    """Return an HTTP date in seconds since 1970, or None if it is none."""
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _error_for_reply(
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


def _error_for_lost(error: Exception, vendor: str, where: str, idempotent: bool) -> ProviderError:
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


def loads(body: bytes, *, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """Parse UTF-8 JSON from outside; raise `ValueError` if it is none or nests too deeply.

    py_ecc, which web3 imports, lifts Python's recursion limit so far that a deep body would end
    the process. So the depth is looked at first; brackets in texts count as well.
    """
    brackets = body.translate(None, _NOT_BRACKETS)
    if len(brackets) > MAX_DEPTH:
        depths = accumulate(1 if code in b"[{" else -1 for code in brackets)
        if max(depths) > MAX_DEPTH:
            raise ValueError("nested too deeply")
    try:
        return json.loads(body.decode("utf-8"), parse_constant=parse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
