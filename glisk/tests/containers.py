"""A PostgreSQL container for the tests, where a Docker engine answers."""

import atexit
import os
import sys
from pathlib import Path

import psycopg

IMAGE = "postgres:17"
_CONNECT_SECONDS = 10


def postgres_url() -> str | None:
    """Start a container and return its database's URL; None where Docker cannot give one.

    An engine that is there may still be of no use: too old, full, forbidden, without the image, on
    a machine whose ports cannot be reached. Whatever it lacks, there is another database.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR", "/nonexistent")
    sockets = ("/var/run/docker.sock", f"{runtime}/docker.sock", "~/.docker/run/docker.sock")
    is_there = any(Path(socket).expanduser().exists() for socket in sockets)
    if not is_there and "DOCKER_HOST" not in os.environ:
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
