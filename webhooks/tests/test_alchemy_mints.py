"""Alchemy's events become tokens: each mint once, whatever else stands beside it."""

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from authors.tests.factories import wallet
from tokens.models import MintEvent, Token
from tokens.tests.factories import hash32
from webhooks.models import EventStatus, WebhookEvent
from webhooks.tests.sending import (
    ALCHEMY_URL,
    SAMPLE_FILE,
    SAMPLE_KEY,
    SAMPLE_SIGNATURE,
    activity_event,
    block_event,
    block_log,
    post_alchemy,
    rpc_log,
)

pytestmark = pytest.mark.django_db


def token_ids() -> list[int]:
    return list(Token.objects.order_by("token_id").values_list("token_id", flat=True))


def test_the_recorded_sample_becomes_tokens(client: Client, settings: Settings) -> None:
    settings.ALCHEMY_WEBHOOK_SECRETS = [SAMPLE_KEY]
    settings.NETWORK = "BASE_SEPOLIA"
    body = SAMPLE_FILE.read_bytes()
    response = client.post(
        ALCHEMY_URL,
        data=body,
        content_type="application/json",
        headers={"X-Alchemy-Signature": SAMPLE_SIGNATURE},
    )
    assert response.status_code == 200
    assert response.json() == {"status": "processed", "registered": 1, "tokens": 2}
    assert token_ids() == [670, 671]
    mint = MintEvent.objects.get()
    assert (mint.block_number, mint.log_index) == (45, 2)
    assert mint.block_timestamp.timestamp() == 1_795_159_793
    event = WebhookEvent.objects.get()
    assert bytes(event.body) == body
    assert (event.event_id, event.webhook_id) == ("whevt_vq499kv7elmlbp2v", "wh_k63lg72rxda78gce")
    assert (event.event_type, event.status) == ("GRAPHQL", EventStatus.PROCESSED)
    assert event.processed_at is not None
    assert event.verdicts == [
        {
            "log": 0,
            "verdict": "registered",
            "tx_hash": mint.tx_hash,
            "log_index": 2,
            "tokens": [670, 671],
        }
    ]


def test_a_raw_log_with_hex_numbers_is_registered(client: Client) -> None:
    response = post_alchemy(client, activity_event([None, rpc_log(start=4, quantity=2)]))
    assert response.json() == {"status": "processed", "registered": 1, "tokens": 2}
    mint = MintEvent.objects.get()
    assert (mint.block_number, mint.log_index, mint.block_hash) == (45, 2, hash32(0xB1))
    assert token_ids() == [4, 5]


def test_a_raw_log_in_a_block_is_registered(client: Client) -> None:
    """Not as Alchemy documents it; what it lacks, the block tells."""
    bare = rpc_log(start=4)
    for name in ("blockNumber", "blockHash", "blockTimestamp"):
        del bare[name]
    logs = [rpc_log(start=1, quantity=3, index=1), bare, block_log(start=5, index=3)]
    response = post_alchemy(client, block_event(logs))
    assert response.json() == {"status": "processed", "registered": 3, "tokens": 5}
    assert token_ids() == [1, 2, 3, 4, 5]
    assert set(MintEvent.objects.values_list("block_number", "block_hash")) == {(45, hash32(0xB1))}


@pytest.mark.parametrize("raw", [True, False])
def test_a_log_that_was_taken_back_has_its_mint_looked_at_again_at_any_depth(
    client: Client, raw: bool
) -> None:
    post_alchemy(client, block_event([block_log(quantity=2)]))
    MintEvent.objects.update(settled_at=timezone.now())
    taken_back = (rpc_log() if raw else block_log()) | {"removed": True}
    event = (
        activity_event([taken_back])
        if raw
        else block_event([taken_back], event_id="whevt_taken_back")
    )
    assert post_alchemy(client, event).json() == {"status": "ignored", "removed": 1}
    assert MintEvent.objects.get().settled_at is None
    assert token_ids() == [1, 2]  # the chain has the last word
    assert WebhookEvent.objects.get(event_id=event["id"]).status == EventStatus.IGNORED
    assert post_alchemy(client, event).json() == {"status": "duplicate"}


