"""A PostgreSQL of one's own that listens on TCP: the embedded one has a Unix socket only."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg

from glisk.database.embedded_postgres.layout import Layout, programs
from sandbox.node import free_port

_START_SECONDS = 30.0


@dataclass(frozen=True)
class TcpPostgres:
    """A running server; `socket_url` leads to the same database from any network namespace."""

    url: str
    socket_url: str


@contextmanager
def tcp_postgres(
    address: str = "127.0.0.1", *, within: Sequence[str] = ()
) -> Iterator[TcpPostgres]:
    """Start a fresh server with an empty database; nothing is left behind.

    `within` is a command that runs another one elsewhere (`ip netns exec NAME`).
    """
    directory = Path(tempfile.mkdtemp(prefix="glisk-tcp-postgres-"))
    layout, binaries = Layout(directory), programs()
    user, group = layout.server_user()
    as_user: list[str] = []
    if os.geteuid() == 0:  # which PostgreSQL refuses
        os.chown(directory, user, group)
        as_user = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
    port = free_port()
    initdb = [str(binaries / "initdb"), "-D", str(layout.cluster), "--username=postgres"]
    server: subprocess.Popen[bytes] | None = None
    try:
        subprocess.run(
            [*as_user, *initdb, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"],
            check=True,
            capture_output=True,
        )
        with (layout.cluster / "pg_hba.conf").open("a") as rules:
            rules.write("host all all samenet trust\n")
        command = [
            *within,
            *as_user,
            str(binaries / "postgres"),
            "-D",
            str(layout.cluster),
            f"-p{port}",
            f"--listen_addresses={address}",
            f"--unix_socket_directories={directory}",
            "--max_connections=100",
            "--fsync=off",
        ]
        with (directory / "log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log)
        _create_database(directory, port)
        yield TcpPostgres(
            f"postgresql://postgres@{address}:{port}/glisk",
            f"postgresql://postgres@:{port}/glisk?host={quote(str(directory), safe='')}",
        )
    finally:
        if server is not None:
            server.terminate()
            with suppress(subprocess.TimeoutExpired):
                server.wait(10)
            server.kill()
            server.wait()
        shutil.rmtree(directory, ignore_errors=True)


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
