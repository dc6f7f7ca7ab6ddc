"""Serves the counts of this machine's processes, where no web server does: METRICS_PORT.

A child of the worker's supervisor, which shares its memory and ends with it. What rows hold is left
to the web servers: it asks no database.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, make_server

import structlog
from django.conf import settings
from django.db import connections

from glisk.engine.process import run_child
from glisk.metrics.access import may_read
from glisk.metrics.files import FileCollector

logger = structlog.get_logger(__name__)

_TRIED_EVERY_SECONDS: Final = 30.0
# Nothing has to be looked for between requests.
_POLL_SECONDS: Final = 3600.0


class MetricsServer:
    """The child process; there is none if METRICS_PORT is 0."""

    def __init__(self) -> None:
        self._process: Any = None

    def keep_alive(self) -> None:
        """Start it, or start it anew if somebody has killed it."""
        if not settings.METRICS_PORT or (self._process and self._process.is_alive()):
            return
        from django_q.cluster import get_mp_context

        connections.close_all()  # a connection must not be shared by a fork
        self._process = get_mp_context().Process(
            target=run_child, args=(os.getpid(), serve), name="metrics", daemon=True
        )
        self._process.start()


class _Handler(WSGIRequestHandler):
    timeout = 5.0  # of a client that says nothing; requests are answered one by one

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Say nothing: there is no access log."""


def serve() -> None:
    """Answer until this process is ended, which it is with its parent."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True:
        try:
            server = make_server(
                settings.HOST, settings.METRICS_PORT, answer, handler_class=_Handler
            )
        except OSError as error:
            logger.warning("metrics_port_unusable", port=settings.METRICS_PORT, error=str(error))
            time.sleep(_TRIED_EVERY_SECONDS)
        else:
            server.serve_forever(_POLL_SECONDS)


def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer /metrics (a WSGI application), to those who may read it."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import make_wsgi_app

    if environ.get("PATH_INFO") != "/metrics":
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"/metrics is all there is.\n"]
    if not may_read(environ):
        headers = [("Content-Type", "text/plain"), ("WWW-Authenticate", "Bearer")]
        start_response("401 Unauthorized", headers)
        return [b"Send METRICS_TOKEN as a bearer token.\n"]
    registry = CollectorRegistry()
    registry.register(FileCollector())
    told: Iterable[bytes] = make_wsgi_app(registry)(environ, start_response)
    return told
