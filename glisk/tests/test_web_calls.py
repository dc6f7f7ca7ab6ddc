"""A node or vendor that hangs takes neither the database nor the threads from everybody else."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from hashlib import sha256

import pytest
from django.conf import settings
from django.utils import timezone

from authors.models import XLinkRequest
from glisk.tests.web_server import WebServer, web
from webhooks.authentication import sign_alchemy_body

__all__ = ["web"]

WALLET = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"
BODY = {
    "wallet_address": WALLET,
    "prompt_text": "A fox",
    "message": f"Update GLISK prompt for wallet: {WALLET}",
    "signature": "0x" + "ab" * 200,
}
JSON = {"Content-Type": "application/json"}
CAPACITY = {
    "webhookId": "wh_1",
    "id": "whevt_1",
    "createdAt": "2026-02-01T10:00:00Z",
    "type": "GRAPHQL",
    "event": {"error": "Monthly capacity limit exceeded."},
}


class HangingServer:
    """Takes connections and says nothing until it hangs up on all of them."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.held: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        try:
            while True:
                self.held.append(self._listener.accept()[0])
        except OSError:
            return

    def wait_for(self, connections: int) -> None:
        deadline = time.monotonic() + 60
        while len(self.held) < connections:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def hang_up(self) -> None:
        for connection in self.held:
            connection.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()


@pytest.fixture
def node() -> Iterator[HangingServer]:
    server = HangingServer()
    yield server
    server.close()


def test_requests_that_wait_for_a_node_hold_no_connection_and_few_threads(
    web: Callable[..., WebServer], node: HangingServer
) -> None:
    server = web(
        WEB_WORKERS="1",
        WEB_THREADS="4",
        DB_POOL_SIZE="2",
        RPC_URL=node.url,
        RPC_TIMEOUT_SECONDS="60",
        X_CLIENT_ID="of the test",
        X_API_URL=node.url,
        LINK_TIMEOUT_SECONDS="60",
    )

    def post() -> tuple[int, dict[str, str]]:
        return server.send("POST", "/api/authors/prompt", json.dumps(BODY).encode(), JSON)

    def come_back_from_x(state: str) -> tuple[int, dict[str, str]]:
        path = f"/api/authors/x/callback?code=code&state={state}"
        return server.get(path, Cookie="glisk_x_link=browser")

    for state in ("one", "two"):
        XLinkRequest.objects.create(
            state_hash=sha256(state.encode()).hexdigest(),
            browser_hash=sha256(b"browser").hexdigest(),
            wallet_address=WALLET,
            code_verifier="v" * 43,
            expires_at=timezone.now() + timedelta(minutes=5),
        )
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(post), pool.submit(come_back_from_x, "one")]
        node.wait_for(2)
        status, headers = come_back_from_x("two")
        assert status == 302
        assert "error=token_exchange_failed" in headers["location"]
        for _ in range(58):
            status, headers = post()
            assert status == 503
            assert int(headers["retry-after"]) > 0
        # As many as the database's pool has connections wait; nobody else does.
        event = json.dumps(CAPACITY).encode()
        signed = {
            **JSON,
            "X-Alchemy-Signature": sign_alchemy_body(event, settings.ALCHEMY_WEBHOOK_SECRETS[0]),
        }
        assert server.send("POST", "/webhooks/alchemy", event, signed)[0] == 200
        assert server.get("/api/authors/leaderboard")[0] == 200
        assert server.get("/health/metrics")[0] == 200
        assert not any(request.done() for request in waiting)
        assert len(node.held) == 2
        node.hang_up()
        assert [request.result()[0] for request in waiting] == [503, 302]
