"""Pinata's pinning: pins, refusals, persistence."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import requests

from glisk.cid import compute_cid, compute_dag
from sandbox.pinata.emulator import SANDBOX_JWT, PinataEmulator

CONTENT = b'{"somekey":"somevalue"}'
V1 = "bafkreicjmxc2drbgxtoidx6xfatbffyx46oiyo6ktipss6dhdermwtsoze"
V0 = "QmWQ5NcRCnDjjq9S87Rjo4RTgSDvmi1djy7SVftoi1T8jd"


def pin(
    emulator: PinataEmulator,
    content: bytes = CONTENT,
    headers: dict[str, str] | None = None,
    **fields: Any,
) -> requests.Response:
    return requests.post(
        f"{emulator.url}/pinning/pinFileToIPFS",
        files={"file": ("bild ü.png", content)},
        data={name: json.dumps(field) for name, field in fields.items()},
        headers={"Authorization": f"Bearer {SANDBOX_JWT}"} if headers is None else headers,
        timeout=60,
    )


@pytest.fixture
def emulator() -> Iterator[PinataEmulator]:
    with PinataEmulator(pin_seconds=0.0) as running:
        yield running


@pytest.mark.parametrize(("version", "cid"), [(0, V0), (1, V1)])
def test_a_file_is_pinned_under_its_cid(
    emulator: PinataEmulator, version: Literal[0, 1], cid: str
) -> None:
    response = pin(emulator, pinataOptions={"cidVersion": version})
    assert response.status_code == 200
    reply = response.json()
    assert set(reply) == {"IpfsHash", "PinSize", "Timestamp"}
    assert reply["IpfsHash"] == cid
    assert reply["PinSize"] == compute_dag(CONTENT, version=version).dag_size_bytes
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", reply["Timestamp"])
    assert emulator.store.read(cid) == CONTENT
    assert emulator.pins[0].name == "bild ü.png"
    assert pin(emulator, pinataOptions={"cidVersion": version}).json() == {
        **reply, "isDuplicate": True
    }  # fmt: skip
    assert emulator.bill.duplicates() == {cid: 2}


def test_any_bytes_are_pinned_whole_with_their_metadata(emulator: PinataEmulator) -> None:
    metadata = {"name": "s0-token-1.png", "keyvalues": {"season": "0", "token_id": "1"}}
    for content in (bytes(range(256)) * 4096 * 12, b"\x00\r\n--\r\nbytes\r\n"):
        options = {"cidVersion": 1}
        answer = pin(emulator, content, pinataOptions=options, pinataMetadata=metadata)
        cid = answer.json()["IpfsHash"]
        assert cid == compute_cid(content, version=1)
        assert emulator.store.read(cid) == content
    assert emulator.pins[0].name == "s0-token-1.png"
    assert emulator.pins[0].keyvalues == metadata["keyvalues"]


def test_without_credentials_nothing_is_pinned(emulator: PinataEmulator) -> None:
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": SANDBOX_JWT},
        {"pinata_api_key": "", "pinata_secret_api_key": ""},
        {"pinata_api_key": "key", "pinata_secret_api_key": "secret"},
    ):
        response = pin(emulator, headers=headers)
        assert response.status_code == 401, headers
        assert response.json()["error"]["reason"] == "INVALID_CREDENTIALS"
    assert emulator.pins == []


def test_a_key_pair_is_as_good_as_the_jwt() -> None:
    with PinataEmulator(api_key="key", api_secret="secret", pin_seconds=0) as emulator:
        pair = {"pinata_api_key": "key", "pinata_secret_api_key": "secret"}
        assert pin(emulator, headers=pair).status_code == 200
        assert pin(emulator, headers={**pair, "pinata_api_key": "guess"}).status_code == 401


@pytest.mark.parametrize(
    ("switch", "reason"),
    [
        ("key_revoked", "API_KEY_REVOKED"),
        ("first_key_revoked", "API_KEY_REVOKED"),
        ("no_scopes", "NO_SCOPES_FOUND"),
        ("plan_limit_reached", "FORBIDDEN"),
    ],
)
def test_a_forbidden_key_is_told_why(emulator: PinataEmulator, switch: str, reason: str) -> None:
    emulator.set_faults(**{switch: True})
    response = pin(emulator)
    assert (response.status_code, response.json()["error"]["reason"]) == (403, reason)
    assert len(emulator.bill) == 0
    later = pin(emulator, headers={"Authorization": f"Bearer {SANDBOX_JWT}.2"})
    assert later.status_code == (200 if switch == "first_key_revoked" else 403)


def test_a_wrong_cid_version_tells_a_working_key_from_others(emulator: PinataEmulator) -> None:
    probe = {"cidVersion": 99}
    assert pin(emulator, pinataOptions=probe).status_code == 400
    emulator.set_faults(no_scopes=True)
    assert pin(emulator, pinataOptions=probe).status_code == 403
    assert pin(emulator, headers={}, pinataOptions=probe).status_code == 401
    assert emulator.pins == []


def test_the_rate_limit_answers_with_its_headers(emulator: PinataEmulator) -> None:
    emulator.set_faults(requests_per_minute=3)
    assert [pin(emulator, b"%d" % number).status_code for number in range(3)] == [200] * 3
    refused = pin(emulator, b"x")
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert int(refused.headers["X-RateLimit-Reset"]) - time.time() < 62
    assert len(emulator.pins) == 3


def test_a_damaged_upload_has_another_cid(emulator: PinataEmulator) -> None:
    emulator.set_faults(wrong_cid_rate=1.0)
    cid = pin(emulator, pinataOptions={"cidVersion": 1}).json()["IpfsHash"]
    assert cid != V1
    assert emulator.store.read(V1) is None


def test_pins_and_content_outlive_a_restart(tmp_path: Path) -> None:
    with PinataEmulator(store=tmp_path, pin_seconds=0.0) as first:
        kept = pin(first, b"kept").json()
    with (tmp_path / "pins.jsonl").open("a") as file:
        file.write('{"cid": "cut sh')
    with PinataEmulator(store=tmp_path, pin_seconds=0.0) as second:
        assert pin(second, b"kept").json() == {**kept, "isDuplicate": True}
        late = pin(second, b"late").json()["IpfsHash"]
    with PinataEmulator(store=tmp_path, pin_seconds=0.0) as third:
        assert [each.cid for each in third.pins] == [kept["IpfsHash"], late]
        third.reset(state=True)
        assert (third.pins, third.store.read(late)) == ([], None)
