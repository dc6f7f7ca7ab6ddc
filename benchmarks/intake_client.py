"""Send signed events by the lean client.

python -m benchmarks.intake_client < plan.json
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass

from benchmarks.lean_client import Result, send_requests
from sandbox.alchemy.envelope import BATCH_MINTED_TOPIC, render, sign

PATH = "/webhooks/alchemy"
_FIRST_BLOCK, _FIRST_SECOND = 1_000, 1_760_000_000


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


def send_events(plan: Plan) -> Result:
    """Send all events of the plan and return when each is answered."""
    return send_requests(
        _requests(plan),
        port=plan.port,
        connections=plan.connections,
        per_second=plan.per_second,
    )


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
