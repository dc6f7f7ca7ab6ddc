"""The health pages tell how things are, whatever state the database is in."""

import socket
import time
from datetime import timedelta
from ipaddress import ip_network
from typing import Any
from unittest.mock import Mock

import pytest
from django.db import DatabaseError, connections
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from authors.tests.factories import wallet
from glisk import __version__
from glisk.console import health
from glisk.models import SystemState
from glisk.tests.asking import beat
from glisk.tests.tls_front import LOOPBACK_PEM, tls_front
from reveals.models import BatchStatus, RevealBatch, RevealBatchToken
from tokens.models import Token
from tokens.recovery.progress import PROGRESS_KEY, Progress, save_progress
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory

pytestmark = pytest.mark.django_db


def unreachable(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    wrapper = connections["default"]
    given = wrapper.get_connection_params()
    monkeypatch.setattr(wrapper, "get_connection_params", lambda: {**given, **changes})


def test_unhealthy_without_an_exceptions_text(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = socket.create_server(("127.0.0.1", 0))
    faults: list[dict[str, Any]] = [
        {"host": "127.0.0.1", "port": 1},
        {"host": "127.0.0.1", "port": silent.getsockname()[1]},
        {"dbname": "no_such_database_hunter2"},
        {"options": "-c no_such_option=1"},  # the connection's are the probe's, too
    ]
    for changes in faults:
        with monkeypatch.context() as patch:
            unreachable(patch, **changes)
            began = time.monotonic()
            answer = client.get("/health")
        assert time.monotonic() - began < 20
        assert answer.status_code == 503
        assert answer.json() == {
            "status": "unhealthy",
            "error": {"type": "DatabaseUnavailable", "message": "The database does not answer."},
        }
    silent.close()
    unreachable(monkeypatch, options="-c search_path=pg_catalog")
    answer = client.get("/health")
    told = {"status": "healthy", "version": __version__}
    assert (answer.status_code, answer.json()) == (200, told)
    assert "no-store" in answer["Cache-Control"]


def test_a_database_that_wants_its_certificate_checked(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tls_front() as port:
        given = {"host": "127.0.0.1", "port": port, "sslmode": "verify-full"}
        unreachable(monkeypatch, **given, sslrootcert=str(LOOPBACK_PEM))
        assert client.get("/health").status_code == 200
        unreachable(monkeypatch, **given, sslrootcert="/no/such/file")
        assert client.get("/health").status_code == 503


def test_probes_may_use_any_name_and_only_read(client: Client) -> None:
    for page in ("", "/live", "/ready", "/blockchain", "/workers", "/keeper", "/metrics"):
        assert client.get(f"/health{page}", headers={"Host": "10.1.2.3"}).status_code == 200
        assert client.post(f"/health{page}").status_code == 405
    for host in ("[::1]:8000", "web", "0.0.0.0:1", "two words", ""):
        assert client.get("/health/live", headers={"Host": host}).status_code == 200
    for path in ("/healthy", "/", "/api/tokens", "/admin/login/", "/x/health"):
        assert client.get(path, headers={"Host": "10.1.2.3"}).status_code == 400


def test_the_other_pages_do_not_fail_either(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for page, asked in {
        "blockchain": "chain_facts",
        "workers": "take_overview",
        "keeper": "keeper_state",
        "metrics": "count_by_state",
    }.items():
        monkeypatch.setattr(health, asked, Mock(side_effect=DatabaseError("hunter2")))
        answer = client.get(f"/health/{page}")
        assert answer.status_code == 503
        assert b"hunter2" not in answer.content


def test_workers_are_those_that_live_and_what_holds_work_back_is_named_without_words(
    client: Client,
) -> None:
    beat("generation", age_seconds=3, in_flight=4)
    beat("reveal", age_seconds=16)
    found = client.get("/health/workers").json()
    (worker,) = found["workers"]
    assert (worker["stage"], worker["in_flight"]) == ("generation", 4)
    assert 3 <= worker["beat_age_seconds"] < 10
    assert "machine" not in str(worker)
    assert found["held_back"] == []
    since = (timezone.now() - timedelta(seconds=60)).isoformat()
    value = {"state": "open", "reason": "the key sk_123 is refused", "since": since}
    SystemState.objects.create(state_key="breaker:pinata", state_value=value)
    answer = client.get("/health/workers")
    (held,) = answer.json()["held_back"]
    assert (held["kind"], held["name"]) == ("breaker", "pinata")
    assert 60 <= held["age_seconds"] < 90
    assert "sk_123" not in answer.content.decode()


def test_stages_count_what_waits_and_what_moves(client: Client) -> None:
    lease = {"lease_owner": "a", "lease_expires_at": timezone.now()}
    TokenFactory.create(status=TokenStatus.DETECTED)
    TokenFactory.create(status=TokenStatus.GENERATING, **lease)
    TokenFactory.create_batch(2, status=TokenStatus.UPLOADING)
    ready = TokenFactory.create_batch(3, status=TokenStatus.READY)
    TokenFactory.create(status=TokenStatus.REVEALED)
    Token.objects.filter(status=TokenStatus.UPLOADING).update(
        status_changed_at=timezone.now() - timedelta(seconds=90)
    )
    for nonce, is_open in enumerate((False, False, True)):
        status = BatchStatus.OPEN if is_open else BatchStatus.REVERTED
        batch = RevealBatch.objects.create(keeper=wallet(9), nonce=nonce, status=status)
        RevealBatchToken.objects.create(
            batch=batch,
            token=ready[0],
            position=0,
            metadata_uri=ready[0].token_uri or "",
            is_open=is_open,
        )
    stages = {stage["stage"]: stage for stage in client.get("/health/workers").json()["stages"]}
    counted = {name: (stage["pending"], stage["active"]) for name, stage in stages.items()}
    assert counted == {"generation": (1, 1), "upload": (2, 0), "reveal": (2, 1)}
    assert 90 <= stages["upload"]["oldest_age_seconds"] < 100


def test_the_chain_is_known_from_what_the_worker_stored(client: Client, settings: Settings) -> None:
    assert client.get("/health/blockchain").json() == {
        "status": "stale",
        "chain_id": settings.CHAIN_ID,
        "last_processed_block": None,
        "blocks_behind": None,
        "read_age_seconds": None,
    }
    save_progress(Progress(block=90, head=100))
    known = client.get("/health/blockchain").json()
    assert (known["status"], known["last_processed_block"]) == ("healthy", 90)
    assert known["blocks_behind"] == 10
    SystemState.objects.update(updated_at=timezone.now() - timedelta(seconds=61))
    assert client.get("/health/blockchain").json()["status"] == "stale"
    SystemState.objects.filter(pk=PROGRESS_KEY).update(state_value=["?"])
    answer = client.get("/health/blockchain")
    assert (answer.status_code, answer.json()["last_processed_block"]) == (200, None)


def test_metrics_tell_totals_spend_and_what_failed_of_the_last_day(
    client: Client, settings: Settings
) -> None:
    assert client.get("/health/metrics").json() == {
        "total_mints": 0,
        "total_revealed": 0,
        "error_rate_24h": 0.0,
        "spend_today_usd": 0.0,
        "spend_all_time_usd": 0.0,
        "spend_cap_usd": None,
    }
    settings.DAILY_SPEND_CAP_USD = 5
    old = TokenFactory.create(status=TokenStatus.FAILED)
    Token.objects.filter(pk=old.pk).update(status_changed_at=timezone.now() - timedelta(hours=25))
    TokenFactory.create_batch(3, status=TokenStatus.REVEALED)
    TokenFactory.create(status=TokenStatus.FAILED)
    TokenFactory.create(status=TokenStatus.DETECTED).generation_jobs.create(
        prompt="A fox", input={}, service="replicate", model="m", attempt_number=1, cost_usd="0.5"
    )
    assert client.get("/health/metrics").json() == {
        "total_mints": 6,
        "total_revealed": 3,
        "error_rate_24h": 0.25,
        "spend_today_usd": 0.5,
        "spend_all_time_usd": 0.5,
        "spend_cap_usd": 5.0,
    }


def test_live_needs_no_database_and_ready_needs_its_migrations(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_has_migrations", False)
    assert client.get("/health/ready").json() == {"status": "healthy"}
    with monkeypatch.context() as patch:
        patch.setattr(health, "_has_migrations", False)
        patch.setattr(health, "unapplied_migrations", lambda: ["tokens.0001_initial"])
        answer = client.get("/health/ready")
        assert (answer.status_code, answer.json()["error"]["type"]) == (503, "MigrationsMissing")
    unreachable(monkeypatch, host="127.0.0.1", port=1)
    monkeypatch.setattr(health, "take_overview", Mock(side_effect=AssertionError))
    assert client.get("/health/ready").status_code == 503
    answer = client.get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "healthy"})


def test_strict_answers_503_where_the_text_says_stale_blocked_or_no_worker(client: Client) -> None:
    def asked(page: str) -> tuple[int, int, str]:
        plain, strict = client.get(f"/health/{page}"), client.get(f"/health/{page}?strict=1")
        assert plain.json().keys() == strict.json().keys()
        return plain.status_code, strict.status_code, plain.json()["status"]

    assert asked("blockchain") == (200, 503, "stale")
    assert asked("workers") == (200, 503, "no_worker")
    assert asked("keeper") == (200, 200, "unknown")
    assert asked("live")[1] == asked("ready")[1] == 200
    assert client.get("/health?strict=1").status_code == 200
    assert client.get("/health/metrics?strict=1").status_code == 200
    beat("generation")
    save_progress(Progress(block=90, head=100))
    assert asked("blockchain") == (200, 200, "healthy")
    assert asked("workers") == (200, 200, "healthy")
    SystemState.objects.create(state_key="breaker:pinata", state_value={"state": "open"})
    assert asked("workers") == (200, 503, "blocked")
    for status, strict in (("low", 200), ("empty", 503), ("blocked", 503)):
        SystemState.put("keeper", {"status": status})
        assert asked("keeper") == (200, strict, status)
    SystemState.put("keeper", {"status": "low"})  # and a batch costs more than is left
    SystemState.put("breaker:chain", {"state": "open", "code": "no_funds"})
    assert asked("keeper") == (200, 503, "blocked")


KEEPER = {"status": "low", "reason": "has 0.01 ETH", "address": wallet(9), "balance_wei": 10**16}


def test_the_public_sees_no_money_no_keys_and_no_reasons(
    client: Client, settings: Settings
) -> None:
    settings.METRICS_NETWORKS, settings.METRICS_TOKEN = [], "a token of twenty letters"
    settings.DAILY_SPEND_CAP_USD = 5
    SystemState.put("keeper", KEEPER)
    SystemState.put("breaker:replicate", {"state": "open", "reason": "no credit"})
    beat("generation")
    public = {
        "workers": {"status", "pending_jobs", "active_jobs"},
        "keeper": {"status"},
        "metrics": {"total_mints", "total_revealed", "error_rate_24h"},
    }
    for page, told in public.items():
        for wrong in ("", "Bearer ", "Bearer a token of twenty", "Token a token of twenty letters"):
            answer = client.get(f"/health/{page}", headers={"Authorization": wrong})
            assert (answer.status_code, set(answer.json())) == (200, told)
        bearer = {"Authorization": "Bearer a token of twenty letters"}
        assert client.get(f"/health/{page}", headers=bearer).json().keys() > told
    assert client.get("/health/keeper").json() == {"status": "healthy"}
    assert client.get("/health").json() == {"status": "healthy"}
    settings.METRICS_TOKEN = ""
    empty = client.get("/health/keeper", headers={"Authorization": "Bearer "})
    assert empty.json() == {"status": "healthy"}


@pytest.mark.parametrize(
    ("proxies", "networks", "peer", "headers", "may"),
    [
        ([], ["10.0.0.0/8"], "10.1.2.3", {}, True),
        ([], ["10.0.0.0/8"], "192.0.2.1", {}, False),
        # A proxy on this machine that nobody has named: whoever asks it is the public.
        ([], ["127.0.0.0/8"], "127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, False),
        ([], ["127.0.0.0/8"], "127.0.0.1", {"X-Forwarded-Proto": "https"}, False),
        ([], ["127.0.0.0/8"], "127.0.0.1", {"Via": "1.1 proxy"}, False),
        # A proxy that is named says for whom it asks, or its word counts for nothing.
        (["127.0.0.1"], ["127.0.0.0/8"], "127.0.0.1", {}, False),
        (["127.0.0.1"], ["10.0.0.0/8"], "127.0.0.1", {"X-Forwarded-For": "10.9.9.9"}, True),
        (
            ["127.0.0.1"],
            ["10.0.0.0/8"],
            "127.0.0.1",
            {"X-Forwarded-For": "10.9.9.9, 192.0.2.1"},
            False,
        ),
        (["127.0.0.1"], ["127.0.0.0/8"], "127.0.0.1", {"X-Forwarded-For": "what?"}, False),
    ],
)
def test_an_internal_address_counts_where_no_stranger_can_be_behind_it(
    client: Client,
    settings: Settings,
    proxies: list[str],
    networks: list[str],
    peer: str,
    headers: dict[str, str],
    may: bool,
) -> None:
    settings.TRUSTED_PROXIES = [ip_network(each) for each in proxies]
    settings.METRICS_NETWORKS = [ip_network(each) for each in networks]
    answer = client.get("/health/keeper", REMOTE_ADDR=peer, headers=headers)
    assert ("address" in answer.json()) is may
