"""A PostgreSQL container for the tests, where a Docker engine answers."""

import atexit
import os
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

IMAGE = "postgres:17"
_PING_SECONDS = 1.0
_CONNECT_SECONDS = 10


def engine_answers() -> bool:
    """Tell whether a Docker engine is there, in microseconds if there is none."""
    return any(_answers(address) for address in _engine_addresses())


def postgres_url() -> str | None:
    """Start a container and return its database's URL; None where Docker cannot give one.

    An engine that answers may still be of no use: too old, full, forbidden, without the image, on
    a machine whose ports cannot be reached. Whatever it lacks, there is another database.
    """
    if not engine_answers():
        return None
    try:
        return _start_postgres()
    except Exception as error:  # noqa: BLE001 - see above
        sys.stderr.write(f"No {IMAGE} container, so the embedded PostgreSQL serves: {error}\n")
        return None


def _start_postgres() -> str:
    """Return the URL of a database that answers.

    Its container is removed at exit, and by testcontainers' own reaper if this process is killed.
    """
    from testcontainers.community.postgres import PostgresContainer

    # Nothing in here needs to outlive a crash of the machine.
    speed = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off"
    container = PostgresContainer(IMAGE, driver=None)
    container.with_command(f"postgres -c max_connections=200 {speed}")
    atexit.register(container.stop)
    container.start()
    url = str(container.get_connection_url())
    psycopg.connect(url, connect_timeout=_CONNECT_SECONDS).close()
    return url


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
    except (OSError, ValueError):  # nobody there, or DOCKER_HOST is no address
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
