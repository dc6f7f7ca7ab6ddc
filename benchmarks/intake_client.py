"""A client that is no bottleneck: signed events over kept-alive sockets, from one lean process.

    python -m benchmarks.intake_client < plan.json

Everything is built and signed before the first byte is sent; then one thread and one selector
move bytes. It says what it cost itself, so that nobody takes its work for the server's.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from dataclasses import asdict, dataclass, field

from sandbox.alchemy.envelope import BATCH_MINTED_TOPIC, render, sign

PATH = "/webhooks/alchemy"
_FIRST_BLOCK, _FIRST_SECOND = 1_000, 1_760_000_000
_END_OF_HEADERS = b"\r\n\r\n"
_LENGTH = b"content-length:"


@dataclass(frozen=True)
class Plan:
    """What to send: `events` of one mint of `quantity` tokens each; quantity 0 is a heartbeat.

    `per_second` 0 sends the next event as soon as a connection is free, else events are due at
    that rate and their latency counts from then, whether or not a connection was free.
    """

    port: int
    signing_key: str
    contract: str
    minter: str
    prompt_author: str
    events: int
    first_token: int = 1
    quantity: int = 1
    connections: int = 8
    per_second: float = 0.0


@dataclass
class Result:
    """Latencies in the order of the answers, in ms; `cpu_seconds` is the client's own."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return len(self.latencies_ms) / self.seconds


class _Line:
    """One kept-alive connection; at most one request is on its way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self._received = b""

    def send(self, request: bytes, due: float) -> None:
        self.due = due
        self._received = b""
        self.socket.sendall(request)

    def receive(self) -> bytes | None:
        """Return the whole answer once it is there. Raises `ConnectionError` if it is cut off."""
        piece = self.socket.recv(65_536)
        if not piece:
            raise ConnectionError("the server hung up")
        self._received += piece
        headers, found, body = self._received.partition(_END_OF_HEADERS)
        if not found:
            return None
        length = headers.lower().partition(_LENGTH)[2].partition(b"\r\n")[0]
        return self._received if len(body) >= int(length or 0) else None


def send_events(plan: Plan) -> Result:
    """Send all events of the plan and return when each is answered."""
    requests = _requests(plan)
    lines = [_Line(plan.port) for _ in range(plan.connections)]
    selector = selectors.DefaultSelector()
    for line in lines:
        selector.register(line.socket, selectors.EVENT_READ, line)
    result = Result()
    free, sent, answered = list(lines), 0, 0
    cpu, start = time.process_time(), time.perf_counter()
    while answered < plan.events:
        now = time.perf_counter()
        due = start + sent / plan.per_second if plan.per_second else now
        while free and sent < plan.events and due <= now:
            free.pop().send(requests[sent], due)
            sent += 1
            due = start + sent / plan.per_second if plan.per_second else now
        pause = max(0.0, due - now) if free and sent < plan.events else 30.0
        for key, _ in selector.select(pause):
            busy: _Line = key.data
            if (answer := busy.receive()) is not None:
                result.latencies_ms.append(1000 * (time.perf_counter() - busy.due))
                if not answer.startswith(b"HTTP/1.1 200 "):
                    result.refused.append(answer.decode(errors="replace"))
                free.insert(0, busy)
                answered += 1
    result.seconds = time.perf_counter() - start
    result.cpu_seconds = time.process_time() - cpu
    for line in lines:
        line.socket.close()
    return result


def _requests(plan: Plan) -> list[bytes]:
    return [_request(plan, number) for number in range(plan.events)]


def _request(plan: Plan, number: int) -> bytes:
    """Return one event as Alchemy sends it, each in a block and a transaction of its own."""
    first = plan.first_token + number * plan.quantity
    body = render("wh_sandbox", f"whevt_{plan.quantity}x{first}n{number}", _event(plan, first))
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{plan.port}\r\n"
        "User-Agent: Apache-HttpClient/4.5.13 (Java/17)\r\nAccept-Encoding: gzip\r\n"
        "Content-Type: application/json; charset=utf-8\r\n"
        f"X-Alchemy-Signature: {sign(plan.signing_key, body)}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _event(plan: Plan, first: int) -> dict[str, object]:
    log = {
        "data": "0x" + _word(plan.quantity) + _word(250_000_000_000_000 * plan.quantity),
        "topics": [
            BATCH_MINTED_TOPIC,
            "0x" + _word(int(plan.minter, 16)),
            "0x" + _word(int(plan.prompt_author, 16)),
            "0x" + _word(first),
        ],
        "index": 2,
        "account": {"address": plan.contract.lower()},
        "transaction": {
            "hash": "0x" + _word(2**200 + first),
            "index": 0,
            "from": {"address": plan.minter.lower()},
            "to": {"address": plan.contract.lower()},
            "status": 1,
        },
    }
    block = {
        "hash": "0x" + _word(2**201 + first),
        "number": _FIRST_BLOCK + first,
        "timestamp": _FIRST_SECOND + 2 * first,
        "logs": [log] if plan.quantity else [],
    }
    return {"data": {"block": block}, "sequenceNumber": str(10**19 + first)}


def _word(value: int) -> str:
    return f"{value:064x}"


def main() -> int:
    """Read a plan from stdin, write the result to stdout."""
    json.dump(asdict(send_events(Plan(**json.load(sys.stdin)))), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
