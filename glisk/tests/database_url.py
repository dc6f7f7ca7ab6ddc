"""The test database's address, for processes that a test starts."""

from urllib.parse import quote

from django.db import connection


def database_url() -> str:
    """Return the URL of the database that the tests of this run have, for another process."""
    parameters = connection.get_connection_params()
    user = quote(str(parameters.get("user", "")), safe="")
    password = quote(str(parameters.get("password", "")), safe="")
    host, port = str(parameters.get("host", "")), parameters.get("port") or 5432
    address, tail = (f"{host}:{port}", "") if not host.startswith("/") else (f":{port}", "?host=")
    tail += quote(host, safe="") if tail else ""
    return f"postgresql://{user}:{password}@{address}/{parameters['dbname']}{tail}"
