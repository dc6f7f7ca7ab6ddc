"""Pinata's pinning API: pins, lists, refusals, persistence."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox.pinata import SANDBOX_JWT, PinataEmulator
from sandbox.pinata.ipfs_cid import add_file

CONTENT = b'{"somekey":"somevalue"}'
V1 = "bafkreicjmxc2drbgxtoidx6xfatbffyx46oiyo6ktipss6dhdermwtsoze"
V0 = "QmWQ5NcRCnDjjq9S87Rjo4RTgSDvmi1djy7SVftoi1T8jd"


class Client(requests.Session):
    def __init__(self, emulator: PinataEmulator) -> None:
        super().__init__()
        self.base = emulator.url
        self.headers["Authorization"] = f"Bearer {SANDBOX_JWT}"

    def pin(
        self, content: bytes = CONTENT, name: str = "file.json", **fields: Any
    ) -> requests.Response:
        data = {key: json.dumps(field) for key, field in fields.items()}
        return self.post(
            f"{self.base}/pinning/pinFileToIPFS",
            files={"file": (name, content)},
            data=data,
            timeout=60,
        )

    def pin_json(self, body: Any) -> requests.Response:
        return self.post(f"{self.base}/pinning/pinJSONToIPFS", json=body, timeout=60)

    def read(self, path: str) -> requests.Response:
        return self.get(self.base + path, timeout=60)


@pytest.fixture
def emulator() -> Iterator[PinataEmulator]:
    with PinataEmulator(pin_seconds=0.0) as running:
        yield running


@pytest.fixture
def client(emulator: PinataEmulator) -> Iterator[Client]:
    with Client(emulator) as session:
        yield session


@pytest.mark.parametrize(("version", "cid"), [(0, V0), (1, V1)])
def test_a_file_is_pinned_under_its_cid(
    emulator: PinataEmulator, client: Client, version: int, cid: str
) -> None:
    response = client.pin(pinataOptions={"cidVersion": version})
    assert response.status_code == 200
    reply = response.json()
    assert set(reply) == {"IpfsHash", "PinSize", "Timestamp"}
    assert reply["IpfsHash"] == cid
    assert reply["PinSize"] == add_file([CONTENT], cid_version=version).dag_size
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", reply["Timestamp"])
    assert emulator.store.read(cid) == CONTENT


def test_large_files_are_pinned_whole(emulator: PinataEmulator, client: Client) -> None:
    content = bytes(range(256)) * 4096 * 12
    cid = client.pin(content, pinataOptions={"cidVersion": 1}).json()["IpfsHash"]
    assert cid == str(add_file([content]).cid)
    assert emulator.store.read(cid) == content


def test_the_same_bytes_again_are_a_duplicate(emulator: PinataEmulator, client: Client) -> None:
    first, second = client.pin().json(), client.pin().json()
    assert second == {**first, "isDuplicate": True}
    assert len(emulator.pins) == 1
    assert emulator.bill.duplicates() == {first["IpfsHash"]: 2}


def test_a_pin_takes_its_time() -> None:
    with PinataEmulator(pin_seconds=0.3) as emulator, Client(emulator) as client:
        started = time.monotonic()
        client.pin()
        assert time.monotonic() - started >= 0.3


def test_json_is_pinned_as_javascript_writes_it(emulator: PinataEmulator, client: Client) -> None:
    reply = client.pin_json(
        {"pinataContent": {"somekey": "somevalue"}, "pinataOptions": {"cidVersion": 1}}
    ).json()
    assert reply["IpfsHash"] == V1
    cid = client.pin_json({"pinataContent": {"b": 1.0, "10": "ü", "9": [1e21, None]}}).json()
    stored = emulator.store.read(cid["IpfsHash"])
    assert stored == '{"9":[1e+21,null],"10":"ü","b":1}'.encode()


def test_names_and_keyvalues_are_listed_and_searched(client: Client) -> None:
    client.pin(
        b"one",
        pinataMetadata={"name": "s0-token-1.png", "keyvalues": {"season": "0", "token_id": "1"}},
    )
    client.pin(b"two", name="two.txt")
    listed = client.read("/data/pinList?status=pinned").json()
    assert listed["count"] == 2
    assert [row["metadata"]["name"] for row in listed["rows"]] == ["two.txt", "s0-token-1.png"]
    found = client.read("/data/pinList?metadata[name]=token-1").json()["rows"]
    assert found[0]["metadata"]["keyvalues"] == {"season": "0", "token_id": "1"}
    cid = found[0]["ipfs_pin_hash"]
    assert client.read(f"/data/pinList?hashContains={cid}").json()["count"] == 1
    assert client.read("/data/pinList?hashContains=nothing").json() == {"count": 0, "rows": []}


def test_lists_have_pages(client: Client) -> None:
    for number in range(12):
        client.pin(b"%d" % number, name=f"{number}")
    first = client.read("/data/pinList").json()
    assert (first["count"], len(first["rows"])) == (12, 10)
    rest = client.read("/data/pinList?pageLimit=5&pageOffset=10").json()["rows"]
    assert [row["metadata"]["name"] for row in rest] == ["1", "0"]
    assert client.read("/data/pinList?pageLimit=all").status_code == 400


def test_unpinning_takes_the_content_away(emulator: PinataEmulator, client: Client) -> None:
    cid = client.pin().json()["IpfsHash"]
    response = client.delete(f"{client.base}/pinning/unpin/{cid}", timeout=60)
    assert (response.status_code, response.text) == (200, "OK")
    assert emulator.store.read(cid) is None
    assert client.read("/data/pinList?status=pinned").json()["count"] == 0
    unpinned = client.read("/data/pinList?status=unpinned").json()["rows"]
    assert [row["date_unpinned"] is None for row in unpinned] == [False]
    again = client.delete(f"{client.base}/pinning/unpin/{cid}", timeout=60)
    assert again.status_code == 400
    assert "isDuplicate" not in client.pin().json()


def test_totals_are_counted(client: Client) -> None:
    size = client.pin().json()["PinSize"] + client.pin(b"other").json()["PinSize"]
    assert client.read("/data/userPinnedDataTotal").json() == {
        "pin_count": 2,
        "pin_size_total": str(size),
        "pin_size_with_replications_total": str(size),
    }


def test_authentication_can_be_tested(client: Client) -> None:
    assert client.read("/data/testAuthentication").json() == {
        "message": "Congratulations! You are communicating with the Pinata API!"
    }


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": SANDBOX_JWT},
        {"pinata_api_key": "", "pinata_secret_api_key": ""},
        {"pinata_api_key": "key", "pinata_secret_api_key": "secret"},
    ],
)
def test_without_credentials_nothing_is_done(
    emulator: PinataEmulator, headers: dict[str, str]
) -> None:
    for method, path in (("GET", "/data/testAuthentication"), ("POST", "/pinning/pinJSONToIPFS")):
        response = requests.request(
            method, emulator.url + path, headers=headers, json={"pinataContent": {}}, timeout=60
        )
        assert response.status_code == 401
        assert response.json()["error"]["reason"] == "INVALID_CREDENTIALS"
    assert emulator.pins == []


def test_a_key_pair_is_as_good_as_the_jwt() -> None:
    with PinataEmulator(api_key="key", api_secret="secret") as emulator:
        path = f"{emulator.url}/data/testAuthentication"
        pair = {"pinata_api_key": "key", "pinata_secret_api_key": "secret"}
        assert requests.get(path, headers=pair, timeout=60).status_code == 200
        pair["pinata_secret_api_key"] = "guess"
        assert requests.get(path, headers=pair, timeout=60).status_code == 401


@pytest.mark.parametrize(
    ("switch", "reason", "probe_status"),
    [
        ("key_revoked", "API_KEY_REVOKED", 403),
        ("no_scopes", "NO_SCOPES_FOUND", 200),
        ("plan_limit_reached", "FORBIDDEN", 200),
    ],
)
def test_forbidden_keys_say_why_but_may_pass_the_test_call(
    emulator: PinataEmulator, client: Client, switch: str, reason: str, probe_status: int
) -> None:
    emulator.set_faults(**{switch: True})
    response = client.pin()
    assert (response.status_code, response.json()["error"]["reason"]) == (403, reason)
    assert client.read("/data/testAuthentication").status_code == probe_status
    assert len(emulator.bill) == 0


def test_the_plans_number_of_files_is_a_wall(emulator: PinataEmulator, client: Client) -> None:
    emulator.set_faults(most_pins=2)
    statuses = [client.pin(b"%d" % number).status_code for number in range(3)]
    assert statuses == [200, 200, 403]
    assert client.pin(b"3").json()["error"] == {
        "reason": "FORBIDDEN",
        "details": "Account blocked due to plan usage limit",
    }


def test_a_wrong_cid_version_tells_a_working_key_from_others(
    emulator: PinataEmulator, client: Client
) -> None:
    probe = {"pinataContent": {}, "pinataOptions": {"cidVersion": 99}}
    assert client.pin_json(probe).status_code == 400
    emulator.set_faults(no_scopes=True)
    assert client.pin_json(probe).status_code == 403
    client.headers["Authorization"] = "Bearer wrong"
    assert client.pin_json(probe).status_code == 401
    assert emulator.pins == []


def test_malformed_json_is_noticed_before_the_key(emulator: PinataEmulator) -> None:
    response = requests.post(f"{emulator.url}/pinning/pinJSONToIPFS", data=b"{", timeout=60)
    assert response.status_code == 400


@pytest.mark.parametrize(
    "fields",
    [
        {"pinataOptions": {"cidVersion": 2}},
        {"pinataOptions": {"wrapWithDirectory": True}},
        {"pinataMetadata": {"keyvalues": {str(number): "x" for number in range(11)}}},
        {"pinataMetadata": {"keyvalues": {"nested": {}}}},
        {"pinataMetadata": "a text"},
    ],
)
def test_senseless_options_are_refused(client: Client, fields: dict[str, Any]) -> None:
    assert client.pin(**fields).status_code == 400


def test_the_rate_limit_answers_with_its_headers(emulator: PinataEmulator, client: Client) -> None:
    emulator.set_faults(requests_per_minute=3)
    assert [client.pin(b"%d" % number).status_code for number in range(3)] == [200] * 3
    refused = client.pin(b"x")
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert refused.headers["X-RateLimit-Limit"] == "3"
    assert refused.headers["X-RateLimit-Remaining"] == "0"
    assert int(refused.headers["X-RateLimit-Reset"]) - time.time() < 62
    assert len(emulator.pins) == 3


def test_a_damaged_upload_has_another_cid(emulator: PinataEmulator, client: Client) -> None:
    emulator.set_faults(wrong_cid_rate=1.0)
    cid = client.pin(pinataOptions={"cidVersion": 1}).json()["IpfsHash"]
    assert cid != V1
    assert emulator.store.read(V1) is None
    assert emulator.store.read(cid) not in (None, CONTENT)


def test_a_reply_lost_after_acceptance_left_a_pin(emulator: PinataEmulator, client: Client) -> None:
    emulator.plan_fault("drop_after")
    with pytest.raises(requests.ConnectionError):
        client.pin()
    assert client.pin().json()["isDuplicate"] is True


def test_pins_and_content_outlive_a_restart(tmp_path: Path) -> None:
    with PinataEmulator(store=tmp_path, pin_seconds=0.0) as first, Client(first) as client:
        kept = client.pin(b"kept").json()
        gone = client.pin(b"gone").json()["IpfsHash"]
        client.delete(f"{client.base}/pinning/unpin/{gone}", timeout=60)
    with (tmp_path / "pins.jsonl").open("a") as file:
        file.write('{"cid": "cut sh')
    with PinataEmulator(store=tmp_path, pin_seconds=0.0) as second, Client(second) as client:
        assert [pin.cid for pin in second.pins] == [kept["IpfsHash"]]
        assert second.store.read(kept["IpfsHash"]) == b"kept"
        assert client.pin(b"kept").json() == {**kept, "isDuplicate": True}
        late = client.pin(b"late").json()["IpfsHash"]
    with PinataEmulator(store=tmp_path) as third:
        assert late in {pin.cid for pin in third.pins}


def test_the_bill_counts_files_and_bytes(emulator: PinataEmulator, client: Client) -> None:
    client.pin(b"12345", pinataMetadata={"name": "five"})
    client.pin(b"123")
    assert (len(emulator.bill), emulator.bill.total_size) == (2, 8)
    assert emulator.bill.entries[0].detail["name"] == "five"


def test_a_reset_of_the_state_unpins_everything(emulator: PinataEmulator, client: Client) -> None:
    cid = client.pin().json()["IpfsHash"]
    emulator.reset(state=True)
    assert (emulator.pins, emulator.store.read(cid)) == ([], None)
