"""A small JSON-RPC client for the sandbox's own processes.

The node's upkeep and the Alchemy emulator make a handful of calls; web3.py would cost each of
them 50 MB and half a second of start.
"""

import threading
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry


class RpcError(Exception):
    """An answer that the node gave: it is up, and it refused."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message


class RpcClient:
    """Call one node over one kept-open HTTP connection; safe to share between threads."""

    def __init__(self, url: str, *, timeout_seconds: float = 10.0) -> None:
        self.url = url
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy between us and loopback
        # The node may have closed the connection just now.
        self._session.mount("http", HTTPAdapter(max_retries=Retry(1, allowed_methods=None)))

    def call(self, method: str, *params: Any) -> Any:
        """Return the result of one call.

        Raises:
            RpcError: the node answered with an error.
            OSError: the node could not be reached, or closed the connection.
        """
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        with self._lock:
            answer = self._session.post(self.url, json=body, timeout=self._timeout_seconds).json()
        if "error" in answer:
            error = answer["error"]
            raise RpcError(error.get("code", 0), error.get("message", ""))
        return answer["result"]

    def close(self) -> None:
        self._session.close()