def test_each_log_stands_alone(client: Client) -> None:
    post_alchemy(client, block_event([block_log(start=1)], event_id="whevt_before"))
    foreign = block_log(start=50, index=11)
    foreign["account"]["address"] = wallet(0x999).lower()
    transfer = block_log(start=51, index=12)
    transfer["topics"][0] = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
    taken_back = block_log(start=52, index=13) | {"removed": True}
    half = block_log(start=53, index=14)
    del half["transaction"]
    broken = block_log(start=54, index=15) | {"data": "0x123"}
    logs = [
        block_log(start=1),
        foreign,
        transfer,
        taken_back,
        half,
        broken,
        "no log at all",
        block_log(start=1, index=16),
        block_log(start=2, index=17),
    ]
    response = post_alchemy(client, block_event(logs))
    assert response.json() == {
        "status": "processed",
        "duplicate": 1,
        "foreign_contract": 1,
        "foreign_event": 1,
        "removed": 1,
        "incomplete": 1,
        "malformed": 2,
        "conflict": 1,
        "registered": 1,
        "tokens": 1,
    }
    assert token_ids() == [1, 2]
    event = WebhookEvent.objects.get(event_id="whevt_one")
    assert [entry["verdict"] for entry in event.verdicts] == [
        "duplicate",
        "foreign_contract",
        "foreign_event",
        "removed",
        "incomplete",
        "malformed",
        "malformed",
        "conflict",
        "registered",
    ]
    assert event.verdicts[4]["reason"] == "the sender left out: transactionHash"
    assert event.verdicts[7]["conflicting"] == [1]


def test_a_mint_told_again_from_another_block_is_a_reorg(client: Client) -> None:
    post_alchemy(client, block_event([block_log()]))
    again = block_event([block_log()], event_id="whevt_two", block_hash=0xB2)
    assert post_alchemy(client, again).json() == {"status": "processed", "reorged": 1, "tokens": 0}


def test_nothing_of_another_network_becomes_a_token(client: Client) -> None:
    event = block_event([block_log()])
    for number, named in enumerate(["BASE_MAINNET", "local", "", 5, ["LOCAL"]]):
        event["id"], event["event"]["network"] = f"whevt_{number}", named
        assert post_alchemy(client, event).json() == {"status": "ignored"}, named
    assert set(WebhookEvent.objects.values_list("error")) == {("it is of another network",)}
    assert not Token.objects.exists()
    for name, named, verdict in (("ours", "LOCAL", "registered"), ("older", None, "duplicate")):
        event["id"], event["event"]["network"] = name, named
        assert post_alchemy(client, event).json()[verdict] == 1


# What a fact may hold is the decoder's matter: tokens/tests/test_mint_log.py.
BAD_LOGS: list[Any] = [
    "0x00",
    None,
    [block_log()],
    block_log() | {"topics": "0x20c0"},
    block_log() | {"topics": [1, 2, 3, 4]},
    block_log() | {"index": 10**4000},
    block_log() | {"account": {"address": 5}},
    block_log() | {"account": {"address": "0x5fbd"}},
]


def test_a_log_that_makes_no_sense_is_malformed(client: Client) -> None:
    for number, log in enumerate(BAD_LOGS):
        # Each is judged, not the first alone.
        event = block_event([log, None], event_id=f"whevt_{number}")
        response = post_alchemy(client, event)
        assert response.status_code == 200, log
        assert response.json() == {"status": "ignored", "malformed": 2}, log
        stored = WebhookEvent.objects.get(event_id=event["id"])
        assert stored.error == stored.verdicts[0]["reason"], log
    assert not MintEvent.objects.exists()


BLOCKS: list[Any] = [None, "0x", {"number": 5}, {"logs": "0x"}, {"logs": {}}]
DATA: list[Any] = [None, [], *({"block": block} for block in BLOCKS)]
EVENTS: list[Any] = [None, "data", [], {}, {"activity": "0x"}, *({"data": data} for data in DATA)]
TOLD = "Monthly capacity limit exceeded. Visit https://dashboard.alchemy.com/settings/billing"


def test_an_event_of_another_kind_is_kept_and_answered_with_200(client: Client) -> None:
    kinds: list[dict[str, Any]] = [{}, *({"event": event} for event in EVENTS)]
    kinds.append({"webhookId": ["\x00"], "type": "\ud800", "event": {"error": TOLD}})
    for number, event in enumerate(kinds):
        response = post_alchemy(client, {"id": f"whevt_{number}", **event})
        assert (response.status_code, response.json()) == (200, {"status": "ignored"}), event
        stored = WebhookEvent.objects.get(event_id=f"whevt_{number}")
        assert stored.status == EventStatus.IGNORED
        assert stored.error
    assert WebhookEvent.objects.latest("pk").error == f"Alchemy says: {TOLD}"


def test_a_heartbeat_leaves_no_trace(client: Client) -> None:
    beats = [block_event([]), activity_event([]), activity_event([None, None])]
    for event in beats:
        assert post_alchemy(client, event).json() == {"status": "ignored"}
    assert not WebhookEvent.objects.exists()


def test_of_a_body_of_nonsense_only_some_verdicts_are_stored(client: Client) -> None:
    response = post_alchemy(client, block_event([0] * 50_000))
    assert response.json() == {"status": "ignored", "malformed": 50_000}
    stored = WebhookEvent.objects.get().verdicts
    assert len(stored) == 501
    assert stored[-1] == {"verdict": "not_listed", "logs": 49_500}
