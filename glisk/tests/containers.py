"""A PostgreSQL container for the tests, where a Docker engine answers."""

import atexit
import os
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

IMAGE = "postgres:17"
_PING_SECONDS = 1.0


def engine_answers() -> bool:
    """Tell whether a Docker engine is there, in microseconds if there is none."""
    return any(_answers(address) for address in _engine_addresses())


def postgres_url() -> str | None:
    """Start a container and return its database's URL; None if there is no engine or no image.

    The container is removed at exit, and by testcontainers' own reaper if this process is killed.
    """
    if not engine_answers():
        return None
    from testcontainers.postgres import PostgresContainer

    # Nothing in here needs to outlive a crash of the machine.
    speed = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off"
    container = PostgresContainer(IMAGE, driver=None)
    container.with_command(f"postgres -c max_connections=200 {speed}")
    try:
        container.start()
    except Exception as error:  # noqa: BLE001 - whatever Docker lacks, there is another database
        sys.stderr.write(f"No {IMAGE} container, so the embedded PostgreSQL serves: {error}\n")
        return None
    atexit.register(container.stop)
    return str(container.get_connection_url())


def _engine_addresses() -> list[str]:
    if given := os.environ.get("DOCKER_HOST"):
        return [given]
    runtime = os.environ.get("XDG_RUNTIME_DIR", "/nonexistent")
    places = ("/var/run/docker.sock", f"{runtime}/docker.sock")
    return [f"unix://{place}" for place in (*places, Path.home() / ".docker/run/docker.sock")]


def _answers(address: str) -> bool:
    try:
        with _socket(address) as connection:
            connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            return b" 200 " in connection.recv(64)
    except OSError:
        return False


def _socket(address: str) -> socket.socket:
    parts = urlsplit(address)
    if parts.scheme != "unix":
        return socket.create_connection((parts.hostname or "", parts.port or 2375), _PING_SECONDS)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_PING_SECONDS)
    try:
        connection.connect(parts.path)
    except OSError:
        connection.close()
        raise
    return connection
