"""A small JSON-RPC client for the sandbox's own processes.

The node's upkeep and the Alchemy emulator make a handful of calls; web3.py would cost each of
them 50 MB and half a second of start.
"""

import http.client
import json
import threading
from typing import Any
from urllib.parse import urlsplit


class RpcError(Exception):
    """An answer that the node gave: it is up, and it refused."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.data = data


class RpcClient:
    """Call one node over one kept-open HTTP connection; safe to share between threads."""

    def __init__(self, url: str, *, timeout_seconds: float = 10.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an RPC URL starts with http:// or https:// and names a host")
        self.url = url
        self._https = parts.scheme == "https"
        self._address = (parts.hostname, parts.port)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._connection: http.client.HTTPConnection | None = None
        self._id = 0

    def call(self, method: str, *params: Any) -> Any:
        """Return the result of one call.

        Raises:
            RpcError: the node answered with an error.
            OSError: the node could not be reached, or closed the connection.
        """
        with self._lock:
            self._id += 1
            body = json.dumps(
                {"jsonrpc": "2.0", "id": self._id, "method": method, "params": list(params)}
            ).encode()
            answer = _parse(self._exchange(body))
        if "error" in answer:
            error = answer["error"]
            raise RpcError(error.get("code", 0), error.get("message", ""), error.get("data"))
        return answer["result"]

    def close(self) -> None:
        with self._lock:
            self._drop()

    def _exchange(self, body: bytes) -> bytes:
        """Send one body; a kept connection that the node closed meanwhile is opened anew once."""
        reused = self._connection is not None
        try:
            return self._send(body)
        except (http.client.HTTPException, OSError) as error:
            self._drop()
            if not reused or isinstance(error, TimeoutError):
                raise _as_os_error(error) from error
        try:
            return self._send(body)
        except (http.client.HTTPException, OSError) as error:
            self._drop()
            raise _as_os_error(error) from error

    def _send(self, body: bytes) -> bytes:
        if self._connection is None:
            kind = http.client.HTTPSConnection if self._https else http.client.HTTPConnection
            self._connection = kind(*self._address, timeout=self._timeout_seconds)
        self._connection.request("POST", self._path, body, {"Content-Type": "application/json"})
        return self._connection.getresponse().read()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _parse(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise ConnectionError("the answer is no JSON-RPC reply") from error
    if not isinstance(answer, dict):
        raise ConnectionError("the answer is no JSON-RPC reply")
    return answer


def _as_os_error(error: Exception) -> OSError:
    return error if isinstance(error, OSError) else ConnectionError(str(error))
