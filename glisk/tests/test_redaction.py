from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from glisk.logging import redaction
from glisk.logging.redaction import (
    MASK,
    redact_processor,
    redact_text,
    redact_value,
    register_secret,
)

TX_HASH = "0x" + "ab12" * 16
PRIVATE_KEY = "0x" + "Cd34" * 16


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_registered", ())


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Authorization: Bearer abc.def-123", f"Authorization: Bearer {MASK}"),
        ("authorization: bearer abcdef, next", f"authorization: bearer {MASK}, next"),
        ("'Authorization': 'Bearer abcdef'}", f"'Authorization': 'Bearer {MASK}'}}"),
        ("token r8_Abc123456789 end", f"token r8_{MASK} end"),
        ("key whsec_Z2xpc2s+/=_- end", f"key whsec_{MASK} end"),
        ("jwt eyJhbGciOi.eyJzdWIi.sig-_1 end", f"jwt {MASK} end"),
        (
            "host='base-sepolia.g.alchemy.com' url: https://base-sepolia.g.alchemy.com/v2/k3y?a=1",
            "host='base-sepolia.g.alchemy.com' url: "
            f"https://base-sepolia.g.alchemy.com/v2/{MASK}?a=1",
        ),
        ("postgres://glisk:p@ss:w@db:5432/x", f"postgres://{MASK}@db:5432/x"),
        ("redis://:pw@cache/0", f"redis://{MASK}@cache/0"),
        ("https://token@host/path", f"https://{MASK}@host/path"),
        (
            "https://x.mypinata.cloud/ipfs/Qm?pinataGatewayToken=abc&img=1",
            f"https://x.mypinata.cloud/ipfs/Qm?pinataGatewayToken={MASK}&img=1",
        ),
    ],
)
def test_credentials_from_outside_are_removed(text: str, cleaned: str) -> None:
    assert redact_text(text) == cleaned


def test_ordinary_lines_are_left_alone() -> None:
    for text in (
        f"revealed token 7 in {TX_HASH}",
        "author 0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A minted",
        "ipfs://bafkreib7iuxn6dmu4qki7ibjr2arn7dp5y7etonjbsqjnu2oaccs6ymmfe",
        "https://replicate.delivery/xezq/abc/out-0.webp",
        "https://x.com/@getglisk and mail@example.com",
        "POST /v2/orders took 3 ms; whsec is not set; r8_ is a prefix",
        "The bearer of bad news",
    ):
        assert redact_text(text) == text


def test_a_32_byte_value_is_removed_only_if_registered() -> None:
    register_secret(PRIVATE_KEY)
    assert TX_HASH in redact_text(f"tx {TX_HASH}")
    for spelling in (PRIVATE_KEY, PRIVATE_KEY.lower(), PRIVATE_KEY[2:].upper()):
        assert PRIVATE_KEY[2:10].lower() not in redact_text(f"key {spelling}!").lower()


def test_registered_values_are_removed_in_every_spelling() -> None:
    register_secret('p"ss/w ord\\1')
    for spelling in ('p"ss/w ord\\1', "p%22ss%2Fw%20ord%5C1", 'p\\"ss/w ord\\\\1'):
        assert redact_text(f"<{spelling}>") == f"<{MASK}>"
    register_secret("abcdefgh")
    register_secret("abcdefgh-and-more")  # a secret within another leaves no tail
    assert redact_text("x abcdefgh-and-more y") == f"x {MASK} y"
    for short in (None, "", "   ", "short", "1234567"):  # would blank out the log
        register_secret(short)
    assert redact_text("a short line with 1234567") == "a short line with 1234567"


class Odd:
    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"<Odd {self.text}>"


def test_nested_values_are_walked() -> None:
    register_secret("hunter2hunter2")
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    clean = Odd("fine")
    given_value = {
        "a": ["x hunter2hunter2", ("y", {"z": "hunter2hunter2"})],
        "headers": {"Authorization": "Basic abc", "X-Other": "ok"},
        "hunter2hunter2": 1,
        "error": ValueError("hunter2hunter2"),
        "odd": Odd("hunter2hunter2"),
        "plain": [1, 2.5, None, True, moment, clean],
        "bytes": b"hunter2hunter2",
    }
    assert redact_value(given_value) == {
        "a": [f"x {MASK}", ("y", {"z": MASK})],
        "headers": {"Authorization": MASK, "X-Other": "ok"},
        MASK: 1,
        "error": f"ValueError: {MASK}",
        "odd": f"<Odd {MASK}>",
        "plain": [1, 2.5, None, True, moment, clean],
        "bytes": f"b'{MASK}'",
    }


def test_a_value_that_contains_itself_comes_to_an_end() -> None:
    loop: list[Any] = ["r8_abcdefghij"]
    loop.append(loop)
    assert "abcdefghij" not in repr(redact_value(loop))


RECORD = Odd("postgres://u:hunter2@db")  # structlog's own, which is not written


def fail() -> None:
    raise ValueError("postgres://u:hunter2@db failed")


def test_exception_text_is_redacted_whatever_form_it_has() -> None:
    try:
        fail()
    except ValueError as error:
        for form in (True, sys.exc_info(), error):
            given = {"event": "x", "exc_info": form, "private_key": PRIVATE_KEY, "_record": RECORD}
            event = redact_processor(None, "error", given)
            assert "exc_info" not in event
            assert "ValueError: postgres://[redacted]@db failed" in event["exception"]
            assert "in fail" in event["exception"]
            assert event["private_key"] == MASK
            assert event["_record"] is RECORD
    nothing = {"event": "x", "exc_info": False}
    assert redact_processor(None, "info", dict(nothing)) == nothing


def test_hostile_text_takes_no_more_than_linear_time() -> None:
    for text in ("://" + "a" * 50_000, "eyJ" + "a." * 25_000, "Bearer " * 7_000, "://a@" * 10_000):
        began = time.process_time()
        redact_text(text)
        assert time.process_time() - began < 0.5
