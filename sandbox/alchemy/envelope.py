"""Build the bytes of a GRAPHQL ("Custom") webhook and sign them, as Alchemy does."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from typing import Any

BATCH_MINTED_TOPIC = "0x20c0d4a5bab7118059cf1d2fd0403c4f29a05e446d435b347f90b80778374c54"
_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def sign(signing_key: str, body: bytes) -> str:
    """Compute the X-Alchemy-Signature header: hex HMAC-SHA256, the key taken as text."""
    return hmac.new(signing_key.encode(), body, hashlib.sha256).hexdigest()


def new_event_id() -> str:
    """Return a fresh webhook event id."""
    return "whevt_" + "".join(secrets.choice(_ID_LETTERS) for _ in range(16))


def render(webhook_id: str, event_id: str, event: dict[str, Any]) -> bytes:
    """Build a webhook's body: compact JSON, the fields in Alchemy's order."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    envelope = {
        "webhookId": webhook_id,
        "id": event_id,
        "createdAt": f"{moment}.{nanoseconds:09d}Z",
        "type": "GRAPHQL",
        "event": event,
    }
    return json.dumps(envelope, separators=(",", ":")).encode()


def block_event(
    header: dict[str, Any],
    logs: list[dict[str, Any]],
    transactions: dict[str, dict[str, Any]],
    sequence_number: int,
) -> dict[str, Any]:
    """Build the event of one block; `transactions` holds the ones to show, by hash."""
    return {
        "data": {
            "block": {
                "hash": header["hash"],
                "number": int(header["number"], 16),
                "timestamp": int(header["timestamp"], 16),
                "logs": [
                    {
                        "data": log["data"],
                        "topics": log["topics"],
                        "index": int(log["logIndex"], 16),
                        "account": {"address": log["address"].lower()},
                        "transaction": transactions[log["transactionHash"]],
                    }
                    for log in logs
                ],
            }
        },
        "sequenceNumber": str(sequence_number),
    }


def transaction_fields(transaction: dict[str, Any], receipt: dict[str, Any]) -> dict[str, Any]:
    """Return a transaction as our GraphQL query asks for it."""
    return {
        "hash": transaction["hash"],
        "index": int(receipt["transactionIndex"], 16),
        "from": {"address": transaction["from"].lower()},
        "to": {"address": transaction["to"].lower()} if transaction.get("to") else None,
        "status": int(receipt["status"], 16),
    }
