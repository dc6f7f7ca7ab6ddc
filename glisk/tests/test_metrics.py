"""/metrics tells what rows hold and what this process counted, to those who may read it."""

from __future__ import annotations

import os
import struct
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from django.db import DatabaseError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings

from glisk import metrics as counting
from glisk.clients.http import HttpClient
from glisk.console.metrics import rows
from glisk.errors import GliskError, TransientError
from glisk.metrics import files
from glisk.models import SystemState
from glisk.tests.asking import beat
from glisk.tests.waiting import eventually
from glisk.tests.web_server import WebServer, web
from reveals.costs import RevealTotals
from tokens.models import ImageGenerationJob
from tokens.recovery.progress import Progress, save_progress
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory

pytestmark = pytest.mark.django_db
__all__ = ["web"]

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(client: Client, **headers: str) -> Samples:
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain")
    return dict(_samples(answer.content.decode()))


def counted() -> Samples:
    """Return what the processes here have counted, without the rows."""
    registry = CollectorRegistry()
    registry.register(files.FileCollector())
    return dict(_samples(generate_latest(registry).decode()))


def _samples(text: str) -> Iterator[tuple[tuple[str, frozenset[tuple[str, str]]], float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield (sample.name, frozenset(sample.labels.items())), sample.value


def since(before: Samples, after: Samples) -> Samples:
    """Return what was counted in between: other tests of this process count, too."""
    return {key: value - before.get(key, 0) for key, value in after.items()}


def value(found: Samples, name: str, **labels: str) -> float | None:
    return found.get((f"glisk_{name}", frozenset(labels.items())))


def test_what_rows_hold(client: Client, settings: Settings) -> None:
    settings.DAILY_SPEND_CAP_USD = 5
    TokenFactory.create_batch(3, status=TokenStatus.REVEALED)
    TokenFactory.create(status=TokenStatus.FAILED, error_class="artefact")
    late = TokenFactory.create(status=TokenStatus.UPLOADING)
    type(late).objects.filter(pk=late.pk).update(
        status_changed_at=timezone.now() - timedelta(seconds=900)
    )
    late.generation_jobs.create(
        prompt="A fox",
        input={},
        service="replicate",
        model="m",
        attempt_number=1,
        cost_usd="0.5",
        status="failed",
    )
    beat("supervisor", "generation", "upload")
    save_progress(Progress(block=90, head=100))
    state = {"status": "low", "balance_wei": 25 * 10**16, "reveals_left": 12}
    SystemState.put("keeper", {**state, "checked_at": timezone.now().isoformat()})
    SystemState.put("reveal_costs", vars(RevealTotals(9, 2, 1, 40, 600_000, 10**16)))
    spans = {
        "ready:revealed": {"number": 2, "seconds": 9.5, "buckets": [0, 0, 0, 1, 1] + [0] * 12},
        "mint_to_reveal": {"number": 2, "seconds": 30.0, "buckets": [0] * 6 + [2] + [0] * 10},
    }
    SystemState.put("timeline_totals", {"upto": 7, "mark": None, "spans": spans})

    found = scrape(client)
    assert value(found, "database_up") == 1
    assert value(found, "tokens", state="revealed") == 3
    assert value(found, "tokens", state="detected") == 0
    assert 900 <= (value(found, "oldest_token_age_seconds", state="uploading") or 0) < 960
    assert value(found, "stage_tokens", stage="upload", activity="waiting") == 1
    assert value(found, "stage_stuck_tokens", stage="upload") == 1
    assert value(found, "failed_tokens_24h", error_class="artefact") == 1
    assert value(found, "troubles", kind="tokens", level="page") == 1
    assert value(found, "troubles", kind="worker", level="page") == 0
    assert value(found, "workers", stage="generation") == 1
    assert value(found, "workers", stage="reveal") == 0
    assert value(found, "chain_blocks_behind") == 10
    assert value(found, "keeper_status", status="low") == 1
    assert value(found, "keeper_status", status="ok") == 0
    assert value(found, "keeper_balance_eth") == 0.25
    assert value(found, "keeper_reveals_left") == 12
    assert value(found, "spend_today_usd", service="replicate", model="m") == 0.5
    assert value(found, "spend_cap_usd") == 5
    assert value(found, "reveal_transactions_total", status="reverted") == 1
    assert value(found, "reveal_cost_eth_total") == 0.01
    assert value(found, "transitions_total", from_state="ready", to_state="revealed") == 2
    assert value(found, "state_seconds_bucket", state="ready", le="1.0") == 0
    assert value(found, "state_seconds_bucket", state="ready", le="2.5") == 1
    assert value(found, "state_seconds_count", state="ready") == 2
    assert value(found, "state_seconds_sum", state="ready") == 9.5
    assert value(found, "mint_to_reveal_seconds_bucket", le="10.0") == 0
    assert value(found, "mint_to_reveal_seconds_bucket", le="+Inf") == 2
    assert value(found, "drift_unrepaired") == 0
    assert value(found, "webhook_events_unfinished") == 0


@pytest.mark.plans
def test_the_number_of_queries_does_not_depend_on_what_is_there(client: Client) -> None:
    def asked() -> int:
        with CaptureQueriesContext(connection) as queries:
            scrape(client)
        return len(queries)

    TokenFactory.create(status=TokenStatus.READY)
    beat("generation")
    few = asked()
    for status in TokenStatus:
        TokenFactory.create_batch(3, status=status)
    ImageGenerationJob.objects.all().delete()
    assert asked() <= few + 1  # an example of what failed
    assert few <= 30


def test_without_a_database_the_rest_is_told(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "take_overview", Mock(side_effect=DatabaseError("hunter2")))
    found = scrape(client)
    assert value(found, "database_up") == 0
    assert value(found, "tokens", state="ready") is None
    assert value(scrape(client), "http_request_seconds_count", **route("/metrics")) is not None


def route(path: str, method: str = "GET", status: int = 200) -> dict[str, str]:
    return {"route": path, "method": method, "status": str(status)}


def test_only_readers_are_answered_and_only_when_they_read(
    client: Client, settings: Settings
) -> None:
    assert client.post("/metrics").status_code == 405
    assert client.get("/metrics", headers={"Host": "10.1.2.3"}).status_code == 200
    settings.METRICS_NETWORKS, settings.METRICS_TOKEN = [], "a token of twenty letters"
    answer = client.get("/metrics")
    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")
    assert b"glisk_" not in answer.content
    wrong = client.get("/metrics", headers={"Authorization": "Bearer a token of ninety letters"})
    assert wrong.status_code == 401
    assert scrape(client, Authorization="Bearer a token of twenty letters")
    openmetrics = {
        "Authorization": "Bearer a token of twenty letters",
        "Accept": "application/openmetrics-text; version=1.0.0",
    }
    answer = client.get("/metrics", headers=openmetrics)
    assert answer["Content-Type"].startswith("application/openmetrics-text")
    assert answer.content.endswith(b"# EOF\n")


def test_requests_are_counted_by_route_and_never_by_path(client: Client, admin_client: Any) -> None:
    before = counted()
    for path in ("/api/tokens/1", "/api/tokens/2", "/no/such/page", "/x" * 40):
        client.get(path)
    client.generic("BREW", "/health")
    admin_client.get("/admin/tokens/token/")
    admin_client.get("/admin/authors/author/")
    found = since(before, counted())
    count = "http_request_seconds_count"
    assert value(found, count, **route("/api/tokens/<int:token_id>", status=404)) == 2
    assert value(found, count, **route("none", status=404)) == 2
    assert value(found, count, **route("/health", "other", 405)) == 1
    assert value(found, count, **route("/admin")) == 2
    labels = {dict(labels).get("route", "") for _, labels in found}
    assert not any("/x/x" in label or "/1" in label for label in labels)


def test_calls_are_counted_by_outcome() -> None:
    before = counted()
    http = HttpClient(vendor="a-vendor", base_url="http://127.0.0.1:9")
    for _ in range(2):
        with pytest.raises(TransientError):
            http.call("GET", "/", idempotent=True)
    with http.failures("a call", idempotent=True):
        pass
    for error in (ZeroDivisionError, GliskError):
        with pytest.raises(error), counting.timed_step_call("a-step"):
            raise error
    counting.count_retry("transient")
    counting.count_webhook("alchemy", "processed")
    found = since(before, counted())
    count = "vendor_call_seconds_count"
    assert value(found, count, vendor="a-vendor", outcome="transient") == 2
    assert value(found, count, vendor="a-vendor", outcome="ok") == 1
    assert value(found, "step_call_seconds_count", step="a-step", outcome="internal") == 2
    assert value(found, "retries_total", error_class="transient") == 1
    assert value(found, "webhooks_total", vendor="alchemy", verdict="processed") == 1


def test_whoever_is_counted_does_not_suffer_by_it(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "_is_off", False)
    monkeypatch.setattr(counting, "_series", {})
    monkeypatch.setattr("prometheus_client.Histogram.labels", Mock(side_effect=OSError("no room")))
    assert client.get("/health/live").status_code == 200
    assert counting._is_off
    assert client.get("/health/live").status_code == 200


def test_a_damaged_file_spoils_neither_a_scrape_nor_the_slot(
    client: Client, settings: Settings
) -> None:
    assert client.get("/health/live").status_code == 200
    damaged = settings.METRICS_DIR / "counter_99.db"
    for content in (b"", b"x" * 3, struct.pack("i", 4000) + b"\xff" * 3996):
        damaged.write_bytes(content)
        assert value(counted(), "http_request_seconds_count", **route("/health/live"))
        files._prepare(damaged, 4096)
        assert files._is_sound(damaged)
        assert damaged.stat().st_size == 4096
    damaged.unlink()


def test_a_slot_that_root_took_for_a_command_is_passed_over(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.METRICS_DIR = tmp_path
    (tmp_path / "0.lock").touch()
    real = os.open

    def refused(path: Path, *arguments: Any) -> int:
        if path == tmp_path / "0.lock":
            raise PermissionError
        return real(path, *arguments)

    monkeypatch.setattr(os, "open", refused)
    slot = files.Slot()
    assert [slot(), slot(), files.Slot()(), slot()] == ["", "1", "", "1"]
    (tmp_path / "0.lock").unlink()
    with pytest.raises(PermissionError):  # the directory itself is not ours
        files.Slot()._take()


@pytest.mark.process
def test_two_web_processes_tell_the_same_sum_and_a_killed_one_is_not_forgotten(
    web: Callable[..., WebServer], tmp_path: Path
) -> None:
    """It is read while others write, and no count is lost, repeated or taken back."""
    server = web(METRICS_DIR=str(tmp_path / "metrics"))
    route = {"route": "/api/authors/leaderboard", "method": "GET", "status": "200"}
    total, told = 0, [0.0]

    def asked() -> float:
        url = f"http://127.0.0.1:{server.port}/metrics"
        with urllib.request.urlopen(url, timeout=30) as answer:
            found = dict(_samples(answer.read().decode()))
        number = value(found, "http_request_seconds_count", **route) or 0.0
        assert (value(found, "http_request_seconds_bucket", le="+Inf", **route) or 0.0) == number
        assert value(found, "database_up") == 1
        return number

    for _ in range(3):
        with ThreadPoolExecutor(8) as pool:
            answers = [pool.submit(server.get, "/api/authors/leaderboard") for _ in range(80)]
            told += [asked() for _ in range(3)]
            assert {answer.result()[0] for answer in answers} == {200}
        total += 80
        told += [asked() for _ in range(4)]  # by either process
        assert set(told[-4:]) == {total}
        killed = server.workers()[0]
        killed.kill()
        killed.wait(60)
        eventually(lambda: len(server.workers()) == 2)
    assert told == sorted(told)
    assert len(list((tmp_path / "metrics").glob("histogram_*.db"))) <= 3
