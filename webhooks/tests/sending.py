"""Send events to the webhooks as the vendors do: the same shapes, signed with a real HMAC."""

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.test import Client

from authors.tests.factories import wallet
from tokens.minting.mint_log import BATCH_MINTED_TOPIC
from tokens.tests.factories import hash32
from webhooks.authentication import sign_alchemy_body

ALCHEMY_URL = "/webhooks/alchemy"
SAMPLE_FILE = Path(__file__).parent / "data" / "alchemy_graphql_sample.json"
SAMPLE_SIGNATURE = "7b554b036e35642fb94d057160f16c070356cbce3938da7d666c857dda6e1088"
SAMPLE_KEY = "whsec_test"
BLOCK_TIMESTAMP = 1_795_159_793


def word(value: int) -> str:
    return f"{value:064x}"


def block_log(
    *,
    start: int = 1,
    quantity: int = 1,
    index: int = 2,
    tx: int = 0x71,
    author: str | None = None,
    minter: str | None = None,
) -> dict[str, Any]:
    """Return a BatchMinted log as Alchemy's GRAPHQL webhook writes it."""
    author, minter = author or wallet(0xAA), minter or wallet(0xCC)
    return {
        "data": "0x" + word(quantity) + word(250_000_000_000_000 * quantity),
        "topics": [
            BATCH_MINTED_TOPIC,
            "0x" + word(int(minter, 16)),
            "0x" + word(int(author, 16)),
            "0x" + word(start),
        ],
        "index": index,
        "account": {"address": settings.GLISK_NFT_CONTRACT_ADDRESS.lower()},
        "transaction": {"hash": hash32(tx), "index": 0, "status": 1},
    }


def block_event(
    logs: Sequence[Any], *, event_id: str = "whevt_one", number: int = 45, block_hash: int = 0xB1
) -> dict[str, Any]:
    """Return an event of type GRAPHQL with these logs in one block."""
    return {
        "webhookId": "wh_sandbox",
        "id": event_id,
        "createdAt": "2026-02-23T07:42:26.411977228Z",
        "type": "GRAPHQL",
        "event": {
            "data": {
                "block": {
                    "hash": hash32(block_hash),
                    "number": number,
                    "timestamp": BLOCK_TIMESTAMP,
                    "logs": copy.deepcopy(list(logs)),
                }
            },
            "sequenceNumber": "10000000000578619000",
        },
    }


def rpc_log(**facts: Any) -> dict[str, Any]:
    """Return the same log in the form of JSON-RPC, as the activity webhooks carry it."""
    log = block_log(**facts)
    return {
        "address": log["account"]["address"],
        "topics": log["topics"],
        "data": log["data"],
        "blockNumber": "0x2d",
        "transactionHash": log["transaction"]["hash"],
        "transactionIndex": "0x0",
        "blockHash": hash32(0xB1),
        "logIndex": hex(log["index"]),
        "removed": False,
        "blockTimestamp": hex(BLOCK_TIMESTAMP),
    }


def activity_event(logs: Sequence[Any], *, event_id: str = "whevt_activity") -> dict[str, Any]:
    """Return an event of type ADDRESS_ACTIVITY; a log of None is a transfer of ether."""
    activity = [
        {"blockNum": "0x2d", "hash": hash32(0x71), "category": "token", "log": log}
        if log is not None
        else {"blockNum": "0x2d", "hash": hash32(0x71), "category": "external"}
        for log in logs
    ]
    return {
        "webhookId": "wh_sandbox",
        "id": event_id,
        "createdAt": "2026-02-23T07:42:26.411Z",
        "type": "ADDRESS_ACTIVITY",
        "event": {"activity": activity},
    }


def encoded(payload: Any) -> bytes:
    """Return a payload as it is sent; bytes go as they are."""
    return payload if isinstance(payload, bytes) else json.dumps(payload).encode()


def post_alchemy(client: Client, payload: Any, *, key: str | None = None) -> Any:
    """Post a payload, signed with the first key of the settings."""
    body = encoded(payload)
    signature = sign_alchemy_body(body, key or settings.ALCHEMY_WEBHOOK_SECRETS[0])
    return client.post(
        ALCHEMY_URL,
        data=body,
        content_type="application/json",
        headers={"X-Alchemy-Signature": signature},
    )
