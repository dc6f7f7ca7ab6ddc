"""A front of the test database that speaks TLS, as managed servers do."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import connection

# Certificate and key of 127.0.0.1, signed by itself.
LOOPBACK_PEM = Path(__file__).parent / "data" / "loopback.pem"
_TLS_WANTED = (80877103).to_bytes(4, "big")


@contextmanager
def tls_front() -> Iterator[int]:
    """Serve the test database by TLS only; yield the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(LOOPBACK_PEM)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, context), daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, context: ssl.SSLContext) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_serve, args=(client, context), daemon=True).start()


def _serve(client: socket.socket, context: ssl.SSLContext) -> None:
    # https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL
    with client, contextlib.suppress(OSError):
        while client.recv(8)[4:] != _TLS_WANTED:
            client.sendall(b"N")  # encryption by GSSAPI
        client.sendall(b"S")
        with context.wrap_socket(client, server_side=True) as secured, _database() as database:
            threading.Thread(target=_copy, args=(secured, database), daemon=True).start()
            _copy(database, secured)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65_536):
            target.sendall(piece)


def _database() -> socket.socket:
    parameters = connection.get_connection_params()
    host, port = str(parameters.get("host", "")), int(parameters.get("port") or 5432)
    if not host.startswith("/"):
        return socket.create_connection((host, port))
    found = socket.socket(socket.AF_UNIX)
    found.connect(f"{host}/.s.PGSQL.{port}")
    return found
