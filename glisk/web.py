"""What every request passes through, besides Django's own; and what one web process lets wait.

A thread of the web server waits until its request's body has come, as long as the sender likes. So
requests with a body have a number of threads to themselves (gunicorn.conf.py counts them). A node
that hangs must take neither the database's connections nor the threads from webhooks and pages.
"""

import contextlib
import json
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, Final

import structlog
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse, HttpResponsePermanentRedirect
from django.middleware import common

from glisk.errors import TransientError
from glisk.metrics import count_request
from glisk.timing import timing

logger = structlog.get_logger(__name__)

MOST_BODIES: Final = 64  # in each web process at once
RETRY_AFTER_SECONDS: Final = 5
_SAID_EVERY_SECONDS: Final = 60.0
_BUSY: Final = json.dumps(
    {"detail": "Too many requests wait for their bodies; try again in a moment."}
).encode()
_FOR_MACHINES: Final = frozenset({"/health", "/metrics"})
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestContextMiddleware:
    """Bind a request id to every log line of a request and give it back; count the request."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        began = time.perf_counter()
        response = self.get_response(request)
        response["X-Request-Id"] = request_id
        count_request(
            route=_route_of(request),
            method=request.method if request.method in _METHODS else "other",
            status=response.status_code,
            seconds=time.perf_counter() - began,
        )
        return response


def _route_of(request: HttpRequest) -> str:
    """Return the pattern of its URL; the admin's many pages are one, what leads nowhere another."""
    if (match := request.resolver_match) is None:
        return "none"
    route = f"/{match.route}"
    return "/admin" if route.startswith("/admin/") else route


class CommonMiddleware(common.CommonMiddleware):
    """Django's; but the health pages and the metrics answer to any host.

    Load balancers, orchestrators and Prometheus ask with an IP address or a container's name as
    Host. What is not for everybody does not go by the host (glisk/metrics/access.py).
    """

    def process_request(self, request: HttpRequest) -> HttpResponsePermanentRedirect | None:
        if request.path_info in _FOR_MACHINES or request.path_info.startswith("/health/"):
            return None
        return super().process_request(request)


class BodyPlaces:
    """A WSGI application around ours, which bounds the requests with a body."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._places = threading.BoundedSemaphore(MOST_BODIES)
        self._said_at = -_SAID_EVERY_SECONDS  # monotonic

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        chunked = environ.get("HTTP_TRANSFER_ENCODING")
        if not chunked and environ.get("CONTENT_LENGTH", "") in ("", "0"):
            return self._application(environ, start_response)
        connection = environ.get("gunicorn.socket")
        if not self._places.acquire(blocking=False):
            if time.monotonic() - self._said_at >= _SAID_EVERY_SECONDS:
                self._said_at = time.monotonic()
                logger.warning("bodies_refused", waiting=MOST_BODIES)
            _stop_reading(connection)
            count_request(route="none", method="other", status=503, seconds=0)
            headers = [
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(_BUSY))),
                ("Retry-After", str(RETRY_AFTER_SECONDS)),
                ("X-Request-Id", uuid.uuid4().hex),
            ]
            start_response("503 Service Unavailable", headers)
            return [_BUSY]
        try:
            if connection is not None:
                connection.settimeout(timing.body_silence)  # gunicorn sets it anew for each request
                environ["wsgi.input"] = _Body(environ["wsgi.input"], connection)
            return self._application(environ, start_response)
        finally:
            self._places.release()


class _Body:
    """A body that is read until its sender stops; then nothing more of the connection is."""

    def __init__(self, body: Any, connection: socket.socket) -> None:
        self._body, self._connection = body, connection

    def read(self, size: int | None = None) -> bytes:
        return self._read(self._body.read, size)

    def readline(self, size: int | None = None) -> bytes:
        return self._read(self._body.readline, size)

    def _read(self, read: Callable[[int | None], bytes], size: int | None) -> bytes:
        try:
            return read(size)
        except OSError:
            _stop_reading(self._connection)
            raise


def _stop_reading(connection: socket.socket | None) -> None:
    """Have gunicorn find the connection at its end, instead of waiting for the rest of a body."""
    with contextlib.suppress(OSError):
        if connection is not None:
            connection.shutdown(socket.SHUT_RD)


@contextlib.contextmanager
def bounded_call(vendor: str) -> Iterator[None]:
    """Give the database's connection back and take a place for one call.

    Raises:
        TransientError: all places are taken; nothing was sent.
    """
    places = _call_places()
    if not places.acquire(blocking=False):
        raise TransientError(
            f"{vendor}: too many requests of this web process wait for answers already.",
            vendor=vendor,
            code="busy",
            retry_after_seconds=RETRY_AFTER_SECONDS,
        )
    try:
        if not connection.in_atomic_block:
            connection.close()  # into the pool; the next statement takes one again
        yield
    finally:
        places.release()


@cache
def _call_places() -> threading.BoundedSemaphore:
    return threading.BoundedSemaphore(max(1, settings.WEB_THREADS // 2))
