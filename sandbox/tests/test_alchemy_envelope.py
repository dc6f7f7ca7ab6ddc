"""The bytes and signatures of emulated Alchemy webhooks."""

import json
import re
from pathlib import Path

import pytest

from sandbox.alchemy.envelope import (
    CAPACITY_ERROR,
    DEFAULT_TRANSACTION_FIELDS,
    TRANSACTION_FIELDS,
    block_event,
    new_event_id,
    render,
    sign,
    transaction_fields,
)

SAMPLE = Path(__file__).parent / "data" / "alchemy_graphql_sample.json"
SAMPLE_SIGNATURE = "7b554b036e35642fb94d057160f16c070356cbce3938da7d666c857dda6e1088"
TX_HASH = "0x" + "ca" * 32


@pytest.mark.parametrize(
    ("body", "signature"),
    [
        (b'{"a":1}', "51426af50a41dd7ff2cd3f116594734766d4018d15d6fb07169aee5d2959adf5"),
        (SAMPLE.read_bytes(), SAMPLE_SIGNATURE),
    ],
    ids=["short", "sample"],
)
def test_signature_vectors(body: bytes, signature: str) -> None:
    assert sign("whsec_test", body) == signature


def test_a_rebuilt_sample_has_the_samples_bytes() -> None:
    """From the RPC's answers for the sample's block we make the sample, but for the clock."""
    sample = json.loads(SAMPLE.read_text())
    block = sample["event"]["data"]["block"]
    (log,) = block["logs"]
    event = block_event(
        {
            "hash": block["hash"],
            "number": hex(block["number"]),
            "timestamp": hex(block["timestamp"]),
        },
        [
            {
                "data": log["data"],
                "topics": log["topics"],
                "logIndex": hex(log["index"]),
                "address": "0x5FbDB2315678afecb367f032d93F642f64180aa3",
                "transactionHash": log["transaction"]["hash"],
            }
        ],
        {
            log["transaction"]["hash"]: transaction_fields(
                {
                    "hash": log["transaction"]["hash"],
                    "nonce": "0x1",
                    "from": "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
                    "to": "0x5FbDB2315678afecb367f032d93F642f64180aa3",
                    "value": "0x0",
                    "gas": "0x5208",
                },
                receipt(),
                DEFAULT_TRANSACTION_FIELDS,
            )
        },
        sequence_number=10000000000578619000,
        network="BASE_SEPOLIA",
    )
    body = render(sample["webhookId"], sample["id"], event)
    moment = re.compile(rb'"createdAt":"[^"]*"')
    assert moment.sub(b"", body) == moment.sub(b"", SAMPLE.read_bytes())
    assert len(body) == 1086


def receipt() -> dict[str, str | None]:
    return {
        "transactionIndex": "0x0",
        "status": "0x1",
        "gasUsed": "0x5208",
        "cumulativeGasUsed": "0x5208",
        "effectiveGasPrice": "0x4c4b40",
        "contractAddress": None,
    }


def test_created_at_has_nanoseconds() -> None:
    created_at = json.loads(render("wh_1", new_event_id(), {}))["createdAt"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", created_at)


def test_event_ids_are_unique_and_look_like_alchemys() -> None:
    ids = {new_event_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch(r"whevt_[a-z0-9]{16}", event_id) for event_id in ids)


def test_the_network_is_left_out_unless_it_is_set() -> None:
    header = {"hash": "0x1", "number": "0x2", "timestamp": "0x3"}
    silent = block_event(header, [], {}, sequence_number=1, network="")
    assert "network" not in silent
    assert silent["sequenceNumber"] == "1"
    named = block_event(header, [], {}, sequence_number=1, network="BASE_MAINNET")
    assert named["network"] == "BASE_MAINNET"


def test_only_queried_transaction_fields_are_present_wei_as_hex_counts_as_integers() -> None:
    transaction = {
        "hash": TX_HASH,
        "nonce": "0x7",
        "from": "0xAb",
        "to": None,
        "value": "0x10",
        "gas": "0x5208",
        "gasPrice": "0x4c4b40",
    }
    assert list(transaction_fields(transaction, receipt(), ("status", "hash"))) == [
        "hash",
        "status",
    ]
    full = transaction_fields(transaction, receipt(), TRANSACTION_FIELDS)
    assert tuple(full) == TRANSACTION_FIELDS
    assert (full["nonce"], full["gas"], full["gasUsed"], full["status"]) == (7, 21000, 21000, 1)
    assert (full["value"], full["gasPrice"], full["maxFeePerGas"]) == ("0x10", "0x4c4b40", None)
    assert (full["from"], full["to"], full["createdContract"]) == ({"address": "0xab"}, None, None)


def test_the_capacity_message_has_an_error_and_no_data() -> None:
    assert CAPACITY_ERROR.startswith("Monthly capacity limit exceeded. Visit https://")
    body = json.loads(render("wh_1", "whevt_1", {"error": CAPACITY_ERROR}))
    assert body["type"] == "GRAPHQL"
    assert "data" not in body["event"]
