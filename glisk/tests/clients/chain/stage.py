"""Answers of a node, as the tests of the mint reader script them."""

from __future__ import annotations

import json
from typing import Any

from glisk.clients.chain import MINTED_TOPIC
from glisk.tests.clients.scripted_server import Step, answer

CONTRACT = "0xC0dEc0dec0DeC0Dec0dEc0DEC0DEC0DEC0DEC0dE"
TOPIC = MINTED_TOPIC
HASH = "0x" + "ab" * 32
KEY = "alch-secret-key-in-the-path"


def results(*values: Any) -> Step:
    """Answer a batch, in reversed order, with results or {"error": …}."""
    members = [
        {"jsonrpc": "2.0", "id": index}
        | (value if isinstance(value, dict) and "error" in value else {"result": value})
        for index, value in enumerate(values)
    ]
    return answer(200, json.dumps(members[::-1]))


def result(value: Any) -> Step:
    return answer(200, {"jsonrpc": "2.0", "id": 1, "result": value})


def block(number: int = 7, **facts: Any) -> dict[str, Any]:
    return {"number": hex(number), "hash": HASH.upper().replace("X", "x"), "timestamp": "0x65"} | (
        facts
    )


def word(value: int) -> str:
    return f"0x{value:064x}"


def text(value: bytes) -> str:
    size = -(-len(value) // 32) * 32
    return "0x" + f"{32:064x}{len(value):064x}" + value.ljust(size, b"\0").hex()


def log(number: int = 5, **facts: Any) -> dict[str, Any]:
    return {
        "address": CONTRACT.lower(),
        "topics": [TOPIC, word(1), word(2), word(3)],
        "data": "0x",
        "blockNumber": hex(number),
        "removed": False,
    } | facts


def revert(selector: str = "0x7e273289") -> dict[str, Any]:
    message = f"execution reverted: custom error {selector}"
    return {"error": {"code": 3, "message": message, "data": selector}}
