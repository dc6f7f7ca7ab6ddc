"""A BatchMinted log is read strictly: what the contract cannot have emitted is refused."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tokens.minting.mint_log import (
    BATCH_MINTED_TOPIC,
    IncompleteLog,
    MalformedLog,
    decode_mint_log,
)

MINTER = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
AUTHOR = "0x90F79bf6EB2c4f870365E785982E1f101E93b906"


def word(value: int) -> str:
    return f"{value:064x}"


def parts(**changes: Any) -> dict[str, Any]:
    """Return the parts of a log of a real mint (two tokens from 670 on)."""
    return {
        "topics": [
            BATCH_MINTED_TOPIC,
            "0x" + word(int(MINTER, 16)),
            "0x" + word(int(AUTHOR, 16)),
            "0x" + word(670),
        ],
        "data": "0x" + word(2) + word(500_000_000_000_000),
        "transactionHash": "0xCACF7729f1c08a918cdfcd8bfc6e61c36c7eb343e0911d1f8d48da54c2616f2f",
        "logIndex": 2,
        "blockNumber": 45,
        "blockHash": "0xf24f5dd88d255867fd18869a74ec5753f8e1075839623ea738062e5dc0c07be8",
        "blockTimestamp": 1_795_159_793,
        **changes,
    }


def with_topic(position: int, topic: object) -> dict[str, Any]:
    changed = parts()
    changed["topics"][position] = topic
    return changed


def test_a_log_is_read_as_the_contract_wrote_it() -> None:
    mint = decode_mint_log(parts())
    assert (mint.minter, mint.prompt_author) == (MINTER, AUTHOR)
    assert (mint.start_token_id, mint.quantity) == (670, 2)
    assert mint.total_paid_wei == 500_000_000_000_000
    assert mint.tx_hash == "0xcacf7729f1c08a918cdfcd8bfc6e61c36c7eb343e0911d1f8d48da54c2616f2f"
    assert mint.block_timestamp == datetime(2026, 11, 20, 7, 29, 53, tzinfo=UTC)
    assert list(mint.token_ids) == [670, 671]
    assert mint.key == (mint.tx_hash, 2)


def test_numbers_may_come_as_hex_and_digits_be_capital() -> None:
    given = parts(
        logIndex="0x2",
        blockNumber="0x2d",
        blockTimestamp=hex(1_795_159_793),
        topics=["0x" + topic[2:].upper() for topic in parts()["topics"]],
        data="0x" + parts()["data"][2:].upper(),
    )
    assert decode_mint_log(given) == decode_mint_log(parts())


def test_the_extremes_that_the_columns_hold_are_read() -> None:
    mint = decode_mint_log(
        with_topic(3, "0x" + word(2**63 - 51))
        | {"data": "0x" + word(50) + "f" * 64, "logIndex": 0, "blockNumber": 2**63 - 1}
    )
    assert mint.token_ids[-1] == 2**63 - 2
    assert mint.total_paid_wei == 2**256 - 1


def test_a_part_that_is_left_out_is_named() -> None:
    for name in sorted(parts()):
        with pytest.raises(IncompleteLog) as caught:
            decode_mint_log(parts(**{name: None}))
        assert str(caught.value) == f"the sender left out: {name}"


WRONG_FOR_ALL = ["", "0x", "zz", "0xzz", "5", -1, 1.5, True, [], {}, ["0x1"], "\x00", "\ud800"]


def test_a_part_of_a_wrong_kind_is_malformed() -> None:
    wrong: list[dict[str, Any]] = [
        parts(**{name: value}) for name in parts() for value in WRONG_FOR_ALL
    ]
    wrong += [
        with_topic(position, value)
        for position in range(4)
        for value in (*WRONG_FOR_ALL, None, 0, "0x" + "f" * 63, "0x" + "f" * 65)
    ]
    for given in wrong:
        with pytest.raises(MalformedLog):
            decode_mint_log(given)


# What the contract cannot emit, each with its reason.
MALFORMED = {
    "quantity 0": parts(data="0x" + word(0) + word(1)),
    "quantity 51": parts(data="0x" + word(51) + word(1)),
    "quantity 2^255": parts(data="0x" + word(2**255) + word(1)),
    "data of one word": parts(data="0x" + word(2)),
    "data of odd length": parts(data="0x" + word(2) + word(1) + "0"),
    "data of three words": parts(data="0x" + word(2) * 3),
    "data without 0x": parts(data=word(2) + word(1) + "00"),
    "three topics": parts(topics=parts()["topics"][:3]),
    "five topics": parts(topics=[*parts()["topics"], "0x" + word(1)]),
    "another event": with_topic(0, "0x" + word(1)),
    "a minter of 32 bytes": with_topic(1, "0x" + "f" * 64),
    "an author of 32 bytes": with_topic(2, "0x01" + "0" * 62),
    "token 0": with_topic(3, "0x" + word(0)),
    "an id beyond bigint at the end": with_topic(3, "0x" + word(2**63 - 2)),
    "token 2^256 - 1": with_topic(3, "0x" + "f" * 64),
    "log index beyond integer": parts(logIndex=2**31),
    "block beyond bigint": parts(blockNumber=2**63),
    "block beyond 32 bytes": parts(blockNumber="0x" + "f" * 65),
    "block with a leading zero": parts(blockNumber="0x02d"),
    "no time at all": parts(blockTimestamp=0),
    "year 10000": parts(blockTimestamp=253_402_300_800),
    "beyond any time": parts(blockTimestamp=10**400),
    "a hash that is not hex": parts(transactionHash="0x" + "g" * 64),
    "a hash with a line end": parts(transactionHash="0x" + "0" * 63 + "\n"),
}


def test_what_the_contract_cannot_emit_is_malformed() -> None:
    for changed in MALFORMED.values():
        with pytest.raises(MalformedLog):
            decode_mint_log(changed)
