"""A PostgreSQL of a test's own that listens on TCP: the embedded one has a Unix socket only."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg

from glisk.database.embedded_postgres import Layout, programs
from sandbox.node import free_port

_START_SECONDS = 30.0


@dataclass(frozen=True)
class TcpPostgres:
    """A running server; `socket_url` leads to the same database."""

    url: str
    socket_url: str


@contextmanager
def tcp_postgres() -> Iterator[TcpPostgres]:
    """Start a fresh server with an empty database; nothing is left behind."""
    directory = Path(tempfile.mkdtemp(prefix="glisk-tcp-postgres-"))
    layout, binaries, port = Layout(directory), programs(), free_port()
    as_user: list[str] = []
    if os.geteuid() == 0:  # which PostgreSQL refuses
        user, group = layout.server_user()
        os.chown(directory, user, group)
        as_user = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
    cluster = ["-D", str(layout.cluster)]
    initdb = [
        *(str(binaries / "initdb"), *cluster, "--username=postgres", "--auth=trust"),
        *("--encoding=UTF8", "--locale=C", "--no-sync"),
    ]
    postgres = [
        *(str(binaries / "postgres"), *cluster, f"-p{port}", "--listen_addresses=127.0.0.1"),
        *(f"--unix_socket_directories={directory}", "--max_connections=100", "--fsync=off"),
    ]
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        subprocess.run([*as_user, *initdb], check=True, capture_output=True)
        log = stack.enter_context((directory / "log").open("wb"))
        server = subprocess.Popen([*as_user, *postgres], stdout=log, stderr=log)
        stack.callback(server.wait)
        stack.callback(server.send_signal, signal.SIGQUIT)  # at once: nothing of it is kept
        _create_database(directory, port)
        yield TcpPostgres(
            f"postgresql://postgres@127.0.0.1:{port}/glisk",
            f"postgresql://postgres@:{port}/glisk?host={quote(str(directory), safe='')}",
        )


def _create_database(sockets: Path, port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            with psycopg.connect(
                host=str(sockets), port=port, user="postgres", dbname="postgres", autocommit=True
            ) as session:
                session.execute("CREATE DATABASE glisk")
                return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
