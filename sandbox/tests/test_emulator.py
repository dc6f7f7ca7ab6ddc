"""What every emulator has: faults, call log, bill, control endpoints, and life as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from aiohttp import web

from sandbox.http import SUBJECT, BillEntry, Emulator, FaultPlan, Faults, RateLimit

ROOT = Path(__file__).resolve().parents[2]


class ShopEmulator(Emulator[Faults]):
    name = "shop"
    faults_class = Faults

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/orders", self._order),
            web.get("/broken", self._broken),
        ]

    async def _order(self, request: web.Request) -> web.Response:
        key = request[SUBJECT] = await request.text()
        self.bill.add(BillEntry(at=time.time(), subject=key, key=key, price_usd=0.25))
        return web.Response(status=201, text="accepted")

    async def _broken(self, request: web.Request) -> web.Response:
        raise RuntimeError("a bug in a handler")


@pytest.fixture
def shop() -> Iterator[ShopEmulator]:
    with ShopEmulator() as emulator:
        yield emulator


def order(shop: ShopEmulator, key: str = "tea") -> requests.Response:
    return requests.post(f"{shop.url}/orders", data=key, timeout=60)


@pytest.mark.parametrize(("kind", "charged"), [("drop_before", 0), ("drop_after", 1)])
def test_a_reply_is_lost_before_or_after_the_work(
    shop: ShopEmulator, kind: str, charged: int
) -> None:
    shop.plan_fault(kind)  # type: ignore[arg-type]
    with pytest.raises(requests.ConnectionError):
        order(shop)
    assert len(shop.bill) == charged
    assert order(shop).status_code == 201
    assert [(call.status, call.fault) for call in shop.calls] == [(0, kind), (201, "")]
    assert shop.calls[1].subject == "tea"


def test_errors_come_before_or_after_the_work(shop: ShopEmulator) -> None:
    shop.set_faults(error_after_status=530, retry_after_seconds=7, server_error_status=503)
    shop.plan_fault("error_after", scope="^POST /orders$")
    shop.plan_fault("server_error")
    shop.plan_fault("throttle")
    answers = [order(shop) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [530, 503, 429, 201]
    assert answers[2].headers["Retry-After"] == "7"
    assert len(shop.bill) == 2


def test_rates_and_latency_apply_to_the_calls_in_scope(shop: ShopEmulator) -> None:
    shop.set_faults(scope="^POST", server_error_rate=1.0, latency_seconds=(0.2, 0.2))
    started = time.monotonic()
    assert order(shop).status_code == 500
    assert time.monotonic() - started >= 0.2
    shop.set_faults(latency_seconds=(3600, 3600))
    assert requests.get(f"{shop.url}/nowhere", timeout=60).status_code == 404
    assert requests.get(f"{shop.url}/orders", timeout=60).status_code == 404


def test_a_scripted_answer_stands_in_for_the_vendors(shop: ShopEmulator) -> None:
    shop.script("^POST", {"odd": True}, 202)
    assert (order(shop).status_code, order(shop).json()) == (202, {"odd": True})
    shop.reset()
    assert order(shop).status_code == 201


def test_a_bug_in_a_handler_is_a_500_and_is_logged(
    shop: ShopEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    assert requests.get(f"{shop.url}/broken", timeout=60).status_code == 500
    assert "a bug in a handler" in caplog.text


def outcomes(faults: Faults, calls: int = 4000) -> list[str | None]:
    plan = FaultPlan(faults)
    return [plan.strike("POST /orders") for _ in range(calls)]


def test_faults_come_at_their_rate_and_by_seed() -> None:
    faults = Faults(seed=3, throttle_rate=0.3)
    alone = outcomes(faults)
    assert 0.27 < alone.count("throttle") / len(alone) < 0.33
    assert alone == outcomes(faults) != outcomes(Faults(seed=4, throttle_rate=0.3))
    # Another rate does not move a fault's calls.
    together = outcomes(Faults(seed=3, throttle_rate=0.3, drop_after_rate=0.5))
    assert [kind == "throttle" for kind in alone] == [kind == "throttle" for kind in together]


def test_an_unknown_setting_is_refused(shop: ShopEmulator) -> None:
    changes = {"throttle_rat": 0.1}
    response = requests.post(f"{shop.url}/_sandbox/faults", json=changes, timeout=60)
    assert response.status_code == 400
    assert shop.faults == Faults()


def test_faults_calls_and_bill_are_read_and_set_over_http(shop: ShopEmulator) -> None:
    control = f"{shop.url}/_sandbox"
    changes = {"seed": 5, "drop_before_rate": 1.0, "scope": "GET", "latency_seconds": [0, 0.01]}
    told = requests.post(f"{control}/faults", json=changes, timeout=60).json()
    assert {name: told[name] for name in changes} == changes
    assert requests.get(f"{control}/faults", timeout=60).json() == told
    health = requests.get(f"{control}/health", timeout=60).json()
    assert health == {"status": "healthy", "name": "shop", "url": shop.url}
    before = time.time()
    for key in ("tea", "coffee", "tea"):
        order(shop, key)
    calls = requests.get(f"{control}/calls", timeout=60).json()["calls"]
    assert [call["subject"] for call in calls] == ["tea", "coffee", "tea"]
    assert before <= calls[0]["received_at"] <= calls[0]["answered_at"] <= time.time()
    assert (calls[0]["method"], calls[0]["path"], calls[0]["size"]) == ("POST", "/orders", 8)
    bill = requests.get(f"{control}/bill", timeout=60).json()
    assert (bill["count"], bill["total_usd"], bill["duplicates"]) == (3, 0.75, {"tea": 2})


def test_a_reset_forgets_calls_bill_and_faults(shop: ShopEmulator) -> None:
    shop.set_faults(seed=4, error_after_rate=1.0)
    shop.plan_fault("throttle", times=9, scope="GET")
    order(shop)
    shop.reset()
    assert (shop.calls, len(shop.bill)) == ([], 0)
    assert shop.faults == Faults(seed=4)
    assert order(shop).status_code == 201


def test_a_stopped_emulator_frees_its_port_at_once_and_keeps_its_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "calls.jsonl"
    with ShopEmulator(log_file=log) as first:
        order(first, "one")
        with pytest.raises(OSError, match="address already in use"):
            ShopEmulator(port=first.port).start()
    with ShopEmulator(log_file=log, port=first.port) as second:
        order(second, "two")
    assert [json.loads(line)["subject"] for line in log.read_text().splitlines()] == ["one", "two"]


def test_a_rate_limit_counts_in_windows_or_by_a_bucket() -> None:
    now = 1000.0
    limit = RateLimit(lambda: now)
    assert [limit.allow(2) for _ in range(3)] == [True, True, False]
    assert limit.resets_at == 1060.0
    now = 1060.0
    assert limit.allow(2)
    bucket = RateLimit(lambda: now)
    assert [bucket.allow(60, burst=2) for _ in range(3)] == [True, True, False]
    now += 1.0
    assert [bucket.allow(60, burst=2) for _ in range(2)] == [True, False]


# -- as a process ---------------------------------------------------------------------------


COMMAND = [sys.executable, "-m", "sandbox.emulators"]


@contextmanager
def process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with subprocess.Popen(
        [*COMMAND, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout is not None
            line = running.stdout.readline()
            yield running, line.rpartition(" ")[2].strip()
        finally:
            running.kill()


def test_a_process_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    name, store = "pinata", ("--store", str(tmp_path))
    with process(name, *store, "--port", "0") as (running, url):
        assert requests.get(f"{url}/_sandbox/health", timeout=60).json()["name"] == name
        taken = [*COMMAND, name, *store, "--port", url.rpartition(":")[2]]
        ended = subprocess.run(
            taken, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        assert (ended.returncode, "address already in use" in ended.stderr) == (1, True)
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-m", "sandbox.emulators", "replicate", "--port", "0"],
                         stdout=subprocess.PIPE, text=True)
print(child.pid, child.stdout.readline().split()[-1], flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's /proc and prctl")
def test_it_costs_nothing_while_idle_and_ends_with_its_parent() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid, url = parent.stdout.readline().split()
        assert requests.get(f"{url}/_sandbox/health", timeout=60).status_code == 200
        before = cpu_seconds(int(pid))
        time.sleep(2)
        assert cpu_seconds(int(pid)) - before < 0.2
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 60
        while _alive(int(pid)):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # where nobody reaps orphans, an ended one stays as a zombie
