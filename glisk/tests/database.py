"""The test database's address, for processes that a test starts."""

from urllib.parse import quote

from django.db import connection


def database_url(name: str | None = None) -> str:
    """Return the URL of the test database, or of another one on its server."""
    given = connection.settings_dict
    host, port = str(given["HOST"] or "localhost"), given["PORT"] or 5432
    user, password = quote(given["USER"], safe=""), quote(given["PASSWORD"] or "", safe="")
    is_socket = host.startswith("/")
    place = f":{port}" if is_socket else f"{host}:{port}"
    tail = f"?host={quote(host, safe='')}" if is_socket else ""
    return f"postgresql://{user}:{password}@{place}/{name or given['NAME']}{tail}"
