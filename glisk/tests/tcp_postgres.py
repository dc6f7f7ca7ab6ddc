"""A PostgreSQL that listens on loopback, for what only a connection over TCP can show."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from glisk.database.embedded_postgres import Layout, programs
from sandbox.node import free_port

_START_SECONDS = 60.0


@contextmanager
def tcp_postgres() -> Iterator[tuple[str, str]]:
    """Start a fresh server; yield its URLs over TCP and by its socket. Nothing is left behind."""
    with tempfile.TemporaryDirectory(prefix="glisk-tcp-postgres-") as name:
        layout, port = Layout(Path(name)), free_port()
        as_user: list[str] = []
        if os.geteuid() == 0:  # which PostgreSQL refuses
            user, group = layout.server_user()
            os.chown(name, user, group)
            as_user = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
        cluster = ["-D", str(layout.cluster)]
        initdb = [str(programs() / "initdb"), *cluster, "-U", "postgres", "-A", "trust", "-N"]
        subprocess.run([*as_user, *initdb], check=True, capture_output=True)
        postgres = [str(programs() / "postgres"), *cluster, "-p", str(port), "-k", name, "-F"]
        server = subprocess.Popen([*as_user, *postgres], stderr=subprocess.DEVNULL)
        try:
            by_tcp = f"postgresql://postgres@127.0.0.1:{port}/postgres"
            deadline = time.monotonic() + _START_SECONDS
            while True:
                try:
                    psycopg.connect(by_tcp).close()
                    break
                except psycopg.OperationalError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            yield by_tcp, f"postgresql://postgres@:{port}/postgres?host={name}"
        finally:
            server.send_signal(signal.SIGQUIT)  # at once: nothing of it is kept
            server.wait()
