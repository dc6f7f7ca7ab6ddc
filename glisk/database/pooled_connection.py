"""Connections of the web server's pool, whose health check costs no round trip."""

import select
from typing import Any

import psycopg


class PooledConnection(psycopg.Connection[Any]):
    """A connection that answers the pool's health check from its socket.

    Before each request the pool sends an empty query (psycopg_pool's `check_connection`), which
    takes a tenth of the CPU of a webhook. A server that ended a connection has said so on the
    socket: only if there is something unread is it asked. A peer that vanished without a word
    is found by TCP's keepalives; until then a request may fail, and vendors deliver again.
    """

    def execute(self, query: Any, params: Any = None, **options: Any) -> psycopg.Cursor[Any]:
        if query == "" and not params and not options and self._is_quiet():
            return self.cursor()
        return super().execute(query, params, **options)

    def _is_quiet(self) -> bool:
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN | select.POLLPRI)
        return not self.closed and not poll.poll(0)
