"""Faults, call log, bill and the control endpoints that show them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from sandbox.http import BillEntry, Emulator, FaultPlan, Faults, Request, Response
from sandbox.http.emulator import Handler
from sandbox.http.ratelimit import RateLimit


class ShopEmulator(Emulator):
    name = "shop"

    def routes(self) -> list[tuple[str, str, Handler]]:
        return [
            ("POST", "/orders", self._order),
            ("GET", "/orders", lambda request: Response(200, b"list")),
        ]

    def _order(self, request: Request) -> Response:
        key = request.body.decode()
        request.subject = key
        self.bill.add(BillEntry(at=time.time(), subject=key, key=key, price_usd=0.25))
        return Response(201, b"accepted")


@pytest.fixture
def shop() -> Iterator[ShopEmulator]:
    with ShopEmulator() as emulator:
        yield emulator


def order(shop: ShopEmulator, key: str = "tea") -> requests.Response:
    return requests.post(f"{shop.url}/orders", data=key, timeout=60)


def test_a_connection_dropped_before_acceptance_costs_nothing(shop: ShopEmulator) -> None:
    shop.plan_fault("drop_before")
    with pytest.raises(requests.ConnectionError):
        order(shop)
    assert len(shop.bill) == 0
    assert order(shop).status_code == 201
    assert [(call.status, call.fault, call.accepted) for call in shop.calls] == [
        (0, "drop_before", False),
        (201, "", True),
    ]


def test_a_reply_dropped_after_acceptance_is_charged(shop: ShopEmulator) -> None:
    shop.plan_fault("drop_after")
    with pytest.raises(requests.ConnectionError):
        order(shop, "coffee")
    assert shop.bill.groups() == {"coffee": 1}
    assert shop.calls[0].accepted
    assert shop.calls[0].subject == "coffee"


def test_an_error_after_acceptance_is_charged_too(shop: ShopEmulator) -> None:
    shop.plan_fault("error_after")
    assert order(shop).status_code == 502
    shop.set_faults(error_after_status=530)
    shop.plan_fault("error_after")
    assert order(shop).status_code == 530
    assert len(shop.bill) == 2


def test_a_throttled_call_says_when_to_come_back(shop: ShopEmulator) -> None:
    shop.set_faults(throttle_rate=1.0, retry_after_seconds=7)
    response = order(shop)
    assert (response.status_code, response.headers["Retry-After"]) == (429, "7")
    assert len(shop.bill) == 0


def test_server_errors_have_the_status_asked_for(shop: ShopEmulator) -> None:
    shop.set_faults(server_error_rate=1.0, server_error_status=503)
    assert order(shop).status_code == 503


def test_planned_faults_strike_only_the_calls_in_their_scope(shop: ShopEmulator) -> None:
    shop.plan_fault("server_error", times=2, scope="^POST /orders$")
    assert requests.get(f"{shop.url}/orders", timeout=60).status_code == 200
    assert [order(shop).status_code for _ in range(3)] == [500, 500, 201]


def test_rates_and_latency_apply_to_the_calls_in_scope(shop: ShopEmulator) -> None:
    shop.set_faults(scope="^POST", server_error_rate=1.0, latency_seconds=(0.2, 0.2))
    started = time.monotonic()
    assert order(shop).status_code == 500
    assert time.monotonic() - started >= 0.2
    shop.set_faults(latency_seconds=(3600, 3600))
    assert requests.get(f"{shop.url}/orders", timeout=60).status_code == 200


def outcomes(faults: Faults, calls: int = 200) -> list[str | None]:
    plan = FaultPlan(faults)
    return [plan.strike("POST /orders") for _ in range(calls)]


def test_the_same_seed_gives_the_same_faults() -> None:
    faults = Faults(seed=7, throttle_rate=0.2, drop_after_rate=0.2)
    assert outcomes(faults) == outcomes(faults)
    assert outcomes(faults) != outcomes(Faults(seed=8, throttle_rate=0.2, drop_after_rate=0.2))


def test_a_rate_is_met_on_average() -> None:
    struck = outcomes(Faults(seed=1, throttle_rate=0.3), 4000)
    assert 0.27 < struck.count("throttle") / 4000 < 0.33


def test_another_rate_does_not_move_a_faults_calls() -> None:
    alone = outcomes(Faults(seed=3, throttle_rate=0.3))
    together = outcomes(Faults(seed=3, throttle_rate=0.3, drop_after_rate=0.5))
    assert [i for i, kind in enumerate(alone) if kind == "throttle"] == [
        i for i, kind in enumerate(together) if kind == "throttle"
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"throttle_rat": 0.1},
        {"throttle_rate": 1.5},
        {"throttle_rate": "high"},
        {"throttle_rate": True},
        {"latency_seconds": [2, 1]},
        {"latency_seconds": 3},
        {"scope": "("},
    ],
)
def test_senseless_settings_are_refused(shop: ShopEmulator, changes: dict[str, object]) -> None:
    response = requests.post(f"{shop.url}/_sandbox/faults", json=changes, timeout=60)
    assert response.status_code == 400
    assert shop.faults == Faults()


def test_faults_can_be_read_and_set_over_http(shop: ShopEmulator) -> None:
    changes = {
        "seed": 5,
        "drop_after_rate": 0.5,
        "latency_seconds": [0, 0.01],
        "planned": [{"kind": "throttle", "times": 2, "scope": "POST"}],
    }
    told = requests.post(f"{shop.url}/_sandbox/faults", json=changes, timeout=60).json()
    assert requests.get(f"{shop.url}/_sandbox/faults", timeout=60).json() == told
    assert (told["seed"], told["drop_after_rate"], told["planned"]) == (5, 0.5, changes["planned"])
    assert [order(shop).status_code for _ in range(2)] == [429, 429]


def test_unknown_planned_faults_are_refused(shop: ShopEmulator) -> None:
    body = {"planned": [{"kind": "explode"}]}
    response = requests.post(f"{shop.url}/_sandbox/faults", json=body, timeout=60)
    assert response.status_code == 400
    assert "explode" in response.json()["detail"]


def test_control_calls_are_neither_struck_nor_logged(shop: ShopEmulator) -> None:
    shop.set_faults(drop_before_rate=1.0)
    health = requests.get(f"{shop.url}/_sandbox/health", timeout=60).json()
    assert health == {"status": "healthy", "name": "shop", "url": shop.url}
    assert shop.calls == []


def test_calls_are_listed_with_times_sizes_and_numbers(shop: ShopEmulator) -> None:
    before = time.time()
    order(shop, "tea")
    order(shop, "coffee")
    listed = requests.get(f"{shop.url}/_sandbox/calls", timeout=60).json()
    assert [call["subject"] for call in listed["calls"]] == ["tea", "coffee"]
    first = listed["calls"][0]
    assert before <= first["received_at"] <= first["answered_at"] <= time.time()
    assert (first["method"], first["path"], first["status"]) == ("POST", "/orders", 201)
    assert (first["request_size"], first["size"]) == (3, 8)
    later = requests.get(f"{shop.url}/_sandbox/calls?since={first['number']}", timeout=60).json()
    assert [call["subject"] for call in later["calls"]] == ["coffee"]


def test_the_bill_shows_what_was_paid_twice(shop: ShopEmulator) -> None:
    for key in ("tea", "coffee", "tea"):
        order(shop, key)
    bill = requests.get(f"{shop.url}/_sandbox/bill", timeout=60).json()
    assert (bill["count"], bill["total_usd"]) == (3, 0.75)
    assert bill["duplicates"] == {"tea": 2}
    assert shop.bill.duplicates() == {"tea": 2}


def test_a_reset_forgets_calls_bill_and_faults(shop: ShopEmulator) -> None:
    shop.set_faults(seed=4, error_after_rate=1.0)
    shop.plan_fault("throttle", times=9, scope="GET")
    order(shop)
    requests.post(f"{shop.url}/_sandbox/reset", timeout=60)
    assert (shop.calls, len(shop.bill)) == ([], 0)
    assert shop.faults == Faults(seed=4)
    assert order(shop).status_code == 201
    shop.reset()
    assert shop.calls == []


def test_unknown_control_actions_are_404(shop: ShopEmulator) -> None:
    assert requests.get(f"{shop.url}/_sandbox/secrets", timeout=60).status_code == 404


def test_the_call_log_survives_on_disk(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "calls.jsonl"
    for key in ("one", "two"):
        with ShopEmulator(log_file=log) as emulator:
            order(emulator, key)
    assert [json.loads(line)["subject"] for line in log.read_text().splitlines()] == ["one", "two"]


def test_a_rate_limit_reopens_after_a_minute() -> None:
    now = 1000.0
    limit = RateLimit(lambda: now)
    assert [limit.allow(2) for _ in range(3)] == [True, True, False]
    assert (limit.remaining(2), limit.resets_at) == (0, 1060.0)
    now = 1060.0
    assert limit.allow(2)
    assert all(limit.allow(0) for _ in range(100))
